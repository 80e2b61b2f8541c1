"""Iterations and seconds until every layer tells inverted images from real ones no more.

`python -m tests.benchmarks.convergence [--model NAME --arguments JSON --weights FILE]`

That is, until self-STIR, the CKA of what the inverted layer itself sees, is 0.99 in all of them.
Of unbiased CKA: of a few images in many dimensions biased CKA is near 1 whatever they are.
Each number of iterations is a run of its own, with its own schedule. For the digits job's weights:
`--model vit_tiny_patch16_224 --arguments '{"img_size": 24, "patch_size": 8, "in_chans": 1,
"embed_dim": 32, "depth": 12, "num_heads": 2}'`, on the digits.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stir_ray.numerics.settings import DEFAULT, PAPER, InversionSettings
from stir_ray.numerics.similarity import cka_unbiased, linear_gram
from tests.benchmarks import models, options
from tests.benchmarks.clock import table, timed
from tests.benchmarks.fewest import fewest
from tests.benchmarks.matrix import Question
from tests.benchmarks.precisions import PRECISIONS

ENOUGH = 0.99


@dataclass(frozen=True)
class Converged:
    """When an update has converged in every layer.

    Attributes:
        update: its name.
        iterations: the fewest that suffice, or the limit.
        suffices: False if the limit does not.
        seconds: of inverting all layers with that many, without anything else.
        self_stir: per layer.
        residual: mean over images, per layer.
    """

    update: str
    iterations: int
    suffices: bool
    seconds: float
    self_stir: list[float]
    residual: list[float]


class Trials:
    """Inversions of the layers of one model, each tried with as many iterations as wanted."""

    def __init__(self, question: Question, precision: str) -> None:
        """The target of the question is its reference."""
        self.question, self.precision = question, precision
        self.real = dict(zip(question.layers, question.seen(question.images), strict=True))
        # The layer that failed last is tried first: it fails most often.
        self._hardest = list(reversed(question.layers))

    def measure(
        self, update: str, settings: InversionSettings, *, limit: int, lowest: int = 2
    ) -> Converged:
        """The fewest iterations that suffice, from `lowest` to a limit, and how good they are."""

        def suffice(iterations: int) -> bool:
            return self._suffice(replace(settings, iterations=iterations))

        found = fewest(suffice, lowest=lowest, limit=limit)
        settings = replace(settings, iterations=found or limit)
        runs = [self._run(layer, settings) for layer in self.question.layers]
        return Converged(
            update,
            settings.iterations,
            found is not None,
            sum(seconds for _, seconds in runs),
            [
                self._self_stir(layer, images)
                for layer, (images, _) in zip(self.question.layers, runs, strict=True)
            ],
            [
                float(self.question.residual(layer, images).mean())
                for layer, (images, _) in zip(self.question.layers, runs, strict=True)
            ],
        )

    def _suffice(self, settings: InversionSettings) -> bool:
        for layer in self._hardest:
            images, _ = self._run(layer, settings)
            if self._self_stir(layer, images) < ENOUGH:
                self._hardest.remove(layer)
                self._hardest.insert(0, layer)
                return False
        return True

    def _run(self, layer: int, settings: InversionSettings) -> tuple[Tensor, float]:
        return timed(
            self.question.images.device,
            lambda: self.question.inverted(layer, settings=settings, precision=self.precision),
        )

    def _self_stir(self, layer: int, images: Tensor) -> float:
        represent = models.representation(self.question.reference, layer=layer, kind="tokens")
        with torch.no_grad():
            return cka_unbiased(self.real[layer], linear_gram(represent(images)))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and say so."""
    asked = options.parser(__doc__, model="vit_base_patch32_224", images=8, gain=2.0)
    asked.add_argument("--layers", nargs="+", type=int, help="all of them")
    asked.add_argument("--precision", choices=PRECISIONS, default="float32")
    asked.add_argument("--limit", type=int, default=500, help="of iterations (500)")
    chosen = options.read(asked, words)
    module = options.module_of(chosen)
    images, start = options.images_of(chosen, module)
    model = models.frozen(module, images.device)
    layers = chosen.layers or range(1, models.depth(module) + 1)
    trials = Trials(Question(model, model, images, start, layers), chosen.precision)
    default = trials.measure("default", DEFAULT, limit=min(50, chosen.limit))
    # Looked for from ours on: in fewer it is not of interest whether it has converged.
    paper = trials.measure("paper", PAPER, limit=chosen.limit, lowest=default.iterations)
    print(told(default, paper))


def told(default: Converged, paper: Converged) -> str:
    """As a table, and the ratio."""
    rows = [
        (
            one.update,
            f"{'' if one.suffices else '> '}{one.iterations}",
            f"{one.seconds:.1f}",
            f"{min(one.self_stir):.3f}",
            f"{max(one.residual):.3f}",
        )
        for one in (default, paper)
    ]
    names = ("update", "iterations", "seconds", "least self-STIR", "largest residual")
    # Where the limit did not suffice, it takes longer still.
    more = "" if paper.suffices else "more than "
    ratio = (
        f"The paper's update takes {more}{paper.iterations / default.iterations:.1f} x the "
        f"iterations and {more}{paper.seconds / default.seconds:.1f} x the seconds"
        if default.suffices
        else f"The default update does not converge in {default.iterations} iterations"
    )
    return f"{table(names, *rows)}\n{ratio}"


if __name__ == "__main__":
    main(sys.argv[1:])
