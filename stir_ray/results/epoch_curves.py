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
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import HISTORY, RESULTS, ROBUSTNESS, TEST_CORRECT
from stir_ray.lake.store import read_file
from stir_ray.measures.half_samples import HALF_SAMPLES, halves_of
from stir_ray.measures.subspaces import SUBSPACES
from stir_ray.numerics import metrics
from stir_ray.numerics.correlation_diagnostics import (
    CorrelationDiagnostics,
    diagnose,
    interpretation,
)
from stir_ray.numerics.screening import Hypothesis, learning_and_forgetting
from stir_ray.plan.study import Study
from stir_ray.results.job_metrics import metrics_of, scores_of
from stir_ray.results.metric_info import CURVES, DIRECTIONS, ESTIMATORS, OF_NO_SEED
from stir_ray.results.reduce import read_result

_SUBSPACES, _HALVES = SUBSPACES.result_table, HALF_SAMPLES.result_table
_JOB_TABLES = (RESULTS, HISTORY, ROBUSTNESS, _SUBSPACES, _HALVES, TEST_CORRECT)
CLEAN = 0
"""The severity of images that are not corrupted."""
_PAIR = ("learning", "forgetting")
_ALONE = {"cka_divergence": "CKA divergence", "subspace_similarity": "subspace similarity"}
_SEEDLESS = {name for metric, name in _ALONE.items() if metric in OF_NO_SEED}
_HALF_KEYS = ["direction", "half", "seed", "epoch", "layer"]
_USER = "given"


@dataclass(frozen=True)
class Halves:
    """Curves and accuracies of one model by half of the images; NaN where unknown."""

    count: int
    curves: Mapping[str, np.ndarray]  # by metric, (half, seed, epoch, layer)
    # (half, severity, epoch), of the test images; None if it is not known which are correct
    accuracy: np.ndarray | None


@dataclass(frozen=True)
class EpochCurves:
    """Curves of one model over its epochs, and its accuracy; NaN where unknown."""

    model: str
    estimator: str  # of HSIC, `biased` or `unbiased`; `given` for curves of a user's table
    epochs: tuple[int, ...]  # ascending, each once
    layers: tuple[int, ...]  # likewise
    curves: Mapping[str, np.ndarray]  # by metric, (seed, epoch, layer)
    severities: tuple[int, ...]  # of `accuracy`; (0,) if only the clean one is known, () if none
    accuracy: np.ndarray  # (severity, epoch), fractions
    clean: np.ndarray | None  # accuracy without corruption, (epoch), unless `accuracy` is that
    halves: Halves | None = None


@dataclass(frozen=True)
class Sample:
    """A family of hypotheses, and its curves and accuracy at the epochs at which all are known."""

    name: str
    curves: EpochCurves

    @property
    def seeds(self) -> int:
        """Number of seeds of the inversions; 0 for curves without inversions."""
        return 0 if self.name in _SEEDLESS else len(next(iter(self.curves.curves.values())))

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


def over_seeds(curve: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of the known values; NaN where there is none."""
    return np.ma.masked_invalid(curve).mean(axis=0).filled(np.nan)


def curves_of_families(curves: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the curves that hypotheses are about, by family and name, from curves by metric."""
    pair = {name: curves[name] for name in _PAIR if name in curves}
    families = {name: {name: curve} for name, curve in pair.items()}
    if len(pair) == len(_PAIR):
        families = {"learning and forgetting": learning_and_forgetting(**pair)}
    return families | {
        name: {name: curves[metric]} for metric, name in _ALONE.items() if metric in curves
    }


def samples(curves: EpochCurves) -> Iterator[Sample]:
    """Yield a sample of each family that there are curves for."""
    halves = curves.halves
    families = curves_of_families(halves.curves) if halves else {}
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
        family_halves = None
        if halves and name in families:
            family_halves = replace(
                halves,
                curves={curve: values[:, :, finite] for curve, values in families[name].items()},
                accuracy=None if halves.accuracy is None else halves.accuracy[..., finite],
            )
        sample = replace(
            curves,
            epochs=tuple(np.asarray(curves.epochs)[finite].tolist()),
            curves={curve: values[computed][:, finite] for curve, values in family.items()},
            accuracy=curves.accuracy[:, finite],
            clean=None if curves.clean is None else curves.clean[finite],
            halves=family_halves,
        )
        yield Sample(name, sample)


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

    Of a tested model the table `robustness` alone counts: its clean and corrupted accuracies are of
    the same images. Of others the history of their training has the clean accuracy.
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

    Curves are by metric, (epoch, layer) and perhaps seed; accuracy is as of `accuracy_by_severity`,
    and may lack epochs or be empty.
    """
    epochs = curves["epoch"].to_numpy().tolist()
    at_epochs = accuracy.reindex(index=epochs)
    corrupted = [severity for severity in at_epochs.columns if severity != CLEAN]
    severities = corrupted or list(at_epochs.columns)
    return EpochCurves(
        model=model,
        estimator=estimator,
        epochs=tuple(epochs),
        layers=tuple(curves["layer"].to_numpy().tolist()),
        curves=_arrays(curves, "seed", "epoch", "layer"),
        severities=tuple(int(severity) for severity in severities),
        accuracy=at_epochs[severities].to_numpy(dtype=float).T,
        clean=at_epochs[CLEAN].to_numpy(float) if corrupted and CLEAN in at_epochs else None,
    )


def _arrays(values: xr.Dataset, *dims: str) -> dict[str, np.ndarray]:
    return {
        str(name): array.expand_dims([dim for dim in dims if dim not in array.dims])
        .transpose(*dims)
        .to_numpy()
        for name, array in values.items()
    }


def job_epoch_curves(job: Job, study: Study, lake: Lake) -> Iterator[EpochCurves]:
    """Yield the curves of every compared model of a job, by both estimators.

    Epoch 0 is left out: nothing is trained there, and forgetting is 0 by definition. Layers are
    those that a model shares with the pretrained one, ascending.
    """
    tables = {schema: read_result(schema, job, lake) for schema in _JOB_TABLES}
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
            curves = curves.reindex(layer=list(study.shared_layers(model)))
            curves = _with_subspaces(curves, rows[_SUBSPACES])
            whole = epoch_curves(model, estimator, curves, accuracy)
            yield replace(whole, halves=_halves(rows[_HALVES], rows[TEST_CORRECT], whole, job))


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
    scores = half_samples.drop(columns="model").set_index(_HALF_KEYS).to_xarray()
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
    accuracy = None if correct.empty else _half_accuracy(correct, whole, job.half_samples)
    return Halves(job.half_samples, _arrays(values, "half", "seed", "epoch", "layer"), accuracy)


def _half_accuracy(correct: pd.DataFrame, whole: EpochCurves, halves: int) -> np.ndarray:
    """Return the mean over corruptions, as of all images; NaN where one of them is missing."""
    accuracy = np.full((halves, len(whole.severities), len(whole.epochs)), np.nan)
    for row, severity in enumerate(whole.severities):
        tests = correct[correct["severity"] == severity]
        for column, epoch in enumerate(whole.epochs):
            tested = tests[tests["epoch"] == epoch]
            if len(tested) and len(tested) == tests["corruption"].nunique():
                right = np.stack(tested["right"].tolist()).mean(axis=0)
                chosen = halves_of(tested["test_set"].iloc[0], len(right), halves)
                accuracy[:, row, column] = chosen @ right / chosen.sum(axis=1)
    return accuracy


def user_curves(dynamics: str, accuracy: str | None) -> EpochCurves:
    """Read curves from a table with a row per epoch and layer, and accuracies from another.

    Args:
        dynamics: path or URL of a CSV or Parquet file: columns epoch, layer, perhaps seed, and any
            of learning, forgetting, cka_divergence and subspace_similarity.
        accuracy: the same with columns epoch, severity (0: clean), accuracy, perhaps corruption;
            None if it is not known.

    Raises:
        DataError: naming what a table lacks.
    """
    curves = _read(dynamics, ("epoch", "layer"))
    names = (*_PAIR, *_ALONE)
    curve_names = [name for name in names if name in curves.columns]
    if not curve_names:
        raise DataError(f"{dynamics}: no column of curves; expected one of {', '.join(names)}")
    keys = [name for name in ("seed", "epoch", "layer") if name in curves.columns]
    _check(dynamics, curves, keys, curve_names)
    measured = pd.DataFrame(columns=["epoch", "severity", "accuracy"])
    if accuracy is not None:
        measured = _read(accuracy, ("epoch", "severity", "accuracy"))
        kinds = [name for name in ("corruption", "source") if name in measured.columns]
        _check(accuracy, measured, ["epoch", "severity", *kinds], ["accuracy"])
        if not set(measured["epoch"]) & set(curves["epoch"]):
            raise DataError(f"{accuracy}: has no epoch of {dynamics}")
    arrays = curves.set_index(keys)[curve_names].astype(float).to_xarray()
    return epoch_curves(_USER, _USER, arrays, accuracy_by_severity(measured))


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
    for name in columns:
        if name not in table.columns:
            there = ", ".join(map(str, table))
            raise DataError(f"{path}: column `{name}` is missing; there is {there}")
    if table.empty:
        raise DataError(f"{path}: has no rows")
    return table


def _check(path: str, table: pd.DataFrame, keys: Sequence[str], values: Sequence[str]) -> None:
    for name in table.columns.intersection(["epoch", "layer", "seed", "severity"]):
        if not pd.api.types.is_integer_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold whole numbers")
    for name in values:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(f"{path}: column `{name}` must hold numbers")
    for row in table[table.duplicated(list(keys))].head(1).to_dict("records"):
        cell = ", ".join(f"{name} {row[name]}" for name in keys)
        raise DataError(f"{path}: more than one row of {cell}")
