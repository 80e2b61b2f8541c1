"""Figures of made-up results."""
