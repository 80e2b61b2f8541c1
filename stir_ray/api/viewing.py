"""How models see images: in full precision, as many images at once as there is memory for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from stir_ray.api.models import Layers, chosen_layers, depth_of, images_for
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.features import KINDS
from stir_ray.models.memory import Footprint
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import Precision
from stir_ray.worker import grams
from stir_ray.worker.grams import View
from stir_ray.worker.room import Room


@dataclass(frozen=True)
class Look:
    """How a layer is looked at.

    Attributes:
        kind: of representation: `tokens`, `token_mean`, `cls` or `patch_mean`.
        batch: images of one forward pass at most; None for as many as fit.

    Raises:
        ValueError: if there is no such kind.
    """

    kind: str = "tokens"
    batch: int | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody can look at."""
        if self.kind not in KINDS:
            raise ValueError(f"representation={self.kind!r}; expected {', '.join(KINDS)}")

    def view(self, model: FrozenModel, images: Tensor, layers: Sequence[int]) -> View:
        """Gram matrices of what layers make of images, on the CPU."""
        own = images.to(model.mean.device)
        micro = self.at_once(
            model,
            len(own),
            lambda: grams.view_footprint(model, own, layers=layers, kind=self.kind),
        )
        with matmul_precision(Precision.FLOAT32):
            seen = grams.view(model, own, layers=layers, kind=self.kind, micro=micro)
        return [gram.cpu() for gram in seen]

    def at_once(
        self, model: FrozenModel, count: int, needs: Callable[[], Footprint]
    ) -> Microbatches:
        """Slices of so many images as the memory of the model's device suffices for.

        Raises:
            MemoryError: if it does not suffice for one.
        """
        device, micro = model.mean.device, Microbatches(self.batch)
        room = Room(device, str(device), 1.0)
        micro.fitting = room.for_images("notebook", (), count, needs)
        return micro


@dataclass(frozen=True, eq=False)
class Viewed:
    """A model, and the images that it looks at.

    Attributes:
        model: frozen.
        images: on its device.
        layers: that look, from 1.
        is_whole: whether these are all layers of the model.
        look: what of a layer is looked at.
    """

    model: FrozenModel
    images: Tensor
    layers: tuple[int, ...]
    is_whole: bool
    look: Look

    @classmethod
    def of(cls, model: FrozenModel, images: Tensor, layers: Layers, look: Look) -> "Viewed":
        """Of the chosen layers.

        Raises:
            ValueError: if the model cannot see the images or has not all the layers.
        """
        seen = images_for(model, images)
        depth = depth_of(model, seen)
        chosen = chosen_layers(layers, depth)
        return Viewed(model, seen, chosen, len(chosen) == depth, look)

    @cached_property
    def real(self) -> View:
        """How the layers see the images."""
        return self.seen(self.images)

    def seen(self, images: Tensor) -> View:
        """How they see others."""
        return self.look.view(self.model, images, self.layers)

    def by(self, model: FrozenModel) -> "Viewed":
        """The same images seen by another model, by the same layers as far as it has them.

        Raises:
            ValueError: if it cannot see them, or has none of the layers.
        """
        if model is self.model:
            return self
        images = images_for(model, self.images)
        depth = depth_of(model, images)
        has = self.layers if not self.is_whole else range(1, depth + 1)
        layers = chosen_layers([layer for layer in has if layer <= depth], depth)
        whole = len(layers) == depth
        return Viewed(model, images, layers, whole, self.look)
