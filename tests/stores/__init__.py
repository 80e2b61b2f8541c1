"""Real object stores on this machine, a faulty way to them, and what the lake does about both."""
