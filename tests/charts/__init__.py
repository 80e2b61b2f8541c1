"""Charts of made-up results."""
