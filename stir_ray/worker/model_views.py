"""How a worker's models see the images of a study, and those that inversions start from."""

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from stir_ray.identity import Artifact
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.numerics.settings import Initialization
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.worker import grams
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.grams import View
from stir_ray.worker.phases import Phase


def seen(
    checkpoint: Checkpoint, spec: MeasurementSpec, images: Tensor, bench: WorkerContext
) -> View:
    """How every layer of a model sees images."""
    model = _ready(checkpoint, spec, images, bench)
    layers, kind = spec.layers_of(checkpoint), spec.representation
    with bench.meter.spending(Phase.LOOK):
        return grams.view(model, images, layers=layers, kind=kind, micro=bench.micro)


class InvertedViews:
    """How models see inverted images, and see them after half of the steps; each looks once.

    Attributes:
        images: the inverted ones.
    """

    def __init__(self, images: Tensor, earlier: Tensor, bench: WorkerContext) -> None:
        """No model has looked yet.

        Args:
            images: the inverted ones.
            earlier: the same after half of the steps.
            bench: of the worker.
        """
        self.images, self._earlier, self._bench = images, earlier, bench
        self._seen: dict[tuple[str, tuple[int, ...], bool], View] = {}

    @classmethod
    def stored(cls, parts: Sequence[Artifact], bench: WorkerContext) -> Self:
        """Of images in the lake: those after all steps, then those after half of them."""
        images, earlier = (bench.inverted(part) for part in parts)
        return cls(images, earlier, bench)

    def now(self, target: Checkpoint, spec: MeasurementSpec) -> View:
        """How a model sees the images."""
        return self._look(target, spec, self.images, is_now=True)

    def before(self, target: Checkpoint, spec: MeasurementSpec) -> View:
        """How it sees them as they were after half of the steps."""
        return self._look(target, spec, self._earlier, is_now=False)

    def _look(
        self, target: Checkpoint, spec: MeasurementSpec, images: Tensor, *, is_now: bool
    ) -> View:
        key = target.weights, spec.layers_of(target), is_now
        if key not in self._seen:
            self._seen[key] = seen(target, spec, images, self._bench)
        return self._seen[key]


def real_seen(checkpoint: Checkpoint, spec: MeasurementSpec, bench: WorkerContext) -> View:
    """How a model sees the real images; computed once and reused."""
    return bench.kept(
        ("real", spec.layers),
        (checkpoint.weights, spec),
        lambda: seen(checkpoint, spec, bench.image_set(spec).images, bench),
    )


def starts_as_images(spec: MeasurementSpec, seed: int, bench: WorkerContext) -> Tensor:
    """What inversions start from, clipped to [0, 1]: an image, as every inverted one is."""
    return bench.starts(spec, seed).clamp(0, 1)


def starts_seen(
    checkpoint: Checkpoint, spec: MeasurementSpec, seed: int, bench: WorkerContext
) -> View | None:
    """How a model sees the starts; None if they are one image, and have no geometry."""
    if spec.settings.init is Initialization.GRAY:
        return None

    def look() -> View:
        return seen(checkpoint, spec, starts_as_images(spec, seed, bench), bench)

    # As large as a view, and looked at once unless there is more to measure of it.
    key = checkpoint.weights, spec, seed
    return bench.kept("starts", key, look) if spec.measures else look()


def baselines(
    checkpoint: Checkpoint, spec: MeasurementSpec, seed: int, bench: WorkerContext
) -> Sequence[dict[str, float]]:
    """Per layer, what STIR would be if nothing were shared; computed once and reused."""

    def compute() -> Sequence[dict[str, float]]:
        starts = starts_seen(checkpoint, spec, seed, bench)
        real = real_seen(checkpoint, spec, bench)
        with bench.meter.spending(Phase.COMPARE):
            return grams.baselines(real, starts, seed=seed)

    return bench.noted("baselines", (checkpoint.weights, spec, seed), compute)


def directions(checkpoint: Checkpoint, spec: MeasurementSpec, bench: WorkerContext) -> list[Tensor]:
    """Where every layer spreads the real images; computed once and reused."""

    def compute() -> list[Tensor]:
        images = bench.image_set(spec).images
        model = _ready(checkpoint, spec, images, bench)
        layers, kind = spec.layers_of(checkpoint), spec.representation
        k = spec.directions
        with bench.meter.spending(Phase.LOOK):
            return grams.directions(model, images, layers=layers, kind=kind, micro=bench.micro, k=k)

    return bench.kept("directions", (checkpoint.weights, spec), compute)


def _ready(
    checkpoint: Checkpoint, spec: MeasurementSpec, images: Tensor, bench: WorkerContext
) -> FrozenModel:
    """The model, with as many images at once as should fit."""
    model = bench.models.frozen(checkpoint)
    layers, kind = spec.layers_of(checkpoint), spec.representation
    bench.expect(
        ("view", checkpoint.architecture, spec),
        len(images),
        lambda: grams.view_footprint(model, images, layers=layers, kind=kind),
    )
    return model
