"""The results of a job as arrays with named dimensions."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.errors import LakeError
from stir_ray.lake.parquet import Lake, open_lake, provenance
from stir_ray.lake.schemas import (
    HISTORY,
    MATRICES,
    RESULTS,
    ROBUSTNESS,
    SUBSPACE_SIMILARITY,
    TableSchema,
)
from stir_ray.results.matrices import DIRECTIONS, METRICS
from stir_ray.results.metric_info import METRICS as METRIC_WORDS

_PER_INVERSION = (
    "residual_q05",
    "residual_median",
    "residual_q95",
    "residual_max",
    "centred_residual_median",
    "centred_residual_q95",
    "centred_residual_max",
    "unconverged",
    "not_inverted",
    "stuck",
    "iterations",
    "is_converged",
    "images",
)
"""Columns of the results that do not depend on the model that looks."""


def open_results(path: str) -> xr.Dataset:
    """The scores, metrics, trainings and tests of a job, by name.

    Further measures (`other_similarities`, `unchanged_predictions`, `metamer_counts`) and the
    tables of an analysis (`hypotheses`, `correlations`, `learning_with_forgetting`) are not among
    them: they lie in the same folder as Parquet, and `stir-ray sql` has all.

    Example:
        results = stir_ray.open_results("lake/jobs/digits")
        results["stir_unbiased"].sel(model="finetuned", direction="ft|pt", epoch=8).mean("seed")

    Args:
        path: the job's folder or URL in its lake, e.g. `lake/jobs/digits` or
            `s3://bucket/lake/jobs/digits`.

    Returns:
        A dataset in which what is missing is NaN. Layers are numbered from 1; `estimator` is that
        of HSIC, `biased` or `unbiased`. Its variables and their dimensions:

        - `stir`, `cka`, … of the table `results`: (model, direction, epoch, seed, reference_layer,
          target_layer). Direction `ft|pt` is STIR(ft | pt): pt inverted, ft looking. In [0, 1],
          and those that end in `_unbiased` in [−1, 1].
        - `residual_median`, `centred_residual_q95`, `iterations`, `is_converged`, …: the same
          without target_layer.
        - `learning`, `forgetting`, `cka_divergence`, `flow`, `flow_control`,
          `flow_beyond_control`: mean over seeds, (model, estimator, epoch, row_layer,
          column_layer), in [−1, 1] by the biased estimator, the last one in [−2, 2]; the same with
          `_std` and `_seeds` appended are their standard deviation and number of seeds. `_drift` is
          their change since half the steps of the inversions, `_is_moving` 1 where that is too
          much for them to be taken as final.
        - `subspace_similarity`, and `subspace_chance` and `subspace_directions`, which it is to be
          read with: (model, epoch, pretrained_layer, compared_layer), in [0, 1]. `shares_basis`:
          (model), 1 if its similarity says anything, 0 if it does not.
        - `train_loss`, `test_loss`, `test_accuracy`: (trained_model, training_epoch).
        - `accuracy`, `loss` and `tested_images` of the table `robustness`: (trained_model,
          training_epoch, corruption, severity). Of clean images at corruption `clean`, severity 0.
          Their coordinate `accuracy_source` says of each which images those were: `regenerated`,
          `released` or `clean`; empty where nothing was tested.

        Every variable says in its attributes what it is: `meaning`, `units` and `range`, and of a
        metric also `long_name`, `source` of the formula and `direction`. All is in memory, since it
        is little: 100 epochs of 12 layers, 3 seeds and 4 directions are 17 MB, and open in 0.4 s
        from a disk.

    Raises:
        LakeError: if there are no results, no number in them yet, or they are half rewritten.
        CorruptPart: if a table is not as it was written.

    Metrics are those of Merlin et al. 2023 (PMLR 232:601-619), STIR of Nanda et al. 2022 (ICML),
    CKA of Kornblith et al. 2019 (ICML), unbiased by Song et al. 2012 (JMLR), subspace similarity of
    Ramasesh et al. 2021.
    """
    lake = open_lake(path)  # A job's folder is not a lake, but is read in the same way.
    tables = {schema: _table(lake, schema) for schema in _NEEDED}
    tables |= {schema: _table_or_empty(lake, schema) for schema in _OF_LATER_VERSIONS}
    made_from = {provenance(one).get("inputs") for one in tables.values() if provenance(one)}
    if len(made_from) > 1:
        raise LakeError(
            f"{lake.objects.location()}: its tables are of different runs; `stir-ray reduce` first"
        )
    if tables[RESULTS].num_rows == 0:
        raise LakeError(f"{lake.objects.location()}: no cell of this job has a number yet")
    merged = xr.merge(
        [
            _scores(tables[RESULTS].to_pandas()),
            _matrices(tables[MATRICES]),
            _subspaces(tables[SUBSPACE_SIMILARITY].to_pandas()),
            _history(tables[HISTORY]),
            _robustness(tables[ROBUSTNESS].to_pandas()),
        ],
        join="outer",
    )
    source = merged["accuracy_source"]
    return _described(merged.assign_coords(accuracy_source=source.fillna("").astype(str)))


_NEEDED = (RESULTS, MATRICES, HISTORY)
_OF_LATER_VERSIONS = (SUBSPACE_SIMILARITY, ROBUSTNESS)
"""Results of earlier ones do not have them, and are read without."""
_OPENED = (*_OF_LATER_VERSIONS, HISTORY, MATRICES, RESULTS)
"""The last that has a name says what it is."""
_RENAMED = {
    # Of layers that could not be inverted, too: other places than those of the results.
    SUBSPACE_SIMILARITY: {
        "reference_layer": "pretrained_layer",
        "target_layer": "compared_layer",
        "chance": "subspace_chance",
        "directions": "subspace_directions",
    },
    ROBUSTNESS: {
        "images": "tested_images",
        "source": "accuracy_source",
        "model": "trained_model",
        "epoch": "training_epoch",
    },
}


def _described(results: xr.Dataset) -> xr.Dataset:
    """The same, in which every variable says what it is."""
    said = {name: attrs for schema in _OPENED for name, attrs in _of_columns(schema)}
    for name, metric in METRIC_WORDS.items():
        of_metric = {**metric.attrs(), "direction": _by_row_and_column(name, metric.direction)}
        said[name] = of_metric | {"meaning": f"{metric.meaning}; mean over seeds"}
        said[f"{name}_std"] = _attrs(
            f"standard deviation of {name} over seeds, with n - 1; NaN of a single seed or none",
            "[0, inf)",
        )
        said[f"{name}_drift"] = _attrs(
            f"change of {name} since half the steps of the inversions: how far it could still be "
            "off",
            "[-4, 4]",
        )
        said[f"{name}_is_moving"] = _attrs(
            f"1 where {name} has changed by more than 0.01, or a third of itself, since half the "
            "steps of the inversions; else 0",
            "0 or 1",
        )
        said[f"{name}_seeds"] = _attrs(
            f"number of seeds that {name} is the mean of; 0 where none takes part", "[0, inf)"
        )
    for name in ("shares_basis", "is_converged"):
        said[name] |= {"units": "1", "range": "0 or 1"}
    for name in results.variables:
        results[name].attrs.update(said.get(str(name), {}))
    return results


def _by_row_and_column(metric: str, direction: str) -> str:
    """Whose layers the rows and columns of a matrix are: rows of a flow are of the reference."""
    axes = ("row_layer", "column_layer")
    reference, target = axes if metric.startswith("flow") else axes[::-1]
    return direction.replace("reference_layer", reference).replace("target_layer", target)


def _of_columns(schema: TableSchema) -> Iterator[tuple[str, dict[str, str]]]:
    renamed = _RENAMED.get(schema, {})
    for column in schema.columns:
        said = {"meaning": column.meaning}
        numbers = {"units": column.unit, "range": column.range} if column.unit else {}
        yield renamed.get(column.name, column.name), said | numbers


def _attrs(meaning: str, values: str) -> dict[str, str]:
    return {"meaning": meaning, "units": "1", "range": values}


def _table(lake: Lake, schema: TableSchema) -> pa.Table:
    key = f"{schema.name}.parquet"
    try:
        return lake.read_object(schema, key)
    except FileNotFoundError:
        raise LakeError(
            f"{lake.objects.location(key)}: no results; give a job's folder (<lake>/jobs/<name>) "
            "and run the job first"
        ) from None


def _table_or_empty(lake: Lake, schema: TableSchema) -> pa.Table:
    try:
        return lake.read_object(schema, f"{schema.name}.parquet")
    except FileNotFoundError:
        return schema.arrow().empty_table()


def _scores(frame: pd.DataFrame) -> xr.Dataset:
    keys = list(RESULTS.key)
    # As numbers: in places without an inversion there is neither True nor False.
    indexed = frame.astype({"is_converged": float}).set_index(keys)
    scores = xr.Dataset.from_dataframe(indexed.drop(columns=list(_PER_INVERSION)))
    inversions = indexed.groupby(level=keys[:-1])[list(_PER_INVERSION)].first()
    both = xr.merge([scores, xr.Dataset.from_dataframe(inversions)], join="outer")
    every = both.reindex(direction=list(DIRECTIONS))
    return every.transpose("model", "direction", "epoch", "seed", "reference_layer", ...)


def _matrices(table: pa.Table) -> xr.Dataset:
    frame: pd.DataFrame = table.to_pandas()
    keys = [name for name in MATRICES.key if name != "metric"]
    named = {
        "mean": "",
        "std": "_std",
        "seeds": "_seeds",
        "drift": "_drift",
        "is_moving": "_is_moving",
    }
    places = frame[keys].drop_duplicates().set_index(keys).index
    arrays = {}
    for metric in METRICS:
        rows = frame[frame["metric"] == metric].drop(columns="metric").set_index(keys)
        cells = xr.Dataset.from_dataframe(rows.reindex(places))
        for column, suffix in named.items():
            arrays[f"{metric}{suffix}"] = cells[column].astype(np.float64)
    return xr.Dataset(arrays).transpose("model", "estimator", "epoch", ...)


def _history(table: pa.Table) -> xr.Dataset:
    frame = table.to_pandas().drop(columns="weights")
    frame = frame.rename(columns={"model": "trained_model", "epoch": "training_epoch"})
    return xr.Dataset.from_dataframe(frame.set_index(["trained_model", "training_epoch"]))


def _subspaces(frame: pd.DataFrame) -> xr.Dataset:
    named = frame.rename(columns=_RENAMED[SUBSPACE_SIMILARITY]).astype({"shares_basis": float})
    cells = named.set_index(["model", "epoch", "pretrained_layer", "compared_layer"])
    arrays = xr.Dataset.from_dataframe(cells.drop(columns=["images", "shares_basis"]))
    return arrays.assign(shares_basis=named.groupby("model")["shares_basis"].max().to_xarray())


def _robustness(frame: pd.DataFrame) -> xr.Dataset:
    named = frame.rename(columns=_RENAMED[ROBUSTNESS])
    keys = ["trained_model", "training_epoch", "corruption", "severity"]
    return xr.Dataset.from_dataframe(named.set_index(keys)).set_coords("accuracy_source")
