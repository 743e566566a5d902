"""The tables of backbones: one file for each library or family."""
