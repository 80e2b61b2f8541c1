"""Models: timm architectures, checkpoints, representations, training."""
