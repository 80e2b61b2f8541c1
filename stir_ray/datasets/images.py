"""Image files of a dataset, decoded one by one, and what is made of them for a model."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from stir_ray.errors import DataError


@dataclass(frozen=True)
class ResizeTransform:
    """Makes images of any size square, of so many pixels and channels."""

    size: int
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.size, self.size

    def apply(self, images: Sequence[Image.Image]) -> Tensor:
        """Return images of any size and mode as float32 (image, channel, size, size) in [0, 1].

        The shorter side is resized (bilinear, antialiased, as Pillow does), the longer one cropped
        around the center.
        """
        convert = v2.Grayscale() if self.channels == 1 else v2.RGB()
        crop = v2.Compose([v2.Resize(self.size, antialias=True), v2.CenterCrop(self.size)])
        converted = [convert(image) for image in images]
        if len({image.size for image in converted}) == 1 and self._is_multiple_of(converted[0]):
            levels = crop(_stack(converted))
        else:
            levels = _stack([crop(image) for image in converted])
        return v2.functional.to_dtype(levels, torch.float32, scale=True).contiguous()

    def _is_multiple_of(self, image: Image.Image) -> bool:
        # There torch gives exactly what Pillow gives, of many images at once and several times as
        # fast; elsewhere one level in hundreds differs. CIFAR at 224 pixels is such a case.
        width, height = image.size
        return width == height and self.size % width == 0


def _stack(images: Sequence[Image.Image]) -> Tensor:
    # uint8 (image, channel, height, width) of images of one size.
    stacked = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(stacked.reshape(*stacked.shape[:3], -1)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class EncodedImages:
    """One split of a dataset as it was published.

    Attributes:
        labels: int64 (image), from 0.
        ids: of the images.
        encoded: the image file of an index in the split.
        names: of the image files, for messages; empty where an image is no file of its own.
        classes: names of the classes, by label.
    """

    labels: Tensor
    ids: tuple[int, ...]
    encoded: Callable[[int], bytes]
    names: Sequence[str] = ()
    classes: Sequence[str] = ()

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        """Decode the images at some indices, in color.

        Raises:
            DataError: if one of them cannot be read.
        """
        return [self._decode(index) for index in indices]

    def _decode(self, index: int) -> Image.Image:
        try:
            return Image.open(io.BytesIO(self.encoded(index))).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            # Pillow's message would name a buffer.
            reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else error
            name = self.names[index] if self.names else f"image {self.ids[index]}"
            raise DataError(f"{name}: cannot be read ({reason})") from None


def portable_pixmap(levels: np.ndarray) -> bytes:
    """Return a PPM file of uint8 levels (height, width, 3).

    Its bytes are the same whatever version of a library writes them.
    """
    height, width, _ = levels.shape
    return b"P6 %d %d 255\n" % (width, height) + levels.tobytes()
