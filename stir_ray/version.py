"""The version. It stands in the code, which is not installed where it came with a submitted job."""

__version__ = "0.1.0"
