"""How accurate a model is, and which classes it confuses."""
