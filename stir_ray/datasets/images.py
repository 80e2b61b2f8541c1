"""Pictures as they were published, read one by one, and what a model is shown of them."""

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
class Frame:
    """What every picture is made: square, of so many pixels and channels."""

    size: int
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.size, self.size

    def fitted(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size and mode as float32 (image, channel, size, size) in [0, 1].

        The shorter side is resized (bilinear, antialiased, as Pillow does), the longer one cut
        around the centre.
        """
        tint = v2.Grayscale() if self.channels == 1 else v2.RGB()
        cut = v2.Compose([v2.Resize(self.size, antialias=True), v2.CenterCrop(self.size)])
        tinted = [tint(picture) for picture in pictures]
        if len({picture.size for picture in tinted}) == 1 and self._is_multiple_of(tinted[0]):
            levels = cut(_levels(tinted))
        else:
            levels = _levels([cut(picture) for picture in tinted])
        return v2.functional.to_dtype(levels, torch.float32, scale=True).contiguous()

    def _is_multiple_of(self, picture: Image.Image) -> bool:
        # There torch gives just what Pillow gives, of many images at once and several times as
        # fast; elsewhere one level in hundreds differs. CIFAR at 224 pixels is such a case.
        width, height = picture.size
        return width == height and self.size % width == 0


def _levels(pictures: Sequence[Image.Image]) -> Tensor:
    """uint8 (image, channel, height, width) of pictures of one size."""
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(stacked.reshape(*stacked.shape[:3], -1)).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class EncodedImages:
    """One split of a dataset as it was published.

    Attributes:
        labels: int64 (image), from 0.
        ids: of the images.
        encoded: the image file of a place in the split.
        names: of the image files, for messages; empty where an image is no file of its own.
        classes: names of the classes, by label; empty where they are not known.
    """

    labels: Tensor
    ids: tuple[int, ...]
    encoded: Callable[[int], bytes]
    names: Sequence[str] = ()
    classes: Sequence[str] = ()

    def read(self, places: Sequence[int]) -> list[Image.Image]:
        """The pictures at some places, in colour.

        Raises:
            DataError: if one of them cannot be read.
        """
        return [self._decoded(place) for place in places]

    def _decoded(self, place: int) -> Image.Image:
        try:
            return Image.open(io.BytesIO(self.encoded(place))).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            # Pillow names the buffer that it read from, which tells nobody anything.
            reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else error
            name = self.names[place] if self.names else f"image {self.ids[place]}"
            raise DataError(f"{name}: cannot be read ({reason})") from None


def portable_pixmap(levels: np.ndarray) -> bytes:
    """The image file of raw levels, uint8 (height, width, 3), with nothing to be decoded.

    The bytes are the same whatever version of a library writes them.
    """
    height, width, _ = levels.shape
    return b"P6 %d %d 255\n" % (width, height) + levels.tobytes()
