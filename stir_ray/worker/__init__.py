"""Where numerics, models, data and lake meet: one module per stage of a run."""
