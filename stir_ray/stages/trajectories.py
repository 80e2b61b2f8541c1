"""What happened to the layers and to the accuracy of a model, epoch by epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stir_ray.job import Job
from stir_ray.stages.matrices import ESTIMATORS, curves_by_seed

CLEAN = 0
"""The severity of images that are not corrupted."""


@dataclass(frozen=True)
class Trajectory:
    """The curves of one model over its epochs, and its accuracy; NaN is what is not known.

    Attributes:
        model: e.g. `finetuned`.
        estimator: of HSIC, `biased` or `unbiased`; `given` where somebody else computed the curves.
        epochs: ascending, each once.
        layers: likewise.
        curves: by metric, (seed, epoch, layer).
        severities: of the rows of `accuracy`; `(0,)` if only the clean one is known, `()` if none.
        accuracy: (severity, epoch), fractions.
        clean: accuracy without corruption, by epoch, where that is another thing than `accuracy`.
    """

    model: str
    estimator: str
    epochs: tuple[int, ...]
    layers: tuple[int, ...]
    curves: Mapping[str, np.ndarray]
    severities: tuple[int, ...]
    accuracy: np.ndarray
    clean: np.ndarray | None


def accuracy_by_severity(measured: pd.DataFrame) -> pd.DataFrame:
    """Accuracy with a row per epoch and a column per severity, 0 the clean one.

    The mean over corruptions; NaN where one of them is missing, since a mean over fewer would be
    of another quantity.

    Args:
        measured: columns epoch, severity and accuracy; `corruption` and `source` (published or
            regenerated) where there are several.
    """
    known = measured.dropna(subset="accuracy")
    kinds = [name for name in ("corruption", "source") if name in known.columns]
    by_kind = known.pivot_table(index=["severity", *kinds], columns="epoch", values="accuracy")
    of_severity = by_kind.groupby(level="severity")
    is_whole = of_severity.count().eq(of_severity.size(), axis=0)
    return of_severity.mean().where(is_whole).T


def trajectory(
    *,
    model: str,
    estimator: str,
    layers: tuple[int, ...],
    curves: Mapping[int, Mapping[str, np.ndarray]],
    accuracy: pd.DataFrame,
) -> Trajectory:
    """Curves and accuracies of the same epochs together.

    Args:
        model: their name.
        estimator: of the curves.
        layers: of the curves.
        curves: by epoch and metric, (seed, layer).
        accuracy: as of `accuracy_by_severity`; may lack epochs, or be empty.
    """
    epochs = tuple(sorted(curves))
    metrics = {name: None for epoch in epochs for name in curves[epoch]}
    known = accuracy.reindex(index=list(epochs))
    corrupted = [severity for severity in known.columns if severity != CLEAN]
    severities = corrupted or list(known.columns)
    return Trajectory(
        model=model,
        estimator=estimator,
        epochs=epochs,
        layers=layers,
        curves={name: np.stack([curves[e][name] for e in epochs], axis=1) for name in metrics},
        severities=tuple(int(severity) for severity in severities),
        accuracy=known[severities].to_numpy(dtype=float).T,
        clean=known[CLEAN].to_numpy(dtype=float) if corrupted and CLEAN in known else None,
    )


def trajectories(
    results: pd.DataFrame, accuracies: pd.DataFrame, job: Job, layers: tuple[int, ...]
) -> Iterator[Trajectory]:
    """Those of every compared model of a job, by both estimators.

    Epoch 0 is left out: nothing is trained there, and forgetting is 0 by definition.

    Args:
        results: the tidy results.
        accuracies: columns model, epoch, severity, accuracy, and what `accuracy_by_severity` takes.
        job: whose seeds and assumption about self-STIR hold.
        layers: all of them, ascending.
    """
    trained = results[results["epoch"] > 0]
    for model, rows in trained.groupby("model", sort=False):
        accuracy = accuracy_by_severity(accuracies[accuracies["model"] == model])
        for estimator in ESTIMATORS:
            curves = {
                epoch: curves_by_seed(rows[rows["epoch"] == epoch], estimator, job, layers)
                for epoch in rows["epoch"].unique().tolist()
            }
            yield trajectory(
                model=str(model),
                estimator=estimator,
                layers=layers,
                curves=curves,
                accuracy=accuracy,
            )
