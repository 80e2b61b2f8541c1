"""What was measured, and the commands that measure it again: no test asserts on seconds."""
