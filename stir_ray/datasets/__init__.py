"""Images and labels, from what ships with a package or lies on disk."""
