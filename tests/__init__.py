"""Laws that the package keeps; the folders mirror it."""
