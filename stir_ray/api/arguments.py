"""What is asked of two models: of a model with images, or of inversions that were made before."""

import inspect
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stir_ray.api.inverting import Inversions, Settings, invert
from stir_ray.api.models import Layers, Model, frozen
from stir_ray.api.viewing import Look, Viewed
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.numerics.criteria import CONVERGED_DRIFT, CONVERGED_RESIDUAL, CONVERGED_SELF_STIR
from stir_ray.results.convergence import CRITERION

Given = Model | Inversions
"""A model, or inversions of it."""


class ConvergenceWarning(UserWarning):
    """Inversions did not converge: what was not found is counted as not shared."""


@dataclass(frozen=True)
class ResolvedJob:
    """What is said beside the models; None where nothing is.

    Attributes:
        images: to be inverted and looked at.
        layers: of both models.
        representation: of a layer.
        seed: of the starts.
        settings: of the inversions.
    """

    images: Tensor | None
    layers: Layers | None
    representation: str | None
    seed: int | None = None
    settings: Settings | None = None

    def inversions(self, given: Given) -> Inversions:
        """Those that are given, or of the model that is; warns if they did not converge.

        Raises:
            ValueError: if something is missing, or said again otherwise.
        """
        if isinstance(given, Inversions):
            self._must_be_of(given)
            found = given
        else:
            found = invert(
                given,
                images=self._images(),
                layers="all" if self.layers is None else self.layers,
                seed=0 if self.seed is None else self.seed,
                settings="default" if self.settings is None else self.settings,
                representation=self.representation or "tokens",
            )
        _warn_unless_converged(found)
        return found

    def viewed(self, given: Given) -> Viewed:
        """The same of real images alone: nothing is inverted."""
        if isinstance(given, Inversions):
            self._must_be_of(given)
            return given
        layers = "all" if self.layers is None else self.layers
        look = Look(self.representation or "tokens")
        return Viewed.of(frozen(given), self._images(), layers, look)

    def _images(self) -> Tensor:
        if self.images is None:
            raise ValueError(
                "`images` are missing: a model of this question is still to be inverted; give "
                "them, or what `stir_ray.invert` made of that model"
            )
        return self.images

    def _must_be_of(self, given: Inversions) -> None:
        said = {
            "layers": self.layers,
            "representation": self.representation,
            "seed": self.seed,
            "settings": self.settings,
        }
        again = [name for name, value in said.items() if value is not None]
        if again:
            raise ValueError(f"`{again[0]}` was said to `invert`; leave it out, or invert anew")
        if self.images is not None and not torch.equal(self.images.to(given.images), given.images):
            raise ValueError("`images` are not those that were inverted; leave them out")


def model_of(given: Given) -> FrozenModel:
    """The model that looks."""
    return given.model if isinstance(given, Inversions) else frozen(given)


def _warn_unless_converged(found: Inversions) -> None:
    if found.is_converged.all():
        return
    layers = [
        layer for layer, good in zip(found.layers, found.is_converged, strict=True) if not good
    ]
    residual = float(found.residuals.sel(reference_layer=layers).quantile(0.95, "image").max())
    warnings.warn(
        f"inversions of {len(layers)} of {len(found.layers)} layers did not converge in "
        f"{max(found.of_layer[layer].iterations for layer in layers)} steps: 95 % of the images "
        f"have a centred residual of up to {residual:.3f}. Converged is {CONVERGED_RESIDUAL} or "
        f"less, self-STIR of {CONVERGED_SELF_STIR} or more by {CRITERION} CKA, and no STIR that "
        f"changed by more than {CONVERGED_DRIFT} since half the steps. What an inversion misses "
        "counts as not shared; take more steps: settings=InversionSettings(iterations=1600)",
        ConvergenceWarning,
        stacklevel=_frames_to_caller(),
    )


def _frames_to_caller() -> int:
    """Frames between the warning and whoever asked, whose line it is to name."""
    here = str(Path(__file__).parent)
    outside = (
        level for level, frame in enumerate(inspect.stack()) if not frame.filename.startswith(here)
    )
    return next(outside, 1)
