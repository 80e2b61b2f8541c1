"""Does a correlation over epochs hold under other ways of computing it, and what to doubt.

Of many hypotheses at once; the doubts of one of them are put in sentences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stir_ray.numerics.correlation import (
    SMALLEST_SAMPLE,
    TOO_FEW,
    TRANSIENT,
    Correlation,
    EffectiveSample,
    circular_correlation,
    circular_shift_p,
    effective_sample,
    leave_one_out,
    outlasts_transient,
    partial,
    pearson,
    pearson_of_differences,
    spearman,
    without_transient,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    RunSummary = Float[NDArray, "*hypothesis epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    Clean = Float[NDArray, "epoch"]
    PerEpoch = Float[NDArray, "epoch *hypothesis"]
    PerHypothesis = Float[NDArray, "*hypothesis"]

DROPPED = (1, 2, 3, 5)
"""Numbers of first epochs that are left out in turn."""
LEAST_EPOCHS = 5
"""With fewer there are no diagnostics of a correlation."""
_FEW = 0.05
"""Share of the epochs on which a correlation should not rest; two epochs at least, since a point at
one end of a line is the commonest cause of a correlation."""
_KEPT = 0.5
"""Share of r, with its sign, that other checks should leave."""
_WORTH = 0.5
"""Share of the epochs that the effective epochs should be."""
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class SensitivityCheck:
    """One way of correlating, over some of the epochs."""

    # pearson, spearman, differences (between epochs: no common trend) or given_clean (of what the
    # clean accuracy leaves of both).
    name: str
    start: int  # index of the first epoch that counts
    stop: int  # index after the last one
    correlation: Correlation  # (*hypothesis, severity)


@dataclass(frozen=True)
class CorrelationDiagnostics:
    """The correlations of some hypotheses, and reasons to doubt them.

    Values `all_epochs` are small by a common transient alone; the others are `without_transient`,
    and NaN if that leaves too few epochs.
    """

    epochs: tuple[int, ...]  # their numbers, in order
    checks: tuple[SensitivityCheck, ...]  # first Pearson's r over all epochs, as the paper has it
    effective: EffectiveSample
    effective_all_epochs: EffectiveSample
    circular_shift_p: PerHypothesis
    circular_shift_p_all_epochs: PerHypothesis
    leave_one_out: PerEpoch  # averaged over severities

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

    def for_hypothesis(self, hypothesis: int) -> CorrelationDiagnostics:
        """Return the diagnostics of one hypothesis."""
        later, whole = (
            EffectiveSample(sample.epochs[hypothesis], sample.p[hypothesis])
            for sample in (self.effective, self.effective_all_epochs)
        )
        return CorrelationDiagnostics(
            self.epochs,
            tuple(
                replace(check, correlation=check.correlation[hypothesis]) for check in self.checks
            ),
            later,
            whole,
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
) -> CorrelationDiagnostics:
    """Return all diagnostics of one or many hypotheses.

    Args:
        summaries: one series, or one per hypothesis.
        accuracy: per severity, without the clean one.
        clean: accuracy without corruption at the same epochs.
        epochs: their numbers; 1, 2, .. by default.
    """
    n = accuracy.shape[-1]
    if n < LEAST_EPOCHS:
        raise ValueError(f"diagnostics of a correlation need at least 5 epochs, got {n}")
    numbers = tuple(range(1, n + 1) if epochs is None else epochs)
    if len(numbers) != n:
        raise ValueError(f"{len(numbers)} numbers of epochs for {n} epochs")
    by_severity = summaries[..., None, :], accuracy
    whole = {
        "pearson": pearson(*by_severity),
        "spearman": spearman(*by_severity),
        "differences": pearson_of_differences(*by_severity),
    }
    if clean is not None:
        whole["given_clean"] = partial(*by_severity, given=clean)
    checks = [SensitivityCheck(name, 0, n, correlation) for name, correlation in whole.items()]
    for k in DROPPED:
        rest = summaries[..., None, k:], accuracy[..., k:]
        if n - k >= SMALLEST_SAMPLE:
            checks.append(SensitivityCheck("pearson", k, n, pearson(*rest)))
        if n - k > SMALLEST_SAMPLE:
            checks.append(SensitivityCheck("differences", k, n, pearson_of_differences(*rest)))
    later = without_transient(summaries), without_transient(accuracy)
    return CorrelationDiagnostics(
        epochs=numbers,
        checks=tuple(checks),
        effective=effective_sample(*later),
        effective_all_epochs=effective_sample(summaries, accuracy),
        circular_shift_p=circular_shift_p(circular_correlation(*later)),
        circular_shift_p_all_epochs=circular_shift_p(circular_correlation(summaries, accuracy)),
        leave_one_out=leave_one_out(*by_severity).mean(axis=-1),
    )


def prefixes(summaries: RunSummary, accuracy: Accuracy) -> Iterator[SensitivityCheck]:
    """Yield Pearson's r of the first 3, 4, .. epochs, up to all but the last: Figure 14."""
    for n in range(SMALLEST_SAMPLE, accuracy.shape[-1]):
        correlation = pearson(summaries[..., None, :n], accuracy[:, :n])
        yield SensitivityCheck("pearson", 0, n, correlation)


_AFTER = f"Without the first {TRANSIENT} epochs"
_STEPS = "Between the steps from epoch to epoch"
_CHECKS = {
    "spearman": "Between ranks, where no epoch counts more than another,",
    "differences": f"{_STEPS}, without a common trend,",
    "given_clean": "Given clean accuracy,",
}


def interpretation(
    diagnostics: CorrelationDiagnostics, *, family_wise: float | None = None
) -> tuple[str, ...]:
    """Return the correlation in one sentence, then each reason to doubt it, or that there is none.

    Args:
        diagnostics: of one hypothesis.
        family_wise: its p among all hypotheses that were tried, without the transient; None if it
            was the only one, NaN if too few epochs are left.
    """
    whole = diagnostics.by_severity.averaged()
    if math.isnan(whole.r):
        return ("There is no correlation: a series is constant, or unknown at some epoch.",)
    summary = (
        f"Over {len(diagnostics.epochs)} epochs r is {whole.r:.2f}, with p = {whole.p:.1g} "
        "were the epochs independent."
    )
    doubts = [
        *_rests_on_few(diagnostics),
        *_fails_other_checks(diagnostics),
        *_is_autocorrelated(diagnostics),
        *_occurs_under_shifts(diagnostics),
    ]
    if family_wise is not None and family_wise > _SIGNIFICANT:
        share = f"{100 * family_wise:.0f} %"
        doubts.append(f"{_AFTER}, in {share} of the shifts some hypothesis correlates as strongly.")
    return (summary, *(doubts or ["No other check gives reason to doubt it."]))


def _rests_on_few(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    # The fewest first epochs that carry it, and a later epoch that does so alone.
    whole = _r(diagnostics)
    for dropped, r in _without_first(diagnostics, "pearson"):
        yield f"It rests on the first {_epochs(dropped)}: without, r is {_number(r)}."
    remaining = np.nan_to_num(diagnostics.leave_one_out[1:]) * np.sign(whole)
    weakest = 1 + int(np.argmin(remaining))
    r = float(diagnostics.leave_one_out[weakest])
    if not _keeps(r, whole):
        yield f"It rests on epoch {diagnostics.epochs[weakest]}: without, r is {_number(r)}."


def _fails_other_checks(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    if diagnostics.by_severity.averaged().p > _SIGNIFICANT:
        yield "It would not be significant even were the epochs independent."
    low, high = diagnostics.by_severity.r.min(), diagnostics.by_severity.r.max()
    if low < 0 < high:
        yield f"Severities disagree: r goes from {low:.2f} to {high:.2f}."
    for name, condition in _CHECKS.items():
        check = diagnostics.check(name)
        if check and not (check.p <= _SIGNIFICANT and _keeps(float(check.r), _r(diagnostics))):
            yield f"{condition} r is {_number(float(check.r))} (p = {_number(float(check.p))})."
        elif name == "differences":
            for dropped, r in _without_first(diagnostics, name):
                steps = _number(_r(diagnostics, name))
                r_without = f"{_number(r)} without the first {_epochs(dropped)}"
                yield f"{_STEPS} r is {steps}, and {r_without}."


def _is_autocorrelated(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    epochs = len(diagnostics.epochs)
    whole, later = diagnostics.effective_all_epochs, diagnostics.effective
    if math.isnan(whole.epochs):
        yield "The number of independent epochs that these are worth is undefined."
        return
    is_enough = whole.epochs >= _WORTH * epochs and not later.epochs < _WORTH * (epochs - TRANSIENT)
    if is_enough and whole.p <= _SIGNIFICANT:
        return
    count = round(float(whole.epochs))
    worth = f"{count} independent {'one' if count == 1 else 'ones'}, {_p_among(whole)}"
    if not math.isnan(later.epochs):
        rest = f"the {epochs - TRANSIENT} after those are worth {later.epochs:.0f}"
        worth += f"; {rest}, {_p_among(later)}"
    yield f"Epochs repeat each other: {epochs}, the first {TRANSIENT} included, are worth {worth}."


def _occurs_under_shifts(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    epochs, share = len(diagnostics.epochs), diagnostics.circular_shift_p
    rest = epochs - TRANSIENT
    if not outlasts_transient(epochs):
        yield f"There is no p by shifts of the curves: {TOO_FEW}."
    elif math.isnan(share):
        yield f"{_AFTER} there is no correlation."
    elif _SIGNIFICANT * rest < 1:
        yield (
            f"The {rest} epochs after the first {TRANSIENT} are too few to tell it from shifted "
            "curves."
        )
    elif share > _SIGNIFICANT:
        yield (
            f"{_AFTER}, {100 * share:.0f} % of the shifts of one curve correlate as strongly as "
            "what is left."
        )


def _without_first(diagnostics: CorrelationDiagnostics, name: str) -> Iterator[tuple[int, float]]:
    # The fewest first epochs without which r is lost, if they are few, and r without.
    few = max(2, int(_FEW * len(diagnostics.epochs)))
    for dropped in DROPPED:
        if dropped <= few and diagnostics.check(without_first=dropped) is not None:
            r = _r(diagnostics, name, dropped)
            if not _keeps(r, _r(diagnostics, name)):
                yield dropped, r
                return


def _r(diagnostics: CorrelationDiagnostics, name: str = "pearson", without_first: int = 0) -> float:
    check = diagnostics.check(name, without_first=without_first)
    return math.nan if check is None else float(check.r)


def _keeps(r: float, whole: float) -> bool:
    # Whether r has the sign of the whole, and enough of its size.
    return bool(r * np.sign(whole) >= _KEPT * abs(whole))


def _p_among(sample: EffectiveSample) -> str:
    return "too few for a p" if math.isnan(sample.p) else f"with which p = {sample.p:.1g}"


def _epochs(count: int) -> str:
    return "epoch" if count == 1 else f"{count} epochs"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"
