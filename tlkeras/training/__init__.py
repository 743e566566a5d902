"""Walk the stages of a recipe; compute what is frozen once."""
