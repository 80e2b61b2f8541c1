"""Samples for correlations: curves of a family of hypotheses, and accuracy at the same epochs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stir_ray.numerics import statistics
from stir_ray.numerics.statistics.hypotheses import Hypothesis, learning_and_forgetting
from stir_ray.results.analysis.epoch_curves import EpochCurves, Halves
from stir_ray.results.metric_info import OF_NO_SEED

_MIXED = "learning and forgetting"
_ALONE = {"cka_divergence": "CKA divergence", "subspace_similarity": "subspace similarity"}
_OF_NO_SEED = {name for metric, name in _ALONE.items() if metric in OF_NO_SEED}


@dataclass(frozen=True)
class Sample:
    """Curves of one family, and accuracy at the same epochs, all known.

    Attributes:
        name: of the family.
        epochs: at which everything is known.
        layers: of the curves.
        curves: by name, (seed, epoch, layer).
        accuracy: (severity, epoch).
        clean: by epoch, unless `accuracy` is that.
        halves: the same curves and accuracy of halves of the images; None if not measured.
    """

    name: str
    epochs: tuple[int, ...]
    layers: tuple[int, ...]
    curves: Mapping[str, np.ndarray]
    accuracy: np.ndarray
    clean: np.ndarray | None
    halves: Halves | None = None

    @property
    def seeds(self) -> int:
        """Number of seeds of the inversions; 0 for curves without inversions."""
        return 0 if self.name in _OF_NO_SEED else len(next(iter(self.curves.values())))

    @property
    def means(self) -> dict[str, np.ndarray]:
        """The curves averaged over seeds, (epoch, layer)."""
        return {name: over_seeds(curve) for name, curve in self.curves.items()}

    def interpretation(self, hypothesis: Hypothesis, *, family_wise: float) -> tuple[str, ...]:
        """Interpret one hypothesis; `family_wise` is its p among all that were tried."""
        summary = hypothesis.summary(self.means, layers=self.layers)
        diagnostics = statistics.diagnose(
            summary, self.accuracy, clean=self.clean, epochs=self.epochs
        )
        return statistics.interpretation(diagnostics, family_wise=family_wise)


def samples(curves: EpochCurves) -> Iterator[Sample]:
    """Yield a sample of each family that there are curves for."""
    halves = curves.halves and curves_of_families(curves.halves.curves)
    for name, family in curves_of_families(curves.curves).items():
        known = np.isfinite(curves.accuracy).all(axis=0)
        for values in family.values():
            known &= np.isfinite(over_seeds(values)).all(axis=-1)
        if curves.clean is not None:
            known &= np.isfinite(curves.clean)
        # A seed that is not computed yet would count as a draw, and make an interval too narrow.
        computed = np.any(
            [np.isfinite(values[:, known]).any(axis=(1, 2)) for values in family.values()], axis=0
        )
        sample = Sample(
            name,
            tuple(np.asarray(curves.epochs)[known].tolist()),
            curves.layers,
            {curve: values[computed][:, known] for curve, values in family.items()},
            curves.accuracy[:, known],
            None if curves.clean is None else curves.clean[known],
        )
        if curves.halves and halves and name in halves:
            accuracy = curves.halves.accuracy
            of_halves = Halves(
                curves.halves.count,
                {curve: values[:, :, known] for curve, values in halves[name].items()},
                None if accuracy is None else accuracy[..., known],
            )
            sample = replace(sample, halves=of_halves)
        yield sample


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
