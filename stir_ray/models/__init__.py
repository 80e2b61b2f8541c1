"""Models: timm architectures, their weights, what a layer says of an image, and training."""
