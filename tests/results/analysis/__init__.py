"""Tests of what is said of curves over the epochs."""
