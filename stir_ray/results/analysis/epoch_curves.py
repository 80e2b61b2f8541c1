"""What happened to the layers and to the accuracy of a model, epoch by epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd

from stir_ray.job import Job
from stir_ray.plan.checkpoints import Role
from stir_ray.results.analysis.halves import Halves, Places, halves_measured
from stir_ray.results.matrices import curves_by_seed

CLEAN = 0
"""The severity of images that are not corrupted."""


@dataclass(frozen=True)
class EpochCurves:
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
        halves: curves and accuracy of halves of the images; None where they are not measured.
    """

    model: str
    estimator: str
    epochs: tuple[int, ...]
    layers: tuple[int, ...]
    curves: Mapping[str, np.ndarray]
    severities: tuple[int, ...]
    accuracy: np.ndarray
    clean: np.ndarray | None
    halves: Halves | None = None


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
) -> EpochCurves:
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
    shapes = [curve.shape for epoch in epochs for curve in curves[epoch].values()]
    unknown = np.full(shapes[0], np.nan)
    corrupted = [severity for severity in known.columns if severity != CLEAN]
    severities = corrupted or list(known.columns)
    return EpochCurves(
        model=model,
        estimator=estimator,
        epochs=epochs,
        layers=layers,
        curves={
            name: np.stack([curves[e].get(name, unknown) for e in epochs], axis=1)
            for name in metrics
        },
        severities=tuple(int(severity) for severity in severities),
        accuracy=known[severities].to_numpy(dtype=float).T,
        clean=known[CLEAN].to_numpy(dtype=float) if corrupted and CLEAN in known else None,
    )


@dataclass(frozen=True)
class Measured:
    """Tables of a job.

    Attributes:
        results: the tidy results.
        accuracies: columns model, epoch, severity, accuracy, and what `accuracy_by_severity` takes.
        subspaces: subspace similarities.
        half_samples: scores of halves of the images; None if none are asked for.
        answers: which test images are right; None likewise.
    """

    results: pd.DataFrame
    accuracies: pd.DataFrame
    subspaces: pd.DataFrame
    half_samples: pd.DataFrame | None = None
    answers: pd.DataFrame | None = None


def trajectories(
    measured: Measured, job: Job, shared: Mapping[Role, tuple[int, ...]]
) -> Iterator[EpochCurves]:
    """Those of every compared model of a job, by both estimators.

    Epoch 0 is left out: nothing is trained there, and forgetting is 0 by definition.

    Args:
        measured: tables of the job.
        job: whose seeds and assumption about self-STIR hold.
        shared: by model, the layers that it and the pretrained one have, ascending.
    """
    trained = measured.results[measured.results["epoch"] > 0]
    accuracies = measured.accuracies
    for model, rows in trained.groupby("model", sort=False):
        layers = shared[cast("Role", model)]
        accuracy = accuracy_by_severity(accuracies[accuracies["model"] == model])
        alike = _subspace_curves(measured.subspaces, str(model), job, layers)
        for estimator in _ESTIMATORS:
            curves = {
                epoch: curves_by_seed(rows[rows["epoch"] == epoch], estimator, job, layers)
                | ({"subspace_similarity": alike[epoch]} if epoch in alike else {})
                for epoch in rows["epoch"].unique().tolist()
            }
            of_model = trajectory(
                model=str(model),
                estimator=estimator,
                layers=layers,
                curves=curves,
                accuracy=accuracy,
            )
            yield _with_halves(of_model, measured, job)


_ESTIMATORS = ("biased", "unbiased")
"""That of the paper's study first, whose numbers are held against others'."""


def _with_halves(of: EpochCurves, measured: Measured, job: Job) -> EpochCurves:
    every = measured.half_samples, measured.answers
    scores, answers = (None if one is None else one[one["model"] == of.model] for one in every)
    if scores is None or answers is None:
        return of
    places = Places(of.epochs, of.layers, of.severities)
    return replace(of, halves=halves_measured(scores, answers, of.estimator, job, places))


def _subspace_curves(
    similarities: pd.DataFrame, model: str, job: Job, layers: tuple[int, ...]
) -> dict[int, np.ndarray]:
    """Of equal layers, (seed, layer) by epoch; every seed has the same, since none is drawn.

    None of a model that shares no basis with the pretrained one.
    """
    same = similarities["reference_layer"] == similarities["target_layer"]
    of_model = (similarities["model"] == model) & similarities["shares_basis"]
    by_layer = similarities[same & of_model].pivot_table(
        index="epoch", columns="target_layer", values="subspace_similarity"
    )
    every = by_layer.reindex(columns=list(layers))
    return {
        int(epoch): np.tile(values, (len(job.seeds), 1))
        for epoch, values in zip(every.index.tolist(), every.to_numpy(float), strict=True)
    }
