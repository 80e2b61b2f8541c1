"""Tests of what is measured beside STIR and CKA."""
