"""Converts checkpoints of other libraries to Keras weights."""
