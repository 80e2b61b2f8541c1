"""Whole runs that are killed, cut off from their lake, or given damaged parts: nothing is lost."""
