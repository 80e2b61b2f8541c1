"""Hypotheses of which summary of the layers follows robustness: Merlin et al. 2023, section 6.

A hypothesis summarises some layers of a curve in one number per epoch. The first n and the last n
layers, n = 1..11 of 12, make 22 sets of layers; four aggregates of each make 88 hypotheses for one
curve, and 352 for the four that learning and forgetting make.


All hypotheses against robustness at once, corrected for their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.correlation import (
    circular_correlation,
    family_wise_p,
    pearson,
    without_transient,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray

    Curve = Float[NDArray, "*batch epoch layer"]
    Summary = Float[NDArray, "*batch epoch"]
    PerHypothesis = Float[NDArray, "hypothesis"]


class Aggregate(StrEnum):
    """How the values of several layers are combined."""

    MEAN = "mean"
    STD = "std"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Hypothesis:
    """A summary of the layers that may follow robustness over the epochs.

    Attributes:
        aggregate: how the layers are combined.
        curve: the name of the curve, e.g. `learning + forgetting`.
        layers: numbers of the blocks, ascending.
    """

    aggregate: Aggregate
    curve: str
    layers: tuple[int, ...]

    def __str__(self) -> str:
        """A name such as `std of forgetting over layers 2-12`."""
        first, last = self.layers[0], self.layers[-1]
        if first == last:
            return f"{self.aggregate} of {self.curve} over layer {first}"
        return f"{self.aggregate} of {self.curve} over layers {first}-{last}"

    def summary(self, curves: Mapping[str, Curve], *, layers: Sequence[int]) -> Summary:
        """Return its value at each epoch; NaN where it is undefined or a layer is unknown.

        Args:
            curves: the values of all layers, by name.
            layers: the numbers of those layers, in the order of the last axis.
        """
        chosen = [layers.index(layer) for layer in self.layers]
        return _AGGREGATES[self.aggregate](curves[self.curve][..., chosen])


def layer_sets(layers: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the first n and the last n of the layers, for n from 1 to all but one.

    Raises:
        ValueError: for layers that do not ascend.
    """
    ordered = tuple(layers)
    if list(ordered) != sorted(set(ordered)):
        raise ValueError(f"layers must ascend, each named once, got {list(ordered)}")
    sizes = range(1, len(ordered))
    return (*(ordered[:n] for n in sizes), *(ordered[-n:] for n in sizes))


def hypotheses(curves: Iterable[str], *, layers: Sequence[int]) -> tuple[Hypothesis, ...]:
    """Return every aggregate over every set of layers of every curve."""
    sets = layer_sets(layers)
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


def _std(values: Curve) -> Summary:
    # With n - 1: undefined for one layer. The paper does not say which it takes, and no correlation
    # can tell: for a given set of layers the two differ by a constant factor.
    if values.shape[-1] == 1:
        return np.full(values.shape[:-1], np.nan)
    return values.std(axis=-1, ddof=1)


_AGGREGATES = {
    Aggregate.MEAN: lambda values: values.mean(axis=-1),
    Aggregate.STD: _std,
    Aggregate.MIN: lambda values: values.min(axis=-1),
    Aggregate.MAX: lambda values: values.max(axis=-1),
}


@dataclass(frozen=True)
class Screening:
    """Correlation and corrected p of each hypothesis; NaN in every column where it is undefined.

    Attributes:
        hypotheses: in the order of the columns.
        r: Pearson's r averaged over severities, in [−1, 1].
        p: of r, as if epochs were independent, averaged over severities.
        bonferroni: p times the number of hypotheses, undefined ones counted, at most 1.
        family_wise: p by shifts of the strongest of all hypotheses, `without_transient`; NaN
            everywhere if that leaves too few epochs.
        family_wise_all_epochs: the same of all epochs; small by a common transient alone.
    """

    hypotheses: tuple[Hypothesis, ...]
    r: PerHypothesis
    p: PerHypothesis
    bonferroni: PerHypothesis
    family_wise: PerHypothesis
    family_wise_all_epochs: PerHypothesis

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

    Raises:
        ValueError: if layers do not ascend, or epochs are fewer than 3 or not as many on both
            sides.
    """
    family = hypotheses(curves, layers=layers)
    summaries = np.stack([hypothesis.summary(curves, layers=layers) for hypothesis in family])
    correlation = pearson(summaries[:, None], accuracy).averaged()
    return Screening(
        hypotheses=family,
        r=correlation.r,
        p=correlation.p,
        bonferroni=np.minimum(1, correlation.p * len(family)),
        family_wise=family_wise_p(
            circular_correlation(without_transient(summaries), without_transient(accuracy))
        ),
        family_wise_all_epochs=family_wise_p(circular_correlation(summaries, accuracy)),
    )
