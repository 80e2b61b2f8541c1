"""Augmentation of training images, drawn for every image and epoch by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from stir_ray.identity import derive_seed
from stir_ray.models.randomness import drawn_from, reseed

_PADDING = 8
"""Images are padded by this part of their side: 4 pixels of CIFAR's 32, as is usual there."""


def augmented(images: Tensor, places: Sequence[int], *, seed: int, epoch: int) -> Tensor:
    """Images shifted by up to an eighth of their side, zeros moving in, and half of them mirrored.

    Args:
        images: (image, channel, height, width), on the CPU.
        places: of the images in their dataset. What is drawn depends on seed, epoch and place, and
            so neither on the order of the images nor on the batch that they are in.
        seed: of the training.
        epoch: of the training.

    Returns:
        Images of the same shape.
    """
    height, width = images.shape[-2:]
    padding = [max(1, width // _PADDING), max(1, height // _PADDING)]
    transform = v2.Compose([v2.RandomCrop((height, width), padding=padding), _MIRROR])
    changed = []
    # torchvision draws from torch's global generator.
    with drawn_from(0):
        for image, place in zip(images, places, strict=True):
            reseed(derive_seed("augmentation", seed, epoch, place))
            changed.append(transform(image))
    return torch.stack(changed)


_MIRROR = v2.RandomHorizontalFlip()
