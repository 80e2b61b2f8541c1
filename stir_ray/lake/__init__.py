"""The Parquet lake: whole, self-describing parts on any fsspec file system. Never imports torch."""
