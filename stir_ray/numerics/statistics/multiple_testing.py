"""All hypotheses against robustness at once, corrected for their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.statistics.circular_shift import (
    circular_correlation,
    family_wise_p,
    without_transient,
)
from stir_ray.numerics.statistics.correlation import pearson
from stir_ray.numerics.statistics.hypotheses import hypotheses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray

    from stir_ray.numerics.statistics.hypotheses import Hypothesis

    PerHypothesis = Float[NDArray, "hypothesis"]


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
