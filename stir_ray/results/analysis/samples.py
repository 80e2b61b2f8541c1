"""What correlations are taken over: curves of a family of hypotheses, and accuracy beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stir_ray.numerics import statistics
from stir_ray.results.analysis.epoch_curves import EpochCurves
from stir_ray.results.analysis.halves import Halves
from stir_ray.results.matrices import OF_NO_SEED

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
        clean: by epoch, where that is another thing than `accuracy`.
        halves: the same curves and accuracy of halves of the images; None where they are not known.
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
        """Of the inversions; 0 of curves that none takes part in, though each has its copy."""
        if self.name in _OF_NO_SEED:
            return 0
        return len(next(iter(self.curves.values())))

    @property
    def means(self) -> dict[str, np.ndarray]:
        """The curves over seeds, (epoch, layer)."""
        return {name: over_seeds(curve) for name, curve in self.curves.items()}

    def verdict(
        self, hypothesis: statistics.Hypothesis, *, family_wise: float | None
    ) -> tuple[str, ...]:
        """What comes of every look at a hypothesis, in sentences.

        Args:
            hypothesis: about one of the curves.
            family_wise: its p among all that were tried, without the first epochs; None if it was
                named beforehand.
        """
        return statistics.verdict(self.evidence(hypothesis), family_wise=family_wise)

    def evidence(self, hypothesis: statistics.Hypothesis) -> statistics.CorrelationDiagnostics:
        """Every look at a hypothesis."""
        return statistics.examine(
            hypothesis.summary(self.means, layers=self.layers),
            self.accuracy,
            clean=self.clean,
            epochs=self.epochs,
        )


def samples(of: EpochCurves) -> Iterator[Sample]:
    """One of each family that a trajectory has curves for."""
    for name, curves in curves_of_families(of).items():
        yield _known(name, curves, of)


def curves_of_families(of: EpochCurves) -> dict[str, dict[str, np.ndarray]]:
    """The curves that hypotheses are about, by family and name; those of seeds as they are."""
    return _families(of.curves)


def _families(curves: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    families = {}
    if {"learning", "forgetting"} <= set(curves):
        pair = {name: curves[name] for name in ("learning", "forgetting")}
        families[_MIXED] = statistics.learning_and_forgetting(**pair)
    elif alone := [name for name in ("learning", "forgetting") if name in curves]:
        families[alone[0]] = {alone[0]: curves[alone[0]]}
    return families | {
        name: {name: curves[metric]} for metric, name in _ALONE.items() if metric in curves
    }


def over_seeds(curve: np.ndarray) -> np.ndarray:
    """The mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(curve)
    count = known.sum(axis=0)
    return np.where(count, np.where(known, curve, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _known(name: str, curves: Mapping[str, np.ndarray], of: EpochCurves) -> Sample:
    """The epochs at which all is known."""
    known = np.asarray(np.isfinite(of.accuracy).all(axis=0))
    for curve in curves.values():
        known &= np.isfinite(over_seeds(curve)).all(axis=-1)
    if of.clean is not None:
        known &= np.isfinite(of.clean)
    # A seed that is not computed yet would count as a draw, and make an interval too narrow.
    computed = np.any([np.isfinite(one[:, known]).any(axis=(1, 2)) for one in curves.values()], 0)
    return Sample(
        name,
        tuple(np.asarray(of.epochs)[known].tolist()),
        of.layers,
        {curve: values[computed][:, known] for curve, values in curves.items()},
        of.accuracy[:, known],
        None if of.clean is None else of.clean[known],
        _known_of_halves(name, of.halves, known),
    )


def _known_of_halves(name: str, halves: Halves | None, known: np.ndarray) -> Halves | None:
    curves = {} if halves is None else _families(halves.curves).get(name, {})
    if halves is None or not curves:
        return None
    return replace(
        halves,
        curves={curve: values[:, :, known] for curve, values in curves.items()},
        accuracy=None if halves.accuracy is None else halves.accuracy[..., known],
    )
