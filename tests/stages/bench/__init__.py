"""Tests of what a worker has at hand."""
