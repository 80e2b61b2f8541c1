"""Tests of what the lake knows of jobs."""
