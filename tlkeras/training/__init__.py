"""Walk the stages of a recipe, where it is told to; compute what is frozen once."""
