"""What the numbers say of a correlation, in sentences to stand beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stir_ray.numerics.statistics.transient import TOO_FEW, TRANSIENT, outlasts_transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stir_ray.numerics.statistics.autocorrelation import EffectiveSample, PerHypothesis
    from stir_ray.numerics.statistics.correlation import Correlation
    from stir_ray.numerics.statistics.correlation_diagnostics import (
        CorrelationDiagnostics,
        WithoutFirst,
    )


@dataclass(frozen=True)
class Thresholds:
    """When a doubt is worth a sentence.

    Attributes:
        few: share of the epochs on which a correlation should not rest; two epochs at least, a
            point at one end of a line being the commonest cause of a correlation.
        kept: share of r that another look should leave, with its sign.
        worth: share of the epochs that the effective ones should be.
        p: above it nothing is shown.
    """

    few: float = 0.05
    kept: float = 0.5
    worth: float = 0.5
    p: float = 0.05


DEFAULT = Thresholds()


def verdict(
    evidence: CorrelationDiagnostics,
    *,
    family_wise: float | None = None,
    thresholds: Thresholds = DEFAULT,
) -> tuple[str, ...]:
    """The correlation in one sentence, then each reason to doubt it, or that there is none.

    Args:
        evidence: of one hypothesis.
        family_wise: its p among all hypotheses that were tried, without the transient; None if it
            was the only one, NaN if too few epochs are left.
        thresholds: when a doubt is worth a sentence.
    """
    r, p, epochs = evidence.pearson.r, evidence.pearson.p, len(evidence.epochs)
    if math.isnan(r):
        return ("There is no correlation: a series is constant, or unknown at some epoch.",)
    found = f"Over {epochs} epochs r is {r:.2f}, with p = {p:.1g} were the epochs independent."
    doubts = (
        *_rests_on_few(evidence, thresholds),
        *_fails_otherwise(evidence, thresholds),
        *_repeats_itself(evidence, thresholds),
        *_comes_by_shifts(evidence, thresholds),
        *_comes_by_trying(family_wise, thresholds),
    )
    return (found, *(doubts or ("No other look at it gives reason to doubt it.",)))


def _rests_on_few(evidence: CorrelationDiagnostics, thresholds: Thresholds) -> Iterator[str]:
    """The fewest first epochs that carry it, and an epoch after the first that does so alone."""
    for later in _without_few(evidence, thresholds):
        r = float(later.pearson.r)
        if not _kept(r, float(evidence.pearson.r), thresholds):
            yield f"It rests on the first {_epochs(later.dropped)}: without, r is {_said(r)}."
            break
    remaining = np.nan_to_num(evidence.leave_one_out[1:]) * np.sign(evidence.pearson.r)
    weakest = 1 + int(np.argmin(remaining))
    r = float(evidence.leave_one_out[weakest])
    if not _kept(r, float(evidence.pearson.r), thresholds):
        yield f"It rests on epoch {evidence.epochs[weakest]}: without, r is {_said(r)}."


def _fails_otherwise(evidence: CorrelationDiagnostics, thresholds: Thresholds) -> Iterator[str]:
    if evidence.pearson.p > thresholds.p:
        yield "It would not be significant even were the epochs independent."
    least, most = evidence.by_severity.r.min(), evidence.by_severity.r.max()
    if least < 0 < most:
        yield f"Severities disagree: r goes from {least:.2f} to {most:.2f}."
    ranks = "Between ranks, where no epoch counts more than another,"
    yield from _fails(ranks, evidence.spearman, evidence, thresholds)
    steps = "Between the steps from epoch to epoch, without a common trend,"
    of_steps = list(_fails(steps, evidence.differences, evidence, thresholds))
    yield from of_steps or _steps_rest_on_few(evidence, thresholds)
    if evidence.given_clean is not None:
        yield from _fails("Given clean accuracy,", evidence.given_clean, evidence, thresholds)


def _fails(
    look: str, found: Correlation, evidence: CorrelationDiagnostics, thresholds: Thresholds
) -> Iterator[str]:
    r, p = float(found.r), float(found.p)
    if not (p <= thresholds.p and _kept(r, float(evidence.pearson.r), thresholds)):
        yield f"{look} r is {_said(r)} (p = {_said(p)})."


def _steps_rest_on_few(evidence: CorrelationDiagnostics, thresholds: Thresholds) -> Iterator[str]:
    whole = float(evidence.differences.r)
    for later in _without_few(evidence, thresholds):
        r = math.nan if later.differences is None else float(later.differences.r)
        if not _kept(r, whole, thresholds):
            yield (
                f"Between the steps from epoch to epoch r is {_said(whole)}, and "
                f"{_said(r)} without the first {_epochs(later.dropped)}."
            )
            break


def _repeats_itself(evidence: CorrelationDiagnostics, thresholds: Thresholds) -> Iterator[str]:
    epochs, rest = len(evidence.epochs), len(evidence.epochs) - TRANSIENT
    every, later = evidence.effective_all_epochs, evidence.effective
    if math.isnan(every.epochs):
        yield "How many independent epochs these are worth cannot be told."
    elif (
        every.epochs < thresholds.worth * epochs
        or not every.p <= thresholds.p
        or later.epochs < thresholds.worth * rest
    ):
        worth = (
            f"{epochs}, the first {TRANSIENT} included, are worth {_independent(every.epochs)}, "
            f"{_p_among(every)}"
        )
        if not math.isnan(later.epochs):
            worth += f"; the {rest} after those are worth {later.epochs:.0f}, {_p_among(later)}"
        yield f"Epochs repeat each other: {worth}."


def _independent(epochs: PerHypothesis) -> str:
    return "1 independent one" if round(float(epochs)) == 1 else f"{epochs:.0f} independent ones"


def _p_among(found: EffectiveSample) -> str:
    return "too few for a p" if math.isnan(found.p) else f"with which p = {found.p:.1g}"


def _comes_by_shifts(evidence: CorrelationDiagnostics, thresholds: Thresholds) -> Iterator[str]:
    rest = len(evidence.epochs) - TRANSIENT
    if not outlasts_transient(len(evidence.epochs)):
        yield f"There is no p by shifts of the curves: {TOO_FEW}."
    elif math.isnan(evidence.circular_shift_p):
        yield f"Without the first {TRANSIENT} epochs there is no correlation."
    elif thresholds.p * rest < 1:
        yield (
            f"The {rest} epochs after the first {TRANSIENT} are too few to tell it from shifted "
            "curves."
        )
    elif evidence.circular_shift_p > thresholds.p:
        yield (
            f"Without the first {TRANSIENT} epochs, {_share(evidence.circular_shift_p)} of the "
            "shifts of one curve correlate as strongly as what is left."
        )


def _comes_by_trying(family_wise: float | None, thresholds: Thresholds) -> Iterator[str]:
    if family_wise is not None and family_wise > thresholds.p:
        yield (
            f"Without the first {TRANSIENT} epochs, in {_share(family_wise)} of the shifts some "
            "hypothesis does as well."
        )


def _without_few(evidence: CorrelationDiagnostics, thresholds: Thresholds) -> list[WithoutFirst]:
    few = max(2, int(thresholds.few * len(evidence.epochs)))
    return [later for later in evidence.later if later.dropped <= few]


def _kept(r: float, whole: float, thresholds: Thresholds) -> bool:
    """Whether r has the sign of the whole, and enough of its size; an undefined r has not."""
    return bool(r * np.sign(whole) >= thresholds.kept * abs(whole))


def _epochs(count: int) -> str:
    return "epoch" if count == 1 else f"{count} epochs"


def _said(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
