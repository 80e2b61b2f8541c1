"""Tests of the stages, on a job small enough to run in seconds."""
