"""Running functions on tasks, here or on many machines. Knows nothing of STIR."""
