"""Tests of how results are made of parts."""
