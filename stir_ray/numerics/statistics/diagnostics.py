"""Does a correlation over epochs hold under other ways of computing it? Many hypotheses at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stir_ray.numerics.statistics import correlation
from stir_ray.numerics.statistics.autocorrelation import EffectiveSample, effective
from stir_ray.numerics.statistics.circular_shift import (
    circular_correlation,
    circular_shift_p,
    without_transient,
)
from stir_ray.numerics.statistics.correlation import SMALLEST_SAMPLE, Correlation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray

    RunSummary = Float[NDArray, "*hypothesis epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    Clean = Float[NDArray, "epoch"]
    PerHypothesis = Float[NDArray, "*hypothesis"]
    PerEpoch = Float[NDArray, "epoch *hypothesis"]

DROPPED = (1, 2, 3, 5)
"""Numbers of first epochs that are left out in turn."""
LEAST_EPOCHS = 5
"""With fewer there are no diagnostics of a correlation."""


@dataclass(frozen=True)
class SensitivityCheck:
    """One way of correlating, over some of the epochs.

    Attributes:
        name: pearson, spearman, differences (between epochs: no common trend) or given_clean (of
            what the clean accuracy leaves of both).
        start: index of the first epoch that counts.
        stop: index after the last one.
        correlation: r and p, (*hypothesis, severity).
    """

    name: str
    start: int
    stop: int
    correlation: Correlation


@dataclass(frozen=True)
class CorrelationDiagnostics:
    """The correlations of some hypotheses, and reasons to doubt them.

    Attributes:
        epochs: the numbers of the epochs, in order.
        checks: ways of correlating; the first is Pearson's over all epochs, as the paper has it.
        effective: independent epochs that the series are worth, and p of Pearson's r among them;
            `without_transient`, NaN if that leaves too few epochs.
        effective_all_epochs: the same of all epochs, including the transient.
        circular_shift_p: share of the circular shifts that correlate as strongly;
            `without_transient`, NaN if that leaves too few epochs.
        circular_shift_p_all_epochs: the same of all epochs; small by a common transient alone.
        leave_one_out: Pearson's r without the first epoch alone, the second alone, and so on,
            averaged over severities, (epoch, *hypothesis).
    """

    epochs: tuple[int, ...]
    checks: tuple[SensitivityCheck, ...]
    effective: EffectiveSample
    effective_all_epochs: EffectiveSample
    circular_shift_p: PerHypothesis
    circular_shift_p_all_epochs: PerHypothesis
    leave_one_out: PerEpoch

    @property
    def by_severity(self) -> Correlation:
        """Pearson's r and p over all epochs, by severity."""
        return self.checks[0].correlation

    def check(self, name: str = "pearson", *, without_first: int = 0) -> Correlation | None:
        """Return a correlation averaged over severities; None if it was not computed."""
        for check in self.checks:
            if (check.name, check.start) == (name, without_first):
                return check.correlation.averaged()
        return None

    def of(self, hypothesis: int) -> CorrelationDiagnostics:
        """Return the diagnostics of one hypothesis."""
        return CorrelationDiagnostics(
            self.epochs,
            tuple(
                replace(check, correlation=check.correlation[hypothesis]) for check in self.checks
            ),
            self.effective[hypothesis],
            self.effective_all_epochs[hypothesis],
            self.circular_shift_p[hypothesis],
            self.circular_shift_p_all_epochs[hypothesis],
            self.leave_one_out[:, hypothesis],
        )


def diagnose(
    summaries: RunSummary,
    accuracy: Accuracy,
    *,
    clean: Clean | None = None,
    epochs: Sequence[int] | None = None,
    dropped: Sequence[int] = DROPPED,
) -> CorrelationDiagnostics:
    """Return all diagnostics of one or many hypotheses.

    Args:
        summaries: one series, or one per hypothesis.
        accuracy: per severity, without the clean one.
        clean: accuracy without corruption at the same epochs.
        epochs: their numbers; 1, 2, .. by default.
        dropped: numbers of first epochs to leave out; what leaves fewer than 3 is not computed.

    Raises:
        ValueError: for fewer than 5 epochs, or unequal numbers of them.
    """
    n = accuracy.shape[-1]
    if n < LEAST_EPOCHS:
        raise ValueError(f"diagnostics of a correlation need at least 5 epochs, got {n}")
    numbers = tuple(range(1, n + 1) if epochs is None else epochs)
    if len(numbers) != n:
        raise ValueError(f"{len(numbers)} numbers of epochs for {n} epochs")
    later = without_transient(summaries), without_transient(accuracy)
    without_each = correlation.leave_one_out(summaries[..., None, :], accuracy)
    return CorrelationDiagnostics(
        epochs=numbers,
        checks=tuple(_checks(summaries[..., None, :], accuracy, clean, dropped)),
        effective=effective(*later),
        effective_all_epochs=effective(summaries, accuracy),
        circular_shift_p=circular_shift_p(circular_correlation(*later)),
        circular_shift_p_all_epochs=circular_shift_p(circular_correlation(summaries, accuracy)),
        leave_one_out=without_each.mean(axis=-1),
    )


def _checks(
    summaries: RunSummary, accuracy: Accuracy, clean: Clean | None, dropped: Sequence[int]
) -> Iterator[SensitivityCheck]:
    n = accuracy.shape[-1]
    pair = summaries, accuracy
    yield SensitivityCheck("pearson", 0, n, correlation.pearson(*pair))
    yield SensitivityCheck("spearman", 0, n, correlation.spearman(*pair))
    yield SensitivityCheck("differences", 0, n, correlation.of_differences(*pair))
    if clean is not None:
        yield SensitivityCheck("given_clean", 0, n, correlation.partial(*pair, given=clean))
    for k in sorted(dropped):
        later = summaries[..., k:], accuracy[..., k:]
        if n - k >= SMALLEST_SAMPLE:
            yield SensitivityCheck("pearson", k, n, correlation.pearson(*later))
        if n - k > SMALLEST_SAMPLE:
            yield SensitivityCheck("differences", k, n, correlation.of_differences(*later))


def prefixes(summaries: RunSummary, accuracy: Accuracy) -> Iterator[SensitivityCheck]:
    """Yield Pearson's r of the first 3, 4, .. epochs, up to all but the last: Figure 14."""
    for n in range(SMALLEST_SAMPLE, accuracy.shape[-1]):
        pearson = correlation.pearson(summaries[..., None, :n], accuracy[:, :n])
        yield SensitivityCheck("pearson", 0, n, pearson)
