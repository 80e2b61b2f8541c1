"""Curves of the layers and accuracy of a model over its epochs, of a job or of a user's tables."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.errors import DataError
from stir_ray.job import CLEAN as CLEAN_IMAGES
from stir_ray.job import Job
from stir_ray.lake.files import read_file
from stir_ray.lake.schemas import HISTORY, RESULTS, ROBUSTNESS, TEST_CORRECT, TableSchema
from stir_ray.measures.half_samples import HALF_SAMPLES, halves_of
from stir_ray.measures.subspaces import SUBSPACES
from stir_ray.numerics import metrics
from stir_ray.results.job_metrics import metrics_of, scores_of
from stir_ray.results.metric_info import CURVES, DIRECTIONS, ESTIMATORS

JOB_TABLES = (
    RESULTS,
    HISTORY,
    ROBUSTNESS,
    SUBSPACES.result_table,
    HALF_SAMPLES.result_table,
    TEST_CORRECT,
)
CLEAN = 0
"""The severity of images that are not corrupted."""


@dataclass(frozen=True)
class Halves:
    """Curves and accuracies of one model by half of the images; NaN where unknown.

    Attributes:
        count: number of halves.
        curves: by metric, (half, seed, epoch, layer).
        accuracy: (half, severity, epoch), of halves of the test images; None if it is not known
            which test images are classified correctly.
    """

    count: int
    curves: Mapping[str, np.ndarray]
    accuracy: np.ndarray | None


@dataclass(frozen=True)
class EpochCurves:
    """Curves of one model over its epochs, and its accuracy; NaN where unknown.

    Attributes:
        model: e.g. `finetuned`.
        estimator: of HSIC, `biased` or `unbiased`; `given` for curves of a user's table.
        epochs: ascending, each once.
        layers: likewise.
        curves: by metric, (seed, epoch, layer).
        severities: of the rows of `accuracy`; `(0,)` if only the clean one is known, `()` if none.
        accuracy: (severity, epoch), fractions.
        clean: accuracy without corruption, by epoch, unless `accuracy` is that.
        halves: curves and accuracy of halves of the images; None if not measured.
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
    """Return accuracy with a row per epoch and a column per severity, 0 the clean one.

    The mean over corruptions; NaN where one of them is missing, since a mean over fewer would be
    another quantity.

    Args:
        measured: columns epoch, severity and accuracy; `corruption` and `source` (published or
            regenerated) where there are several.
    """
    tested = measured.dropna(subset="accuracy")
    kinds = [name for name in ("corruption", "source") if name in tested.columns]
    by_kind = tested.pivot_table(index=["severity", *kinds], columns="epoch", values="accuracy")
    by_severity = by_kind.groupby(level="severity")
    is_whole = by_severity.count().eq(by_severity.size(), axis=0)
    return by_severity.mean().where(is_whole).T


def accuracies(history: pd.DataFrame, robustness: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by model, epoch, severity and corruption, each from one source.

    Args:
        history: of the trainings, with the clean accuracy alone.
        robustness: the tests on clean and corrupted images. For a model that was tested they alone
            count: clean and corrupted accuracies are then of the same images.
    """
    tested = robustness.dropna(subset="accuracy")
    trained = history[~history["model"].isin(tested["model"])]
    trained = trained.rename(columns={"test_accuracy": "accuracy"})
    clean = trained.assign(severity=CLEAN, corruption=CLEAN_IMAGES, source=CLEAN_IMAGES)
    columns = ["model", "epoch", "severity", "corruption", "source", "accuracy"]
    return pd.concat([tested[columns], clean[columns]], ignore_index=True)


def epoch_curves(
    model: str, estimator: str, curves: xr.Dataset, accuracy: pd.DataFrame
) -> EpochCurves:
    """Return curves and accuracies at the epochs of the curves.

    Args:
        model: name of the curves.
        estimator: of HSIC.
        curves: by metric, (epoch, layer) and perhaps seed.
        accuracy: as of `accuracy_by_severity`; may lack epochs, or be empty.
    """
    epochs = curves["epoch"].to_numpy().tolist()
    at_epochs = accuracy.reindex(index=epochs)
    corrupted = [severity for severity in at_epochs.columns if severity != CLEAN]
    severities = corrupted or list(at_epochs.columns)
    seeded = curves if "seed" in curves.dims else curves.expand_dims("seed")
    return EpochCurves(
        model=model,
        estimator=estimator,
        epochs=tuple(epochs),
        layers=tuple(curves["layer"].to_numpy().tolist()),
        curves={str(name): _array(seeded, name, "seed", "epoch", "layer") for name in curves},
        severities=tuple(int(severity) for severity in severities),
        accuracy=at_epochs[severities].to_numpy(dtype=float).T,
        clean=at_epochs[CLEAN].to_numpy(float) if corrupted and CLEAN in at_epochs else None,
    )


def _array(values: xr.Dataset, name: object, *dims: str) -> np.ndarray:
    array = values[name].expand_dims([dim for dim in dims if dim not in values[name].dims])
    return array.transpose(*dims).to_numpy()


def job_epoch_curves(
    tables: Mapping[TableSchema, pd.DataFrame], job: Job, layers: Mapping[str, Sequence[int]]
) -> Iterator[EpochCurves]:
    """Yield the curves of every compared model of a job, by both estimators.

    Epoch 0 is left out: nothing is trained there, and forgetting is 0 by definition.

    Args:
        tables: `JOB_TABLES`.
        job: whose number of halves and assumption about self-STIR hold.
        layers: by model, those that it shares with the pretrained one, ascending.
    """
    tested = accuracies(tables[HISTORY], tables[ROBUSTNESS])
    for model in tables[RESULTS]["model"].unique():
        rows = {schema: table[table["model"] == model] for schema, table in tables.items()}
        trained = rows[RESULTS][rows[RESULTS]["epoch"] > 0]
        if trained.empty:
            continue
        scores = scores_of(trained).sel(model=model).reindex(direction=list(DIRECTIONS))
        accuracy = accuracy_by_severity(tested[tested["model"] == model])
        # The paper's estimator first.
        for estimator in reversed(ESTIMATORS):
            values = _metrics(scores, estimator, job)[list(CURVES)]
            curves = metrics.diagonal(values).rename(reference_layer="layer")
            curves = curves.reindex(layer=list(layers[model]))
            curves = _with_subspaces(curves, rows[SUBSPACES.result_table])
            of_model = epoch_curves(model, estimator, curves, accuracy)
            halves = _halves(rows[HALF_SAMPLES.result_table], rows[TEST_CORRECT], of_model, job)
            yield replace(of_model, halves=halves)


def _metrics(scores: xr.Dataset, estimator: str, job: Job) -> xr.Dataset:
    stir, cka = (scores[f"{name}{ESTIMATORS[estimator]}"] for name in ("stir", "cka"))
    return metrics_of(stir, cka, assume_self_stir_one=job.assume_self_stir_one)


def _with_subspaces(curves: xr.Dataset, similarities: pd.DataFrame) -> xr.Dataset:
    """Add the subspace similarity of equal layers, if the models share a basis."""
    same = similarities["reference_layer"] == similarities["target_layer"]
    rows = similarities[same & similarities["shares_basis"]]
    if not rows["epoch"].isin(curves["epoch"].to_numpy()).any():
        return curves
    rows = rows.rename(columns={"target_layer": "layer"}).set_index(["epoch", "layer"])
    values = rows["subspace_similarity"].to_xarray()
    return curves.assign(subspace_similarity=values.reindex_like(curves["epoch"] * curves["layer"]))


def _halves(
    half_samples: pd.DataFrame, correct: pd.DataFrame, whole: EpochCurves, job: Job
) -> Halves | None:
    if half_samples.empty:
        return None
    keys = ["direction", "half", "seed", "epoch", "layer"]
    scores = xr.Dataset.from_dataframe(half_samples.drop(columns="model").set_index(keys))
    # Stored in single precision.
    scores = scores.astype(np.float64).reindex(
        direction=list(DIRECTIONS),
        half=range(job.half_samples),
        epoch=list(whole.epochs),
        layer=list(whole.layers),
    )
    # The target layer is the reference layer.
    same = dict.fromkeys(("reference_layer", "target_layer"), scores["layer"])
    values = _metrics(scores.assign_coords(same), whole.estimator, job)
    return Halves(
        count=job.half_samples,
        curves={
            str(name): _array(values, name, "half", "seed", "epoch", "layer") for name in values
        },
        accuracy=None if correct.empty else _accuracy_of_halves(correct, whole, job),
    )


def _accuracy_of_halves(correct: pd.DataFrame, whole: EpochCurves, job: Job) -> np.ndarray:
    """Return the mean over corruptions, as of all images; NaN where one of them is missing."""
    accuracy = np.full((job.half_samples, len(whole.severities), len(whole.epochs)), np.nan)
    for row, severity in enumerate(whole.severities):
        tests = correct[correct["severity"] == severity]
        for column, epoch in enumerate(whole.epochs):
            tested = tests[tests["epoch"] == epoch]
            if len(tested) and len(tested) == tests["corruption"].nunique():
                right = np.stack(tested["right"].tolist()).mean(axis=0)
                chosen = halves_of(tested["test_set"].iloc[0], len(right), job.half_samples)
                accuracy[:, row, column] = chosen @ right / chosen.sum(axis=1)
    return accuracy


METRICS = ("learning", "forgetting", "cka_divergence", "subspace_similarity")
"""Columns of curves that have hypotheses."""
_INTEGERS = ("epoch", "layer", "seed", "severity")
_NAME = "given"


def user_curves(dynamics: str, accuracy: str | None) -> EpochCurves:
    """Read curves from a table with a row per epoch and layer, and accuracies from another.

    Args:
        dynamics: path or URL of a CSV or Parquet file: columns epoch, layer, perhaps seed, and some
            of `METRICS`.
        accuracy: the same with columns epoch, severity (0: clean), accuracy, perhaps corruption;
            None if it is not known.

    Raises:
        DataError: naming what a table lacks.
    """
    curves = _read(dynamics, ("epoch", "layer"))
    metrics = [name for name in METRICS if name in curves.columns]
    if not metrics:
        raise DataError(f"{dynamics}: no column of curves; expected one of {', '.join(METRICS)}")
    keys = [name for name in ("seed", "epoch", "layer") if name in curves.columns]
    _check(dynamics, curves, keys, metrics)
    measured = pd.DataFrame(columns=["epoch", "severity", "accuracy"])
    if accuracy is not None:
        measured = _read(accuracy, ("epoch", "severity", "accuracy"))
        kinds = [name for name in ("corruption", "source") if name in measured.columns]
        _check(accuracy, measured, ["epoch", "severity", *kinds], ["accuracy"])
        if not set(measured["epoch"]) & set(curves["epoch"]):
            raise DataError(f"{accuracy}: has no epoch of {dynamics}")
    arrays = xr.Dataset.from_dataframe(curves.set_index(keys)[metrics].astype(float))
    return epoch_curves(_NAME, _NAME, arrays, accuracy_by_severity(measured))


def _read(path: str, columns: Sequence[str]) -> pd.DataFrame:
    kind = "Parquet" if path.endswith(".parquet") else "CSV"
    try:
        content = io.BytesIO(read_file(path))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; expected a CSV or Parquet table") from None
    try:
        table = pd.read_parquet(content) if kind == "Parquet" else pd.read_csv(content)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: not readable as {kind} ({error})") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: column `{missing[0]}` is missing; there is {', '.join(map(str, table))}"
        )
    if table.empty:
        raise DataError(f"{path}: has no rows")
    return table


def _check(path: str, table: pd.DataFrame, keys: Sequence[str], values: Sequence[str]) -> None:
    for name in _INTEGERS:
        if name in table and not pd.api.types.is_integer_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold whole numbers")
    for name in values:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold numbers")
    for row in table[table.duplicated(list(keys))].head(1).to_dict("records"):
        cell = ", ".join(f"{name} {row[name]}" for name in keys)
        raise DataError(f"{path}: more than one row of {cell}")
