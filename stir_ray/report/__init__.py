"""What a job found, for a person: figures of its results."""
