"""From parts to results: one tidy table, the matrices with their spread, the training history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.layout import result_key
from stir_ray.lake.schemas import (
    COMPARISONS,
    HISTORY,
    INVERSIONS,
    MATRICES,
    RESULTS,
    TRAININGS,
    TableSchema,
)
from stir_ray.lake.tables import Lake, build, encode, provenance
from stir_ray.numerics import metrics
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Checkpoint, Comparison, Role, Train
from stir_ray.stages.study import training_history, trainings

_RECIPE = 1
PT_PT, FT_PT, FT_FT, PT_FT = "pt|pt", "ft|pt", "ft|ft", "pt|ft"


@dataclass(frozen=True)
class Cell:
    """A comparison and its place in the results."""

    model: Role
    epoch: int
    direction: str
    comparison: Comparison


def cells(study: Study) -> Iterator[Cell]:
    """Every place in the results. Places of equal models share their comparison."""
    pt = study.pretrained
    for role, checkpoints in study.compared.items():
        for ft in checkpoints:
            for direction, reference, target in _directions(pt, ft):
                for seed in study.seeds:
                    for layer in study.question.layers:
                        comparison = Comparison(study.question, reference, target, layer, seed)
                        yield Cell(role, ft.epoch, direction, comparison)


def _directions(pt: Checkpoint, ft: Checkpoint) -> tuple[tuple[str, Checkpoint, Checkpoint], ...]:
    """Name, reference (inverted) and target (looks)."""
    return ((PT_PT, pt, pt), (FT_PT, pt, ft), (FT_FT, ft, ft), (PT_FT, ft, pt))


@dataclass(frozen=True)
class Reduced:
    """What a reduction made of a job.

    Attributes:
        inputs: digest of all that the results were made from.
        cells: places in the results, each a layer of one inverted model and seed.
        missing: those without a number yet; they are absent from the results, never zero.
    """

    inputs: str
    cells: int
    missing: int


def reduce_job(job: Job, study: Study, lake: Lake) -> Reduced:
    """Write a job's results, unless those in the lake are of just these parts already."""
    compared, inverted = lake.stored(COMPARISONS), lake.stored(INVERSIONS)
    places = list(cells(study))
    present = [
        cell
        for cell in places
        if cell.comparison.part.id in compared and cell.comparison.inversion.id in inverted
    ]
    histories = {task.name: task for task in _finished(job, lake)}
    inputs = content_id(
        "results",
        recipe=_RECIPE,
        cells=[
            [cell.model, cell.epoch, cell.direction, cell.comparison.part.id] for cell in present
        ],
        histories={name: task.id for name, task in histories.items()},
        residual_limit=job.inversion.residual_limit,
        assume_self_stir_one=job.assume_self_stir_one,
    )
    reduced = Reduced(inputs, len(places), len(places) - len(present))
    if not all(_is_current(lake, job, schema, inputs) for schema in (RESULTS, MATRICES, HISTORY)):
        results = _results(present, job, lake)
        _write(lake, job, RESULTS, results, inputs)
        _write(lake, job, MATRICES, _matrices(results, job, study.question.layers), inputs)
        _write(lake, job, HISTORY, _history(histories, lake), inputs)
    return reduced


def _finished(job: Job, lake: Lake) -> Iterator[Train]:
    recorded = lake.stored(TRAININGS)
    return (task for task in trainings(job, lake) if task.id in recorded)


def _is_current(lake: Lake, job: Job, schema: TableSchema, inputs: str) -> bool:
    key = result_key(job.name, schema.name)
    if not lake.objects.exists(key):
        return False
    return provenance(lake.read_object(schema, key)).get("inputs") == inputs


def _write(lake: Lake, job: Job, schema: TableSchema, table: pa.Table, inputs: str) -> None:
    made = {"inputs": inputs, "job": job.model_dump(mode="json")}
    lake.objects.put(result_key(job.name, schema.name), encode(table, made))


def _results(present: list[Cell], job: Job, lake: Lake) -> pa.Table:
    comparison_ids = sorted({cell.comparison.part.id for cell in present})
    inversion_ids = sorted({cell.comparison.inversion.id for cell in present})
    limit = job.inversion.residual_limit
    compared = dict(zip(comparison_ids, lake.read_parts(COMPARISONS, comparison_ids), strict=True))
    residuals = {
        part_id: _quantiles(table["residual"].to_numpy(), limit)
        for part_id, table in zip(
            inversion_ids, lake.read_parts(INVERSIONS, inversion_ids), strict=True
        )
    }
    tables = [
        _placed(
            cell,
            compared[cell.comparison.part.id],
            residuals[cell.comparison.inversion.id],
        )
        for cell in present
    ]
    return pa.concat_tables(tables) if tables else RESULTS.arrow().empty_table()


def _quantiles(residual: np.ndarray, limit: float) -> dict[str, float | int]:
    low, median, high = np.quantile(residual, [0.05, 0.5, 0.95])
    return {
        "residual_q05": low,
        "residual_median": median,
        "residual_q95": high,
        "residual_max": residual.max(),
        "unconverged": int((residual > limit).sum()),
    }


def _placed(cell: Cell, compared: pa.Table, residuals: Mapping[str, float | int]) -> pa.Table:
    shared = {name: compared[name].to_pylist() for name in compared.column_names if name in _NAMES}
    place = {"model": cell.model, "epoch": cell.epoch, "direction": cell.direction}
    return build(RESULTS, {**shared, **place, **residuals})


_NAMES = {column.name for column in RESULTS.columns}


def _matrices(results: pa.Table, job: Job, layers: tuple[int, ...]) -> pa.Table:
    frame = results.to_pandas()
    tables = [
        _metric_table(str(model), int(str(epoch)), metric, estimator, layers, values)
        for (model, epoch), of_epoch in frame.groupby(["model", "epoch"], sort=False)
        for estimator, suffix in (("biased", ""), ("unbiased", "_unbiased"))
        for metric, values in _metrics(of_epoch, suffix, job, layers).items()
    ]
    return pa.concat_tables(tables) if tables else MATRICES.arrow().empty_table()


def _metrics(of_epoch, suffix: str, job: Job, layers: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Every metric as an array (seed, row layer, column layer); NaN where a number is missing."""

    def array(column: str, direction: str) -> np.ndarray:
        rows = of_epoch[of_epoch["direction"] == direction]
        found = np.full((len(job.seeds), len(layers), len(layers)), np.nan)
        seed, target, reference = (
            [order.index(value) for value in rows[name]]
            for order, name in (
                (job.seeds, "seed"),
                (layers, "target_layer"),
                (layers, "reference_layer"),
            )
        )
        found[seed, target, reference] = rows[column + suffix]
        return found

    def own(direction: str) -> np.ndarray:
        measured = array("stir", direction)
        return metrics.with_self_stir_one(measured) if job.assume_self_stir_one else measured

    pt_given_pt, ft_given_pt = own(PT_PT), array("stir", FT_PT)
    flow = metrics.invariance_flow(ft_given_pt=ft_given_pt)
    control = metrics.flow_control(pt_given_pt=pt_given_pt)
    return {
        "forgetting": metrics.forgetting(pt_given_pt=pt_given_pt, ft_given_pt=ft_given_pt),
        "learning": metrics.learning(ft_given_ft=own(FT_FT), pt_given_ft=array("stir", PT_FT)),
        "cka_divergence": metrics.cka_divergence(
            pt_with_pt=array("cka", PT_PT), ft_with_pt=array("cka", FT_PT)
        ),
        "flow": flow,
        "flow_control": control,
        "flow_beyond_control": flow - control,
    }


def _metric_table(
    model: str,
    epoch: int,
    metric: str,
    estimator: str,
    layers: tuple[int, ...],
    values: np.ndarray,
) -> pa.Table:
    present = np.isfinite(values)
    seeds = present.sum(axis=0)
    row, column = np.nonzero(seeds)
    count = seeds[row, column]
    of_cell = np.where(present, values, 0.0)[:, row, column]
    mean = of_cell.sum(axis=0) / count
    squares = np.where(present[:, row, column], (of_cell - mean) ** 2, 0.0).sum(axis=0)
    numbers = np.asarray(layers)
    return build(
        MATRICES,
        {
            "model": model,
            "epoch": epoch,
            "metric": metric,
            "estimator": estimator,
            "row_layer": numbers[row],
            "column_layer": numbers[column],
            "mean": mean,
            "std": np.sqrt(squares / np.maximum(count - 1, 1)),
            "seeds": count,
        },
    )


def _history(histories: Mapping[Role, Train], lake: Lake) -> pa.Table:
    tables = [
        build(
            HISTORY,
            {"model": name, **training_history(task, lake).drop(["location"]).to_pydict()},
        )
        for name, task in histories.items()
    ]
    return pa.concat_tables(tables) if tables else HISTORY.arrow().empty_table()
