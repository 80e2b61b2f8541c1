"""The decoder of a reconstruction: from a model's last patch tokens back to the image.

One linear map per patch, as in SimMIM (Xie et al. 2022) and in Hugging Face's
`ViTForMaskedImageModeling`: a 1 × 1 convolution to all pixels of a patch, and a pixel shuffle. As
there, it reads the tokens after the final norm, the class token left out.
"""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from stir_ray.errors import ModelError
from stir_ray.models.architectures import final_features
from stir_ray.models.checkpoints import DECODER, FrozenModel
from stir_ray.models.rng import seeded_rng


def with_new_decoder(
    module: nn.Module, *, image_shape: tuple[int, int, int], seed: int
) -> nn.Module:
    """Replace the classifier by a fresh decoder, its weights drawn from `seed`.

    Args:
        module: a timm model.
        image_shape: channels, height, width.
        seed: of the decoder's weights.

    Raises:
        ModelError: if the model's last feature map does not divide the image into square patches.
    """
    channels, height, width = image_shape
    # timm's own record of its last block.
    last = cast("Any", module).feature_info[-1]
    units, patch = int(last["num_chs"]), int(last["reduction"])
    if height % patch or width % patch:
        raise ModelError(
            f"reconstruction: {height} x {width} pixels are no whole number of patches of {patch}; "
            "choose another image size"
        )
    module.reset_classifier(0)  # pyright: ignore[reportCallIssue] - timm's own method
    with seeded_rng(seed):
        pixels = nn.Conv2d(units, channels * patch**2, kernel_size=1)
    module.add_module(DECODER, nn.Sequential(pixels, nn.PixelShuffle(patch)))
    return module


def with_decoder_of(
    module: nn.Module, state: Mapping[str, Tensor], *, image_shape: tuple[int, int, int]
) -> nn.Module:
    """Replace the classifier by the decoder of a state dict; raises as `with_new_decoder`."""
    whole = with_new_decoder(module, image_shape=image_shape, seed=0)
    start = f"{DECODER}."
    of_decoder = {name.removeprefix(start): state[name] for name in state if name.startswith(start)}
    whole.get_submodule(DECODER).load_state_dict(of_decoder)
    return whole


def reconstruct(model: FrozenModel, images: Tensor) -> Tensor:
    """Return the reconstructions of images in [0, 1]: of the same shape, not bounded."""
    features = final_features(model.module, model.normalised(images))
    return model.module.get_submodule(DECODER)(features)
