"""What a model answers and how that is judged."""
