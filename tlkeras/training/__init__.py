"""Runs the phases of a recipe on the requested devices, and computes frozen layers only once."""
