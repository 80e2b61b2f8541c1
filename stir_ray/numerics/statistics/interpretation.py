"""Interpret a correlation: sentences with each reason to doubt it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.statistics.circular_shift import TOO_FEW, TRANSIENT, outlasts_transient
from stir_ray.numerics.statistics.diagnostics import DROPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stir_ray.numerics.statistics.autocorrelation import EffectiveSample
    from stir_ray.numerics.statistics.diagnostics import CorrelationDiagnostics

FEW = 0.05
"""Share of the epochs on which a correlation should not rest; two epochs at least, since a point at
one end of a line is the commonest cause of a correlation."""
KEPT = 0.5
"""Share of r, with its sign, that other checks should leave."""
WORTH = 0.5
"""Share of the epochs that the effective epochs should be."""
SIGNIFICANT = 0.05
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
    pearson = diagnostics.by_severity.averaged()
    if math.isnan(pearson.r):
        return ("There is no correlation: a series is constant, or unknown at some epoch.",)
    summary = (
        f"Over {len(diagnostics.epochs)} epochs r is {pearson.r:.2f}, with p = {pearson.p:.1g} "
        "were the epochs independent."
    )
    doubts = [
        *_rests_on_few(diagnostics),
        *_fails_other_checks(diagnostics),
        *_is_autocorrelated(diagnostics),
        *_occurs_under_shifts(diagnostics),
    ]
    if family_wise is not None and family_wise > SIGNIFICANT:
        share = f"{100 * family_wise:.0f} %"
        doubts.append(f"{_AFTER}, in {share} of the shifts some hypothesis correlates as strongly.")
    return (
        summary,
        *(doubts or ["No other check gives reason to doubt it."]),
    )


def _rests_on_few(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    """Yield the fewest first epochs that carry it, and a later epoch that does so alone."""
    whole = _r(diagnostics)
    for dropped, r in _without_first(diagnostics, "pearson"):
        yield f"It rests on the first {_epochs(dropped)}: without, r is {_number(r)}."
    remaining = np.nan_to_num(diagnostics.leave_one_out[1:]) * np.sign(whole)
    weakest = 1 + int(np.argmin(remaining))
    r = float(diagnostics.leave_one_out[weakest])
    if not _keeps(r, whole):
        yield f"It rests on epoch {diagnostics.epochs[weakest]}: without, r is {_number(r)}."


def _fails_other_checks(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    if diagnostics.by_severity.averaged().p > SIGNIFICANT:
        yield "It would not be significant even were the epochs independent."
    by_severity = diagnostics.by_severity.r
    low, high = by_severity.min(), by_severity.max()
    if low < 0 < high:
        yield f"Severities disagree: r goes from {low:.2f} to {high:.2f}."
    steps = _r(diagnostics, "differences")
    for name, condition in _CHECKS.items():
        check = diagnostics.check(name)
        r, p = _r(diagnostics, name), math.nan if check is None else float(check.p)
        if check and not (p <= SIGNIFICANT and _keeps(r, _r(diagnostics))):
            yield f"{condition} r is {_number(r)} (p = {_number(p)})."
        elif name == "differences":
            for dropped, r in _without_first(diagnostics, name):
                r_without = f"{_number(r)} without the first {_epochs(dropped)}"
                yield f"{_STEPS} r is {_number(steps)}, and {r_without}."


def _is_autocorrelated(diagnostics: CorrelationDiagnostics) -> Iterator[str]:
    epochs = len(diagnostics.epochs)
    whole, later = diagnostics.effective_all_epochs, diagnostics.effective
    if math.isnan(whole.epochs):
        yield "The number of independent epochs that these are worth is undefined."
        return
    is_enough = whole.epochs >= WORTH * epochs and not later.epochs < WORTH * (epochs - TRANSIENT)
    if is_enough and whole.p <= SIGNIFICANT:
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
    elif SIGNIFICANT * rest < 1:
        yield (
            f"The {rest} epochs after the first {TRANSIENT} are too few to tell it from shifted "
            "curves."
        )
    elif share > SIGNIFICANT:
        yield (
            f"{_AFTER}, {100 * share:.0f} % of the shifts of one curve correlate as strongly as "
            "what is left."
        )


def _without_first(diagnostics: CorrelationDiagnostics, name: str) -> Iterator[tuple[int, float]]:
    """Yield the fewest first epochs without which r is lost, if they are few, and r without."""
    few = max(2, int(FEW * len(diagnostics.epochs)))
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
    """Return whether r has the sign of the whole, and enough of its size."""
    return bool(r * np.sign(whole) >= KEPT * abs(whole))


def _p_among(sample: EffectiveSample) -> str:
    return "too few for a p" if math.isnan(sample.p) else f"with which p = {sample.p:.1g}"


def _epochs(count: int) -> str:
    return "epoch" if count == 1 else f"{count} epochs"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"
