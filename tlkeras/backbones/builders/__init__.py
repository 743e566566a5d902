"""How the networks of the rows are built."""
