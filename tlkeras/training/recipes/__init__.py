"""Named lists of phases."""
