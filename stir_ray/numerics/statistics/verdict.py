"""What the numbers say of a correlation, in sentences to stand beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stir_ray.numerics.statistics.evidence import Evidence, Later


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
    evidence: Evidence, *, family_wise: float | None = None, thresholds: Thresholds = DEFAULT
) -> tuple[str, ...]:
    """The correlation in one sentence, then each reason to doubt it, or that there is none.

    Args:
        evidence: of one hypothesis.
        family_wise: its p among all hypotheses that were tried; None if it was the only one.
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


def _rests_on_few(evidence: Evidence, thresholds: Thresholds) -> Iterator[str]:
    """The fewest first epochs that carry it, and an epoch after the first that does so alone."""
    for later in _without_few(evidence, thresholds):
        r = float(later.pearson.r)
        if not _kept(r, evidence, thresholds):
            yield f"It rests on the first {_epochs(later.dropped)}: without, r is {_said(r)}."
            break
    remaining = np.nan_to_num(evidence.without_each[1:]) * np.sign(evidence.pearson.r)
    weakest = 1 + int(np.argmin(remaining))
    r = float(evidence.without_each[weakest])
    if not _kept(r, evidence, thresholds):
        yield f"It rests on epoch {evidence.epochs[weakest]}: without, r is {_said(r)}."


def _fails_otherwise(evidence: Evidence, thresholds: Thresholds) -> Iterator[str]:
    looks = {
        "Between ranks, where no epoch counts more than another,": evidence.spearman,
        "Between the steps from epoch to epoch, without a common trend,": evidence.differences,
        "Given clean accuracy,": evidence.given_clean,
    }
    if evidence.pearson.p > thresholds.p:
        yield "It would not be significant even were the epochs independent."
    least, most = evidence.by_severity.r.min(), evidence.by_severity.r.max()
    if least < 0 < most:
        yield f"Severities disagree: r goes from {least:.2f} to {most:.2f}."
    for look, found in looks.items():
        if found is None:
            continue
        if not (found.p <= thresholds.p and _kept(found.r, evidence, thresholds)):
            yield f"{look} r is {_said(found.r)} (p = {_said(found.p)})."


def _repeats_itself(evidence: Evidence, thresholds: Thresholds) -> Iterator[str]:
    epochs, worth = len(evidence.epochs), evidence.effective_epochs
    if math.isnan(worth):
        yield "How many independent epochs these are worth cannot be told."
    elif worth < thresholds.worth * epochs or not evidence.effective_p <= thresholds.p:
        p = evidence.effective_p
        so = "too few for a p" if math.isnan(p) else f"with which p = {p:.1g}"
        yield f"Epochs repeat each other: {epochs} are worth {worth:.0f} independent ones, {so}."


def _comes_by_shifts(evidence: Evidence, thresholds: Thresholds) -> Iterator[str]:
    epochs = len(evidence.epochs)
    if thresholds.p * epochs < 1:
        yield f"{epochs} epochs are too few to tell it from shifted curves."
    elif evidence.shift_p > thresholds.p:
        yield f"{_share(evidence.shift_p)} of the shifts of one curve correlate as strongly."
    else:
        for later in _without_few(evidence, thresholds):
            if later.shift_p > thresholds.p:
                yield (
                    f"Without the first {_epochs(later.dropped)}, {_share(later.shift_p)} of the "
                    "shifts of one curve correlate as strongly as what is left."
                )
                return


def _comes_by_trying(family_wise: float | None, thresholds: Thresholds) -> Iterator[str]:
    if family_wise is not None and not family_wise <= thresholds.p:
        yield f"In {_share(family_wise)} of the shifts some hypothesis does as well."


def _without_few(evidence: Evidence, thresholds: Thresholds) -> list[Later]:
    few = max(2, int(thresholds.few * len(evidence.epochs)))
    return [later for later in evidence.later if later.dropped <= few]


def _kept(r: float, evidence: Evidence, thresholds: Thresholds) -> bool:
    """Whether r has the sign of the whole, and enough of its size; an undefined r has not."""
    whole = evidence.pearson.r
    return bool(r * np.sign(whole) >= thresholds.kept * abs(whole))


def _epochs(count: int) -> str:
    return "epoch" if count == 1 else f"{count} epochs"


def _said(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
