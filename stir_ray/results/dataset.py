"""Read the results of a job as an `xarray.Dataset`."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.errors import LakeError
from stir_ray.lake.parquet import Lake, open_lake, provenance
from stir_ray.lake.schemas import HISTORY, MATRICES, RESULTS, ROBUSTNESS, TableSchema
from stir_ray.measures.subspaces import SUBSPACES
from stir_ray.results.job_metrics import scores_of
from stir_ray.results.metric_info import DIRECTIONS, METRICS

_PER_INVERSION = [
    *(f"residual_{name}" for name in ("q05", "median", "q95", "max")),
    *(f"centered_residual_{name}" for name in ("median", "q95", "max")),
    *("unconverged", "not_inverted", "stuck", "iterations", "is_converged", "images"),
]
"""Columns of the results that do not depend on the target."""
_TABLES = (SUBSPACES.result_table, ROBUSTNESS, HISTORY, MATRICES, RESULTS)
"""The last that has a name gives its meaning."""
_RENAMED = {
    # The similarity also covers layers that were not inverted: other coordinates than the results'.
    SUBSPACES.result_table: {
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
    HISTORY: {"model": "trained_model", "epoch": "training_epoch"},
}
_STATISTICS = {
    "mean": ("", "{meaning}; mean over seeds", ""),
    "std": (
        "_std",
        "standard deviation of {name} over seeds, with n - 1; NaN of a single seed or none",
        "[0, inf)",
    ),
    "seeds": ("_seeds", "number of seeds averaged in {name}; 0 where none takes part", "[0, inf)"),
    "drift": ("_drift", "change of {name} since half the steps: its possible error", "[-4, 4]"),
    "is_moving": (
        "_is_moving",
        "1 if {name} changed by more than 0.01, or a third of itself, since half the steps; else 0",
        "0 or 1",
    ),
}
"""Suffix, meaning and range of the columns of the table `matrices`."""


def open_results(path: str) -> xr.Dataset:
    """Open the scores, metrics, training histories and accuracies of a job.

    The tables of optional measures (`other_similarities`, `unchanged_predictions`,
    `metamer_counts`) and of an analysis (`hypotheses`, `correlations`,
    `learning_with_forgetting`) lie in the same folder as Parquet; `stir-ray sql` reads all.

    Example:
        results = stir_ray.open_results("lake/jobs/digits")
        results["stir_unbiased"].sel(model="finetuned", direction="ft|pt", epoch=8).mean("seed")

    Args:
        path: the job's folder or URL in its lake, e.g. `lake/jobs/digits` or
            `s3://bucket/lake/jobs/digits`.

    Returns:
        A dataset in which missing numbers are NaN. Layers are numbered from 1; `estimator` is that
        of HSIC, `biased` or `unbiased`. Its variables and their dimensions:

        - `stir`, `cka`, … of the table `results`: (model, direction, epoch, seed, reference_layer,
          target_layer). Direction `ft|pt` is STIR(ft | pt): images inverted from pt, shown to ft.
          In [0, 1], and those that end in `_unbiased` in [−1, 1].
        - `residual_median`, `centered_residual_q95`, `iterations`, `is_converged`, …: the same
          without target_layer.
        - `learning`, `forgetting`, `cka_divergence`, `flow`, `flow_control`,
          `flow_beyond_control`: mean over seeds, (model, estimator, epoch, row_layer,
          column_layer), in [−1, 1] by the biased estimator, the last one in [−2, 2]; with the
          suffixes `_std` and `_seeds` their standard deviation and number of seeds; `_drift` their
          change since half the steps of the inversions, `_is_moving` 1 where that is too much for
          them to be taken as final.
        - `subspace_similarity`, to be read with `subspace_chance` and `subspace_directions`:
          (model, epoch, pretrained_layer, compared_layer), in [0, 1]. `shares_basis`: (model), 1 if
          its similarity is meaningful, else 0.
        - `train_loss`, `test_loss`, `test_accuracy`: (trained_model, training_epoch).
        - `accuracy`, `loss` and `tested_images` of the table `robustness`: (trained_model,
          training_epoch, corruption, severity). Clean images have corruption `clean`, severity 0.
          The coordinate `accuracy_source` names the images: `regenerated`, `released` or `clean`;
          empty where nothing was tested.

        Every variable has the attributes `meaning`, `units` and `range`, and a metric also
        `long_name`, `source` of the formula and `direction`. All is in memory: 100 epochs of 12
        layers, 3 seeds and 4 directions are 17 MB, and open in 0.4 s from a disk.

    Raises:
        LakeError: if there are no results, no number in them yet, or they are half rewritten.
        CorruptArtifact: if a table is damaged.

    Metrics are those of Merlin et al. 2023 (PMLR 232:601-619), STIR of Nanda et al. 2022 (ICML),
    CKA of Kornblith et al. 2019 (ICML), unbiased by Song et al. 2012 (JMLR), subspace similarity of
    Ramasesh et al. 2021.
    """
    lake = open_lake(path)  # A job's folder is no lake, but is read in the same way.
    tables = {schema: _read(lake, schema) for schema in _TABLES}
    if len({provenance(table).get("inputs") for table in tables.values()}) > 1:
        raise LakeError(
            f"{lake.objects.location()}: its tables are of different runs; `stir-ray reduce` first"
        )
    if tables[RESULTS].num_rows == 0:
        raise LakeError(f"{lake.objects.location()}: no cell of this job has a number yet")
    frames: dict[TableSchema, pd.DataFrame] = {
        schema: table.to_pandas().rename(columns=_RENAMED.get(schema, {}))
        for schema, table in tables.items()
    }
    merged = xr.merge(
        [
            _scores(frames[RESULTS]),
            _matrices(frames[MATRICES]),
            _subspaces(frames[SUBSPACES.result_table]),
            _indexed(frames[HISTORY].drop(columns="weights"), HISTORY),
            _indexed(frames[ROBUSTNESS], ROBUSTNESS).set_coords("accuracy_source"),
        ],
        join="outer",
    )
    source = merged["accuracy_source"].fillna("").astype(str)
    merged = merged.assign_coords(accuracy_source=source)
    meanings = dict(_meanings())
    for name, variable in merged.variables.items():
        variable.attrs.update(meanings.get(str(name), {}))
    return merged


def _read(lake: Lake, schema: TableSchema) -> pa.Table:
    key = f"{schema.name}.parquet"
    try:
        return lake.read_object(schema, key)
    except FileNotFoundError:
        raise LakeError(
            f"{lake.objects.location(key)}: no results; give a job's folder (<lake>/jobs/<name>) "
            "and run the job first"
        ) from None


def _indexed(frame: pd.DataFrame, schema: TableSchema) -> xr.Dataset:
    renamed = _RENAMED.get(schema, {})
    return xr.Dataset.from_dataframe(frame.set_index([renamed.get(key, key) for key in schema.key]))


def _scores(frame: pd.DataFrame) -> xr.Dataset:
    # As numbers: cells without an inversion are neither True nor False.
    frame = frame.astype({"is_converged": float})
    inversions = frame.groupby(list(RESULTS.key[:-1]))[_PER_INVERSION].first().to_xarray()
    merged = xr.merge([scores_of(frame.drop(columns=_PER_INVERSION)), inversions], join="outer")
    merged = merged.reindex(direction=list(DIRECTIONS))
    return merged.transpose("model", "direction", "epoch", "seed", "reference_layer", ...)


def _matrices(frame: pd.DataFrame) -> xr.Dataset:
    values = dict.fromkeys(_STATISTICS, np.float64)
    cells = _indexed(frame.astype(values), MATRICES).reindex(metric=list(METRICS))
    arrays = {
        f"{metric}{suffix}": cells[column].sel(metric=metric, drop=True)
        for metric in METRICS
        for column, (suffix, _, _) in _STATISTICS.items()
    }
    return xr.Dataset(arrays).transpose("model", "estimator", "epoch", ...)


def _subspaces(frame: pd.DataFrame) -> xr.Dataset:
    frame = frame.astype({"shares_basis": float})
    arrays = _indexed(frame.drop(columns=["images", "shares_basis"]), SUBSPACES.result_table)
    return arrays.assign(shares_basis=frame.groupby("model")["shares_basis"].max().to_xarray())


def _meanings() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the attributes of every variable."""
    for schema in _TABLES:
        for column in schema.columns:
            attrs = {"meaning": column.meaning}
            if column.unit or column.name in {"shares_basis", "is_converged"}:
                attrs |= {"units": column.unit or "1", "range": column.range or "0 or 1"}
            yield _RENAMED.get(schema, {}).get(column.name, column.name), attrs
    for name, metric in METRICS.items():
        for suffix, meaning, values in _STATISTICS.values():
            attrs = {"units": "1", "range": values}
            if not suffix:
                # Rows of a flow are of the reference, else of the target.
                layers = ("row_layer", "column_layer")
                reference, target = layers if name.startswith("flow") else layers[::-1]
                direction = metric.direction.replace("reference_layer", reference)
                attrs = metric.attrs() | {"direction": direction.replace("target_layer", target)}
            attrs["meaning"] = meaning.format(name=name, meaning=metric.meaning)
            yield f"{name}{suffix}", attrs
