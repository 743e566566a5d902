"""From a pretrained Keras backbone and your own data to a model proven to work where it will run."""

__version__ = "0.1.0"
