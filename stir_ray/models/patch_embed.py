"""The patch embedding as a matrix product."""

from torch import Tensor, nn
from torch.nn import functional

from stir_ray.models.plain import is_plain


class PatchProjection(nn.Module):
    """A convolution whose kernel is as large as its stride, computed as one matrix product.

    The same numbers up to rounding, from the same parameters under the same names. What changes is
    the gradient with respect to the image, which an inversion needs at every step: as a convolution
    it took more time than the first transformer block.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take over the convolution's parameters."""
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.patch = convolution.kernel_size

    def forward(self, images: Tensor) -> Tensor:
        """(image, channel, height, width) to (image, unit, row of patches, column of patches).

        Raises:
            ValueError: if an image is smaller than a patch.
        """
        patches = patches_of(images, self.patch)
        units = functional.linear(patches, self.weight.flatten(1), self.bias)
        return units.permute(0, 3, 1, 2)


def patches_of(images: Tensor, patch: tuple[int, ...]) -> Tensor:
    """The pixels of each patch, channel by channel.

    Args:
        images: (image, channel, height, width).
        patch: its height and width; pixels beyond the last whole one are left out.

    Returns:
        (image, row of patches, column of patches, pixel).

    Raises:
        ValueError: if an image is smaller than a patch.
    """
    count, channels, height, width = images.shape
    rows, columns = height // patch[0], width // patch[1]
    if not rows * columns:
        raise ValueError(f"a patch of {patch} does not fit {height} x {width} pixels")
    whole = images[:, :, : rows * patch[0], : columns * patch[1]]
    pixels = whole.reshape(count, channels, rows, patch[0], columns, patch[1])
    return pixels.permute(0, 2, 4, 1, 3, 5).flatten(3)


def with_patch_projection(model: nn.Module) -> nn.Module:
    """The model, its patch embedding a matrix product where it is torch's own convolution.

    With hooks, or of a user's own type, it stays as it is.
    """
    embedding = getattr(model, "patch_embed", None)
    convolution = getattr(embedding, "proj", None)
    if isinstance(embedding, nn.Module) and is_plain(convolution, nn.Conv2d):
        is_of_patches = (
            convolution.kernel_size == convolution.stride
            and convolution.padding == (0, 0)
            and convolution.dilation == (1, 1)
            and convolution.groups == 1
        )
        if is_of_patches:
            embedding.register_module("proj", PatchProjection(convolution))
    return model
