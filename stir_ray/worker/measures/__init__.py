"""What is measured beside STIR and CKA, of images and models that a worker has at hand."""
