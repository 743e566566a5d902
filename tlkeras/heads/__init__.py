"""The new layers on top of a backbone."""
