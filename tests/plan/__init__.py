"""Laws of planning: what is asked, what it is called and what is left of it."""
