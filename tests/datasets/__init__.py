"""Laws of the datasets."""
