"""Inversions of a model's layers, made once and shown to as many models as one likes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from stir_ray.api.models import Layers, Model, frozen
from stir_ray.api.viewing import Look, Viewed
from stir_ray.numerics.criteria import NOT_INVERTED_RESIDUAL, residuals_converged
from stir_ray.numerics.initialization import initialization_of
from stir_ray.numerics.precision import resolved
from stir_ray.numerics.settings import DEFAULT, PAPER, InversionSettings
from stir_ray.worker.convergence_criterion import largest_change, sees_no_difference
from stir_ray.worker.grams import drift, scores
from stir_ray.worker.layer_inverter import Inverted, Search

Settings = InversionSettings | Literal["default", "paper"]
Scores = Mapping[str, NDArray[np.float64]]
"""STIR (reference layer, target layer) under `stir` and `stir_unbiased`, and their changes
since half the steps under `stir_drift` and `stir_unbiased_drift`."""
_PRESETS: Mapping[str, InversionSettings] = {"default": DEFAULT, "paper": PAPER}


@dataclass(frozen=True, eq=False)
class Inversions(Viewed):
    """Images inverted from layers of a model, to be given in place of the model.

    Attributes:
        image_ids: that noise was drawn by.
        seed: of the starts.
        settings: of the inversions; `auto` is there as what it was.
        of_layer: the inverted images of every layer, and how good they are.
    """

    image_ids: tuple[int, ...]
    seed: int
    settings: InversionSettings
    of_layer: Mapping[int, Inverted]

    @property
    def residuals(self) -> xr.DataArray:
        """(reference_layer, image): centred residual; 0 is perfect, the average image has 1."""
        values = [
            self.of_layer[layer].centred_residual.double().cpu().numpy() for layer in self.layers
        ]
        return xr.DataArray(
            np.stack(values),
            dims=("reference_layer", "image"),
            coords={"reference_layer": list(self.layers), "image": list(self.image_ids)},
            name="centred_residual",
            attrs={
                "long_name": "centred residual",
                "meaning": "||rep(x') - rep(x)|| / ||rep(x) - mean rep|| of every inverted image "
                f"x'; 0 is perfect, above {NOT_INVERTED_RESIDUAL} it counts as not inverted",
                "units": "1",
                "range": "[0, inf)",
            },
        )

    @cached_property
    def own(self) -> Scores:
        """STIR of the model on its own inversions."""
        return self.shown_to(self)

    @property
    def is_converged(self) -> NDArray[np.bool_]:
        """By layer, whether its inversion converged: residuals, self-STIR and drift are small."""
        return np.array([self.of_layer[layer].is_converged for layer in self.layers])

    def shown_to(self, target: Viewed) -> Scores:
        """STIR of a model on these inversions."""
        rows = [self._fooled(target, layer) for layer in self.layers]
        return {name: np.array([[one[name] for one in row] for row in rows]) for name in rows[0][0]}

    def _fooled(self, target: Viewed, layer: int) -> list[dict[str, float]]:
        found = self.of_layer[layer]
        views = target.real, target.seen(found.images), target.seen(found.earlier)
        return [
            scores("stir", real, now) | drift("stir", real, now, before)
            for real, now, before in zip(*views, strict=True)
        ]


def invert(
    model: Model,
    *,
    images: Tensor,
    layers: Layers = "all",
    seed: int = 0,
    settings: Settings = "default",
    representation: str = "tokens",
    image_ids: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    batch: int | None = None,
) -> Inversions:
    """Invert layers of a model: for every image one that the layer cannot tell from it.

    Args:
        model: of timm, or what `frozen` made of it. It is not changed.
        images: float values in [0, 1], (image, channel, height, width), at least 4.
        layers: `all`, or numbers of blocks from 1.
        seed: of the starts. Nothing is drawn from torch's global generator.
        settings: `default`, up to 400 steps, fewer where a layer converges before; `paper`, the
            published update; or `stir_ray.numerics.settings.InversionSettings`.
        representation: `tokens` (all of them side by side), `token_mean`, `cls` or `patch_mean`.
        image_ids: by which noise is drawn, so that it does not depend on the order of images; their
            numbers from 0 if not given, as a job has them of the first images of a split.
        device: to compute on; the model's own if not given.
        batch: images of one forward pass at most; as many as there is memory for if not given.

    Returns:
        To be given in place of the model, so that it is inverted once for several questions.

    Raises:
        ValueError: if model or images are not what is expected, saying what is.
        MemoryError: if not even one image fits into memory.
    """
    own = frozen(model) if device is None else frozen(model, device=device)
    viewed = Viewed.of(own, images, layers, Look(representation, batch))
    count, asked = len(viewed.images), settings_of(settings)
    how = replace(asked, precision=resolved(asked.precision, viewed.images))
    ids = tuple(range(count)) if image_ids is None else tuple(int(one) for one in image_ids)
    if len(ids) != count or len(set(ids)) != count:
        raise ValueError(f"image_ids: {len(set(ids))} different ones for {count} images")
    start = initialization_of(how.init, images=viewed.images, image_ids=ids, seed=seed)
    return Inversions(
        model=own,
        images=viewed.images,
        layers=viewed.layers,
        is_whole=viewed.is_whole,
        look=viewed.look,
        image_ids=ids,
        seed=seed,
        settings=how,
        of_layer={layer: _inverted(viewed, layer, start, how) for layer in viewed.layers},
    )


def _inverted(viewed: Viewed, layer: int, start: Tensor, settings: InversionSettings) -> Inverted:
    model, images = viewed.model, viewed.images
    search = Search.of(model, layer=layer, kind=viewed.look.kind, settings=settings)
    micro = viewed.look.at_once(model, len(images), lambda: search.footprint(images, start))
    return search.inverted(
        images, start, micro, remaining_drift=lambda found: _remaining_drift(viewed, layer, found)
    )


def _remaining_drift(viewed: Viewed, layer: int, found: Inverted) -> float:
    if not residuals_converged(found.centred_residual.double().cpu().numpy()):
        return math.inf
    real, now = viewed.real, viewed.seen(found.images)
    if not sees_no_difference(real, now, viewed.layers, layer, viewed.look.kind):
        return math.inf
    return largest_change(real, now, viewed.seen(found.earlier))


def settings_of(settings: Settings) -> InversionSettings:
    """The settings, or those of a name.

    Raises:
        ValueError: if there are none of that name.
    """
    if isinstance(settings, InversionSettings):
        return settings
    if settings not in _PRESETS:
        raise ValueError(f"settings={settings!r}; expected InversionSettings, default or paper")
    return _PRESETS[settings]
