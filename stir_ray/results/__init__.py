"""From parts to results: one tidy table of a job, its matrices, and how far it converged."""
