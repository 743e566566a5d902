"""Complete pieces of work, one module for each."""
