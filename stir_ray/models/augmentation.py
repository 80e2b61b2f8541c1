"""Random augmentation of training images, drawn for every image and epoch."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from stir_ray.identity import derive_seed
from stir_ray.models.rng import reseed, seeded_rng

_PADDING = 8
"""Images are padded by this part of their side: 4 pixels of CIFAR's 32, as is usual there."""


def augmented(images: Tensor, rows: Sequence[int], *, how: str, seed: int, epoch: int) -> Tensor:
    """Return images changed at random.

    Args:
        images: (image, channel, height, width), on the CPU.
        rows: of the images in their dataset. Random draws depend on seed, epoch and row, and so
            neither on the order of the images nor on the batch that they are in.
        how: one of `AUGMENTATIONS`.
        seed: of the training.
        epoch: of the training.

    Returns:
        Images of the same shape.
    """
    height, width = images.shape[-2:]
    transform = AUGMENTATIONS[how](height, width)
    changed = []
    # torchvision draws from torch's global generator. timm's crop would draw from Python's, which
    # threads that read ahead use too, for the pauses between attempts at a store.
    with seeded_rng(0):
        for image, row in zip(images, rows, strict=True):
            reseed(derive_seed("augmentation", seed, epoch, row))
            changed.append(transform(image))
    return torch.stack(changed)


def _standard(height: int, width: int) -> Callable[[Tensor], Tensor]:
    padding = [max(1, width // _PADDING), max(1, height // _PADDING)]
    crop = v2.RandomCrop((height, width), padding=padding)
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


def _resized_crop(height: int, width: int) -> Callable[[Tensor], Tensor]:
    crop = v2.RandomResizedCrop((height, width), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    return v2.Compose([crop, v2.RandomHorizontalFlip()])


AUGMENTATIONS: Mapping[str, Callable[[int, int], Callable[[Tensor], Tensor]]] = {
    "standard": _standard,
    "resized_crop": _resized_crop,
}
"""By name, the transform of an image of some height and width.

`standard` shifts by up to an eighth of a side, zeros moving in. `resized_crop` takes 8 to 100 % of
the area, 3:4 to 4:3, and scales it to the image's size (bilinear), as timm and others crop for
ImageNet. Both mirror half of the images."""
