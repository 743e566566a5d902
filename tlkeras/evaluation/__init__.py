"""How good a model is, and where it errs."""
