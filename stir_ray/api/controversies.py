"""Images about which two models disagree, made for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import xarray as xr
from torch import Tensor

from stir_ray.api.arguments import Given, model_of
from stir_ray.api.inverting import Inversions, Settings, settings_of
from stir_ray.api.models import chosen_layers, depth_of, frozen, images_for
from stir_ray.api.viewing import Look
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.features import representation as represented
from stir_ray.models.memory import FEWEST, Footprint, footprint
from stir_ray.numerics import controversial as numerics
from stir_ray.numerics.controversial import Controversy
from stir_ray.numerics.initialization import initialization_of
from stir_ray.numerics.precision import matmul_precision, resolved
from stir_ray.numerics.settings import InversionSettings, Precision

_Representation = Callable[[Tensor], Tensor]


def controversial(
    *,
    same_to: Given,
    different_to: Given,
    images: Tensor,
    layer: int,
    different_layer: int | None = None,
    seed: int = 0,
    settings: Settings = "default",
    representation: str = "tokens",
    weight: float = 1.0,
    enough: float = 1.0,
) -> xr.Dataset:
    """For every image another one, which one model cannot tell from it and another model can.

    An inversion shows what the other model happens not to share; this looks for it.

    Args:
        same_to: the model that should take the found image for the given one: of timm, what
            `frozen` made of it, or inversions of it.
        different_to: the model that should not, likewise. It may be of another depth and width.
        images: float values in [0, 1], (image, channel, height, width); one is enough.
        layer: of `same_to`, from 1.
        different_layer: of `different_to`; the same number if not given.
        seed: of the starts.
        settings: as of `invert`; without a regularizer, and their tolerance is not heeded.
        representation: what of both layers is looked at, as of `invert`.
        weight: of the difference beside the sameness.
        enough: the difference beyond which more counts no more; 1 is as far as zeros are.

    Returns:
        `images` (image, channel, row, column), the found ones; `same` and `different` (image), how
        far they are from the given ones to each model; `steps` (image), after how many each was
        found. Each says in its attributes what it is.

    With the settings `default` it takes all 400 steps: whether they suffice shows in `same` and
    `different`.

    Raises:
        ValueError: if models, images, layers or settings are not what is expected, saying what is.
        MemoryError: if not even one image fits into memory.
    """
    first = model_of(same_to)
    second = _beside(first, different_to)
    shown = images_for(first, images, least=1)
    images_for(second, shown, least=1)
    look, how = Look(representation), settings_of(settings)
    layers = (layer, layer if different_layer is None else different_layer)
    pair = zip((first, second), layers, strict=True)
    same, different = (_seen(model, number, shown, look) for model, number in pair)
    start = initialization_of(how.init, images=shown, image_ids=range(len(shown)), seed=seed)
    settled = replace(how, precision=resolved(how.precision, shown))
    dispute = _Dispute(same, different, settled, weight, enough)
    with matmul_precision(Precision.FLOAT32):
        micro = look.at_once(first, len(shown), lambda: dispute.footprint(shown, start))
        parts = micro.each(len(shown), lambda rows: dispute.settled(shown[rows], start[rows]))
    attrs = {
        "layer": layers[0],
        "different_layer": layers[1],
        "representation": representation,
        "seed": seed,
        "iterations": how.iterations,
        "precision": str(settled.precision),
        "weight": weight,
        "enough": enough,
    }
    return _described(parts).assign_attrs(attrs)


@dataclass(frozen=True)
class _Dispute:
    """What is looked for, whatever the images."""

    same_to: _Representation
    different_to: _Representation
    settings: InversionSettings
    weight: float
    enough: float

    def settled(self, images: Tensor, start: Tensor) -> Controversy:
        return numerics.controversial(
            same_to=self.same_to,
            different_to=self.different_to,
            images=images,
            start=start,
            settings=self.settings,
            weight=self.weight,
            enough=self.enough,
        )

    def footprint(self, images: Tensor, start: Tensor) -> Footprint:
        """The memory that it takes, found on a few times the first image."""
        brief = replace(self.settings, iterations=min(2, self.settings.iterations))
        real, begun = (some[:1].repeat(FEWEST + 1, 1, 1, 1) for some in (images, start))
        trial = replace(self, settings=brief)
        return footprint(
            lambda count: trial.settled(real[:count], begun[:count]), after=images[0].nbytes
        )


def _beside(first: FrozenModel, given: Given) -> FrozenModel:
    """A model on the device of the first."""
    where = first.mean.device
    if not isinstance(given, FrozenModel | Inversions):
        return frozen(given, device=where)
    second = model_of(given)
    if second.mean.device != where:
        raise ValueError(
            f"the models are on {where} and on {second.mean.device}; freeze both on one device: "
            "stir_ray.frozen(model, device=...)"
        )
    return second


def _seen(model: FrozenModel, layer: int, images: Tensor, look: Look) -> _Representation:
    (chosen,) = chosen_layers([layer], depth_of(model, images))
    return represented(model, layer=chosen, kind=look.kind)


def _described(parts: Sequence[Controversy]) -> xr.Dataset:
    def column(name: str) -> Tensor:
        return torch.cat([getattr(one, name) for one in parts]).cpu()

    distance = "||rep(x') - rep(x)|| / ||rep(x)|| of every found image x', to the model that should"
    said = {
        "images": ("found images", "one for every given image", "[0, 1]"),
        "same": ("sameness", f"{distance} not tell it from x; 0 is the same", "[0, inf)"),
        "different": ("difference", f"{distance} tell it from x; 0 is the same", "[0, inf)"),
        "steps": ("steps", "after how many each image was found", "[1, iterations]"),
    }
    dims = ("image", "channel", "row", "column")
    return xr.Dataset(
        {
            name: xr.DataArray(
                column(name).numpy(),
                dims=dims if name == "images" else "image",
                attrs={"long_name": long, "meaning": meaning, "units": "1", "range": values},
            )
            for name, (long, meaning, values) in said.items()
        }
    )
