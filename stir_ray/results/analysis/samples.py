"""Samples for correlations: curves of a family of hypotheses, and accuracy at the same epochs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stir_ray.numerics.correlation_diagnostics import (
    CorrelationDiagnostics,
    diagnose,
    interpretation,
)
from stir_ray.numerics.screening import Hypothesis, learning_and_forgetting
from stir_ray.results.analysis.epoch_curves import EpochCurves, Halves
from stir_ray.results.metric_info import OF_NO_SEED

_MIXED = "learning and forgetting"
_ALONE = {"cka_divergence": "CKA divergence", "subspace_similarity": "subspace similarity"}
_OF_NO_SEED = {name for metric, name in _ALONE.items() if metric in OF_NO_SEED}


@dataclass(frozen=True)
class Sample:
    """A family of hypotheses, and its curves and accuracy at the epochs at which all are known."""

    name: str
    curves: EpochCurves

    @property
    def seeds(self) -> int:
        """Number of seeds of the inversions; 0 for curves without inversions."""
        return 0 if self.name in _OF_NO_SEED else len(next(iter(self.curves.curves.values())))

    @property
    def means(self) -> dict[str, np.ndarray]:
        """The curves averaged over seeds, (epoch, layer)."""
        return {name: over_seeds(curve) for name, curve in self.curves.curves.items()}

    def diagnostics(self, summaries: np.ndarray) -> CorrelationDiagnostics:
        """Diagnose the correlations of summaries of the layers with accuracy."""
        curves = self.curves
        return diagnose(summaries, curves.accuracy, clean=curves.clean, epochs=curves.epochs)

    def interpretation(self, hypothesis: Hypothesis, *, family_wise: float) -> tuple[str, ...]:
        """Interpret one hypothesis; `family_wise` is its p among all that were tried."""
        diagnostics = self.diagnostics(hypothesis.summary(self.means, layers=self.curves.layers))
        return interpretation(diagnostics, family_wise=family_wise)


def samples(curves: EpochCurves) -> Iterator[Sample]:
    """Yield a sample of each family that there are curves for."""
    for name, family in curves_of_families(curves.curves).items():
        finite = np.asarray(np.isfinite(curves.accuracy).all(axis=0))
        for values in family.values():
            finite &= np.isfinite(over_seeds(values)).all(axis=-1)
        if curves.clean is not None:
            finite &= np.isfinite(curves.clean)
        # A seed that is not computed yet would count as a draw, and make an interval too narrow.
        computed = np.any(
            [np.isfinite(values[:, finite]).any(axis=(1, 2)) for values in family.values()], axis=0
        )
        sample = replace(
            curves,
            epochs=tuple(np.asarray(curves.epochs)[finite].tolist()),
            curves={curve: values[computed][:, finite] for curve, values in family.items()},
            accuracy=curves.accuracy[:, finite],
            clean=None if curves.clean is None else curves.clean[finite],
            halves=curves.halves and _halves(curves.halves, name, finite),
        )
        yield Sample(name, sample)


def _halves(halves: Halves, family: str, finite: np.ndarray) -> Halves | None:
    curves = curves_of_families(halves.curves).get(family)
    if curves is None:
        return None
    return Halves(
        halves.count,
        {name: values[:, :, finite] for name, values in curves.items()},
        None if halves.accuracy is None else halves.accuracy[..., finite],
    )


def curves_of_families(curves: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the curves that hypotheses are about, by family and name.

    Args:
        curves: by metric.
    """
    families = {}
    if {"learning", "forgetting"} <= set(curves):
        pair = {name: curves[name] for name in ("learning", "forgetting")}
        families[_MIXED] = learning_and_forgetting(**pair)
    elif alone := [name for name in ("learning", "forgetting") if name in curves]:
        families[alone[0]] = {alone[0]: curves[alone[0]]}
    return families | {
        name: {name: curves[metric]} for metric, name in _ALONE.items() if metric in curves
    }


def over_seeds(curve: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of the known values; NaN where there is none."""
    return np.ma.masked_invalid(curve).mean(axis=0).filled(np.nan)
