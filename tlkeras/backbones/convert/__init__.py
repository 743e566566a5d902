"""Foreign checkpoints to Keras weights."""
