"""Whether a correlation over epochs holds when it is looked at in other ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stir_ray.numerics.statistics import correlation
from stir_ray.numerics.statistics.autocorrelation import effective
from stir_ray.numerics.statistics.circular_shift import circular_shift_p, shifted
from stir_ray.numerics.statistics.sensitivity import DROPPED
from stir_ray.numerics.statistics.transient import without_transient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray

    from stir_ray.numerics.statistics.autocorrelation import EffectiveSample
    from stir_ray.numerics.statistics.correlation import Correlation

    Summary = Float[NDArray, "epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    PerEpoch = Float[NDArray, "epoch"]


@dataclass(frozen=True)
class WithoutFirst:
    """The correlation of what follows the first epochs.

    Attributes:
        dropped: how many epochs were left out at the beginning.
        pearson: averaged over severities.
        differences: of the steps between the epochs that are left; None for fewer than 3 steps.
    """

    dropped: int
    pearson: Correlation
    differences: Correlation | None


@dataclass(frozen=True)
class CorrelationDiagnostics:
    """One hypothesis, looked at in several ways; by severity or else averaged over severities.

    Attributes:
        epochs: the numbers of the epochs, in order.
        by_severity: Pearson's r with the accuracy at each severity alone.
        pearson: its average, as the paper reports it.
        spearman: of the ranks: no epoch counts more than another.
        differences: of the steps from epoch to epoch: no common trend.
        given_clean: of what the clean accuracy leaves of both; None where it was not given.
        effective: independent epochs that the series are worth, and p of Pearson's r among them;
            `without_transient`, NaN if that leaves too few epochs.
        effective_all_epochs: the same of all epochs, the transient among them.
        circular_shift_p: share of the shifts round the ring that correlate as strongly;
            `without_transient`, NaN if that leaves too few epochs.
        circular_shift_p_all_epochs: the same of all epochs; small by a common transient alone.
        later: without the first epochs.
        without_each: Pearson's r without the first epoch alone, the second alone, and so on.
    """

    epochs: tuple[int, ...]
    by_severity: Correlation
    pearson: Correlation
    spearman: Correlation
    differences: Correlation
    given_clean: Correlation | None
    effective: EffectiveSample
    effective_all_epochs: EffectiveSample
    circular_shift_p: float
    circular_shift_p_all_epochs: float
    later: tuple[WithoutFirst, ...]
    leave_one_out: PerEpoch


def examine(
    summary: Summary,
    accuracy: Accuracy,
    *,
    clean: Summary | None = None,
    epochs: Sequence[int] | None = None,
    dropped: Sequence[int] = DROPPED,
) -> CorrelationDiagnostics:
    """Every look at one summary of the layers against accuracy.

    Args:
        summary: one value per epoch.
        accuracy: per severity, without the clean one.
        clean: accuracy without corruption at the same epochs.
        epochs: their numbers; 1, 2, .. by default.
        dropped: how many first epochs to leave out; what leaves fewer than 3 is not tried.

    Raises:
        ValueError: for fewer than 5 epochs, or unequal numbers of them.
    """
    n = len(summary)
    if n < 5:
        raise ValueError(f"looking twice at a correlation needs at least 5 epochs, got {n}")
    numbers = tuple(range(1, n + 1) if epochs is None else epochs)
    if len(numbers) != n:
        raise ValueError(f"{len(numbers)} numbers of epochs for {n} epochs")
    by_severity = correlation.pearson(summary, accuracy)
    rest = without_transient(summary), without_transient(accuracy)
    return CorrelationDiagnostics(
        epochs=numbers,
        by_severity=by_severity,
        pearson=by_severity.averaged(),
        spearman=correlation.spearman(summary, accuracy).averaged(),
        differences=correlation.of_differences(summary, accuracy).averaged(),
        given_clean=None if clean is None else _given(summary, accuracy, clean),
        effective=effective(*rest),
        effective_all_epochs=effective(summary, accuracy),
        circular_shift_p=_shift_p(*rest),
        circular_shift_p_all_epochs=_shift_p(summary, accuracy),
        later=tuple(_later(summary, accuracy, k) for k in sorted(dropped) if n - k >= 3),
        leave_one_out=correlation.leave_one_out(summary, accuracy).mean(axis=-1),
    )


def _given(summary: Summary, accuracy: Accuracy, clean: Summary) -> Correlation:
    return correlation.partial(summary, accuracy, given=clean).averaged()


def _later(summary: Summary, accuracy: Accuracy, dropped: int) -> WithoutFirst:
    found = correlation.without_first(summary, accuracy, dropped=dropped).averaged()
    if len(summary) - dropped <= correlation.SMALLEST_SAMPLE:
        return WithoutFirst(dropped, found, None)
    steps = correlation.of_differences(summary[dropped:], accuracy[:, dropped:])
    return WithoutFirst(dropped, found, steps.averaged())


def _shift_p(summary: Summary, accuracy: Accuracy) -> float:
    return float(circular_shift_p(shifted(summary, accuracy)))
