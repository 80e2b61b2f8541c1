"""From a job to its tasks: pure, lazy, and by content."""
