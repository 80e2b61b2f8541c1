"""Which summary of the layers follows robustness over the epochs: Merlin et al. 2023, section 6.

A hypothesis summarizes some layers of a curve in one number per epoch. The first n and the last n
layers, n = 1..11 of 12, make 22 sets of layers; four aggregates of each make 88 hypotheses for one
curve, and 352 for the four that learning and forgetting make. All are correlated with accuracy at
once, and their p is corrected for their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stir_ray.numerics.correlation import (
    circular_correlation,
    family_wise_p,
    pearson,
    without_transient,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    Curve = Float[NDArray, "*batch epoch layer"]
    Summary = Float[NDArray, "*batch epoch"]
    PerHypothesis = Float[NDArray, "hypothesis"]


class Aggregate(StrEnum):
    MEAN = "mean"
    STD = "std"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Hypothesis:
    """A summary of the layers that may follow robustness over the epochs."""

    aggregate: Aggregate
    curve: str  # name of the curve, e.g. `learning + forgetting`
    layers: tuple[int, ...]  # numbers of the blocks, ascending

    def __str__(self) -> str:
        """Return a name such as `std of forgetting over layers 2-12`."""
        first, last = self.layers[0], self.layers[-1]
        layers = f"layer {first}" if first == last else f"layers {first}-{last}"
        return f"{self.aggregate} of {self.curve} over {layers}"

    def summary(self, curves: Mapping[str, Curve], *, layers: Sequence[int]) -> Summary:
        """Return its value at each epoch; NaN where it is undefined or a layer is unknown.

        `layers` are the numbers of the layers of the curves, in the order of their last axis.
        """
        values = curves[self.curve][..., [layers.index(layer) for layer in self.layers]]
        if self.aggregate is Aggregate.STD:
            # With n - 1: undefined for one layer. The paper does not say which it takes, and no
            # correlation can tell: for a given set of layers the two differ by a constant factor.
            if len(self.layers) == 1:
                return np.full(values.shape[:-1], np.nan)
            return values.std(axis=-1, ddof=1)
        return getattr(values, self.aggregate)(axis=-1)


def hypotheses(curves: Iterable[str], *, layers: Sequence[int]) -> tuple[Hypothesis, ...]:
    """Return every aggregate over the first n and the last n layers of every curve, for each n."""
    ordered, sizes = tuple(layers), range(1, len(layers))
    if list(ordered) != sorted(set(ordered)):
        raise ValueError(f"layers must ascend, each named once, got {list(ordered)}")
    sets = [*(ordered[:n] for n in sizes), *(ordered[-n:] for n in sizes)]
    return tuple(
        Hypothesis(aggregate, curve, chosen)
        for curve in curves
        for chosen in sets
        for aggregate in Aggregate
    )


def learning_and_forgetting(*, learning: Curve, forgetting: Curve) -> dict[str, Curve]:
    """Return four curves by name: the sum, the difference and each alone."""
    return {
        "learning + forgetting": learning + forgetting,
        "learning − forgetting": learning - forgetting,
        "learning": learning,
        "forgetting": forgetting,
    }


@dataclass(frozen=True)
class Screening:
    """Correlation and corrected p of each hypothesis; NaN in every array where it is undefined."""

    hypotheses: tuple[Hypothesis, ...]
    r: PerHypothesis  # Pearson's r averaged over severities, in [−1, 1]
    p: PerHypothesis  # of r, as if epochs were independent, averaged over severities
    bonferroni: PerHypothesis  # p times the number of hypotheses, undefined ones counted; at most 1
    # p by shifts of the strongest of all hypotheses, `without_transient`; NaN everywhere if that
    # leaves too few epochs.
    family_wise: PerHypothesis
    family_wise_all_epochs: PerHypothesis  # the same; small by a common transient alone

    @property
    def undefined(self) -> tuple[Hypothesis, ...]:
        """Hypotheses without a correlation: the std of one layer, or a layer that is unknown."""
        return tuple(self.hypotheses[index] for index in np.flatnonzero(np.isnan(self.r)))

    def strongest_first(self) -> list[int]:
        """Return indices by decreasing size of r, undefined hypotheses last."""
        return np.argsort(-np.abs(self.r), kind="stable").tolist()


def screen(
    curves: Mapping[str, Float[NDArray, "epoch layer"]],
    accuracy: Float[NDArray, "severity epoch"],
    *,
    layers: Sequence[int],
) -> Screening:
    """Correlate every hypothesis over these curves with accuracy.

    Args:
        curves: by name; one family, within which the tests are counted.
        accuracy: per severity, without the clean one.
        layers: numbers of the blocks, ascending, one for each column of the curves.
    """
    family = hypotheses(curves, layers=layers)
    summaries = np.stack([hypothesis.summary(curves, layers=layers) for hypothesis in family])
    correlation = pearson(summaries[:, None], accuracy).averaged()
    later = without_transient(summaries), without_transient(accuracy)
    return Screening(
        hypotheses=family,
        r=correlation.r,
        p=correlation.p,
        bonferroni=np.minimum(1, correlation.p * len(family)),
        family_wise=family_wise_p(circular_correlation(*later)),
        family_wise_all_epochs=family_wise_p(circular_correlation(summaries, accuracy)),
    )
