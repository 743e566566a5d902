"""Versioned, verified entries for serving: the next chapter."""
