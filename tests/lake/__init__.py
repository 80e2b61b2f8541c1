"""Laws of the lake: objects, keys and tables."""
