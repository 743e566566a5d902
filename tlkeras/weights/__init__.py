"""The weights of backbones: where they come from, and how files of other tools are read."""
