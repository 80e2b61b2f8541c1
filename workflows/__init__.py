"""Drivers: each is a study from beginning to end, and reads as one."""
