"""Seconds for all layers by all layers of STIR(ft | pt): the public code's over ours.

`python -m tests.benchmarks.peer [--model vit_base_patch32_224 --arguments {} --images 4]`, which
takes twenty minutes on two cores; the smaller model, if none is named, takes three.

The public code is timed on one pair of layers per layer, each once as reference and once as
target, in turns with our rows; the time of all its pairs is that times the number of layers. Then
ours with the default update, in as few iterations as leave no larger a residual than its: first as
a mean over layers and images, then in every single layer.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stir_ray.numerics.settings import DEFAULT, PAPER, InversionSettings
from tests.benchmarks import models, options
from tests.benchmarks.clock import table, timed
from tests.benchmarks.fewest import fewest
from tests.benchmarks.matrix import MeasurementSpec, Row
from tests.benchmarks.precisions import PRECISIONS
from tests.benchmarks.published import Peer, Seen


@dataclass(frozen=True)
class Ours:
    """Our matrix beside the public code's pairs.

    Attributes:
        update: its settings, or our default ones and what they are to reach.
        precision: of the inversions.
        iterations: of each.
        ratio: its seconds for all pairs over ours.
        delta: |STIR - its STIR| of the pairs that it ran.
        residual: mean over images, per reference layer.
    """

    update: str
    precision: str
    iterations: int
    ratio: float
    delta: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Against:
    """How we do against the public code.

    Attributes:
        pairs: that it ran, as (reference layer, target layer).
        residual: mean over its images, per reference layer.
        ours: one with its settings per precision, then those with ours per precision and goal.
    """

    pairs: list[tuple[int, int]]
    residual: Tensor
    ours: list[Ours]


GOALS: dict[str, Callable[[Tensor, Tensor], bool]] = {
    "its mean": lambda ours, theirs: bool(ours.mean() <= theirs.mean()),
    "it in every layer": lambda ours, theirs: bool((ours <= theirs).all()),
}
"""Whether our mean residuals, per layer, are as small as the public code's."""


def measure(
    pt: nn.Module,
    ft: nn.Module,
    *,
    images: Tensor,
    start: Tensor,
    precisions: Sequence[str] = ("float32",),
    iterations: int = 50,
    subset: int = 8,
) -> Against:
    """Time the public code and ours on the same models, images and noise.

    Args:
        pt: the model that is inverted.
        ft: that looks at the inverted images.
        images: in [0, 1].
        start: of the same shape.
        precisions: of our inversions.
        iterations: of each inversion; more than 2.
        subset: images on which the fewest iterations are searched for; 0 searches for none.
    """
    layers = range(1, models.depth(pt) + 1)
    looks = (models.frozen(module, images.device) for module in (pt, ft))
    question = MeasurementSpec(*looks, images=images, start=start, layers=layers)
    run = _Runs(question, Peer(pt, ft, images, start), replace(PAPER, iterations=iterations))
    run.take_turns(precisions)
    search = range(min(subset, len(images)))
    searched = precisions if subset else []
    return Against(
        run.pairs,
        run.residual,
        [
            *(run.paper(precision) for precision in precisions),
            *(
                run.default(precision, search, iterations, goal)
                for precision in searched
                for goal in GOALS
            ),
        ],
    )


class _Runs:
    """What has been run, and what it tells."""

    def __init__(self, question: MeasurementSpec, peer: Peer, settings: InversionSettings) -> None:
        self.question, self.peer, self.settings = question, peer, settings
        count = len(question.layers)
        # Each layer once as reference and once as target, neither always the deeper.
        self.pairs = [(layer, (layer + count // 2 - 1) % count + 1) for layer in question.layers]
        self.theirs: list[Seen] = []
        self.rows: dict[str, list[Row]] = {}
        self.seconds: dict[str, float] = {}
        self.looking: dict[str, float] = {}

    def take_turns(self, precisions: Sequence[str]) -> None:
        """The public code's pair of a layer, our row of it in each precision; then the next."""
        device = self.question.images.device
        brief = replace(self.settings, iterations=2)
        self.peer.pair(*self.pairs[-1], iterations=2)
        for precision in precisions:
            self.real = self.question.seen(self.question.images)
            self._row(self.question.layers[-1], brief, precision)
            _, self.looking[precision] = timed(
                device, lambda: self.question.seen(self.question.images)
            )
            self.seconds[precision] = self.looking[precision]
            self.rows[precision] = []
        for reference, target in self.pairs:
            self.theirs.append(
                self.peer.pair(reference, target, iterations=self.settings.iterations)
            )
            for precision in precisions:
                row, seconds = self._row(reference, self.settings, precision)
                self.rows[precision].append(row)
                self.seconds[precision] += seconds

    @property
    def residual(self) -> Tensor:
        """The public code's, mean over images per reference layer."""
        return self._mean_residual([seen.inverted for seen in self.theirs])

    def paper(self, precision: str) -> Ours:
        """Ours with its settings."""
        ratio = self._theirs / self.seconds[precision]
        return self._ours("paper", self.rows[precision], ratio, precision, self.settings)

    @property
    def _theirs(self) -> float:
        """Seconds of all its pairs."""
        return sum(seen.seconds for seen in self.theirs) * len(self.pairs)

    def default(self, precision: str, search: range, most: int, goal: str) -> Ours:
        """Ours with the default update, in the fewest iterations that reach its residual."""
        found = fewest(
            lambda number: self._reaches(number, precision, search, goal), lowest=2, limit=most
        )
        reached = False
        for iterations in range(found or most, most + 1):
            settings = replace(DEFAULT, iterations=iterations)
            rows, share = self._in_turns_with_paper(settings, precision)
            ours = self._mean_residual([row.inverted for row in rows])
            if reached := GOALS[goal](ours, self.residual):
                break
        looking = self.looking[precision]
        seconds = looking + share * (self.seconds[precision] - looking)
        name = f"default, to {goal}{'' if reached else ' (not reached)'}"
        return self._ours(name, rows, self._theirs / seconds, precision, settings)

    def _reaches(self, iterations: int, precision: str, search: range, goal: str) -> bool:
        """Whether so many suffice for some of the images."""
        question, settings = self.question, replace(DEFAULT, iterations=iterations)
        some = replace(question, images=question.images[search], start=question.start[search])
        ours, theirs = [], []
        for layer, seen in zip(question.layers, self.theirs, strict=True):
            inverted = some.inverted(layer, settings=settings, precision=precision)
            ours.append(some.residual(layer, inverted).mean())
            theirs.append(some.residual(layer, seen.inverted[search]).mean())
        return GOALS[goal](torch.stack(ours), torch.stack(theirs))

    def _in_turns_with_paper(
        self, settings: InversionSettings, precision: str
    ) -> tuple[list[Row], float]:
        """All rows, and their seconds over those with the public code's settings."""
        rows, seconds, paper = [], 0.0, 0.0
        for layer in self.question.layers:
            paper += self._row(layer, self.settings, precision)[1]
            row, taken = self._row(layer, settings, precision)
            rows.append(row)
            seconds += taken
        return rows, seconds / paper

    def _row(self, layer: int, settings: InversionSettings, precision: str) -> tuple[Row, float]:
        return timed(
            self.question.images.device,
            lambda: self.question.row(
                layer, settings=settings, precision=precision, real=self.real
            ),
        )

    def _mean_residual(self, inverted: list[Tensor]) -> Tensor:
        means = [
            self.question.residual(layer, images).mean()
            for layer, images in zip(self.question.layers, inverted, strict=True)
        ]
        return torch.stack(means).cpu()

    def _ours(
        self,
        update: str,
        rows: list[Row],
        ratio: float,
        precision: str,
        settings: InversionSettings,
    ) -> Ours:
        delta = [
            abs(float(row.stir[target - 1]) - seen.stir)
            for row, seen, (_, target) in zip(rows, self.theirs, self.pairs, strict=True)
        ]
        residual = self._mean_residual([row.inverted for row in rows])
        return Ours(update, precision, settings.iterations, ratio, torch.tensor(delta), residual)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and say so."""
    small = '{"img_size": 32, "patch_size": 8}'
    asked = options.parser(
        __doc__, model="vit_tiny_patch16_224", arguments=small, images=16, gain=2.0
    )
    asked.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    asked.add_argument("--iterations", type=int, default=50)
    asked.add_argument("--subset", type=int, default=8, help="images of the search (8); 0: none")
    chosen = options.read(asked, words)
    pt = options.module_of(chosen)
    images, start = options.images_of(chosen, pt)
    print(
        told(
            measure(
                pt,
                models.finetuned(pt, seed=chosen.seed + 1),
                images=images,
                start=start,
                precisions=chosen.precisions,
                iterations=chosen.iterations,
                subset=chosen.subset,
            )
        )
    )


def told(against: Against) -> str:
    """As a table."""
    ran, all_pairs = len(against.pairs), len(against.pairs) ** 2
    head = (
        f"The public code's seconds for {all_pairs} pairs, from {ran} of them, over ours; its mean "
        f"residual is {against.residual.mean():.3f}:"
    )
    rows = [
        (
            ours.update,
            ours.precision,
            ours.iterations,
            f"{ours.ratio:.1f} x",
            f"{ours.delta.max():.1e}",
            f"{ours.delta.mean():.1e}",
            f"{ours.residual.mean():.3f}",
        )
        for ours in against.ours
    ]
    names = ("update", "precision", "iterations", "ratio", "max |dSTIR|", "mean", "residual")
    return f"{head}\n{table(names, *rows)}"


if __name__ == "__main__":
    main(sys.argv[1:])
