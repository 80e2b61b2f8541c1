"""Tests of the executors and their policy."""
