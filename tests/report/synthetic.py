"""Made-up results of a job, smooth and plausible, through the same tables as real ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import encode, make_table, open_lake
from stir_ray.lake.schemas import HISTORY, MATRICES, RESULTS, ROBUSTNESS, TableSchema
from stir_ray.measures.subspaces import SUBSPACES
from stir_ray.numerics import metrics
from stir_ray.numerics.criteria import is_moving
from stir_ray.results.dataset import open_results

DIRECTIONS = ("pt|pt", "ft|pt", "ft|ft", "pt|ft")
IMAGES = 61
DIRECTIONS_COMPARED, CHANCE = 7, 7 / 29


@dataclass(frozen=True)
class Shape:
    """What a made-up job measured.

    Attributes:
        layers: blocks, from 1.
        epochs: of the finetuned model.
        scratch_epoch: the one epoch of the model trained from scratch; None without one.
        history: whether the trainings are known.
        severities: at which the finetuned model is tested; () for not at all.
        without: (model, direction, reference layer) of which there is no part yet.
    """

    layers: tuple[int, ...] = (1, 2, 3, 5, 7)
    epochs: tuple[int, ...] = (0, 1, 2)
    seeds: tuple[int, ...] = (0, 1)
    scratch_epoch: int | None = 4
    history: bool = True
    severities: tuple[int, ...] = ()
    without: frozenset[tuple[str, str, int]] = frozenset()


def synthetic_results(folder: Path, shape: Shape | None = None) -> xr.Dataset:
    """The dataset of a made-up job, written to a lake in `folder` and read back."""
    shape = shape or Shape()
    results = list(_results(shape))
    _write(folder, RESULTS, [row for rows in results for row in rows])
    _write(folder, MATRICES, _matrices(shape))
    _write(folder, HISTORY, _history(shape))
    _write(folder, SUBSPACES.result_table, subspaces(shape))
    _write(folder, ROBUSTNESS, _robustness(shape))
    return open_results(str(folder / "jobs" / "synthetic"))


def _write(folder: Path, schema: TableSchema, tables: Iterable[pa.Table]) -> None:
    tables = list(tables)
    table = pa.concat_tables(tables) if tables else schema.arrow().empty_table()
    open_lake(str(folder)).objects.put(result_key("synthetic", schema.name), encode(table, {}))


def _checkpoints(shape: Shape) -> list[tuple[str, int]]:
    finetuned = [("finetuned", epoch) for epoch in shape.epochs]
    scratch = [] if shape.scratch_epoch is None else [("from_scratch", shape.scratch_epoch)]
    return finetuned + scratch


def _change(shape: Shape, model: str, epoch: int) -> NDArray[np.float64]:
    """How far each layer went from the pretrained one, in [0, 1]; deeper layers go further."""
    depth = np.array(shape.layers) / max(shape.layers)
    if model == "from_scratch":
        return 0.75 + 0.15 * depth
    return (0.08 + 0.5 / (1 + np.exp(-9 * (depth - 0.55)))) * (1 - np.exp(-epoch / 2))


def stir(shape: Shape, model: str, epoch: int, direction: str, seed: int) -> NDArray[np.float64]:
    """STIR (target layer, reference layer) of one direction and seed."""
    target, reference = direction.split("|")
    layers = np.array(shape.layers, dtype=float)
    distance = layers[None, :] - layers[:, None]
    # Deeper layers keep what shallower ones share; shallower ones lose what deeper ones ignore.
    scale = np.where(distance > 0, 2.5, 20.0)
    kept = np.exp(-np.abs(distance) / scale)
    if target != reference:
        lost = _change(shape, model, epoch)
        kept = kept * (1 - lost[:, None]) * (1 - 0.2 * lost[None, :])
    if direction == "pt|ft":
        kept = 0.95 * kept
    wobble = np.random.default_rng([seed, epoch, DIRECTIONS.index(direction), len(model)])
    noise = 0.005 if target == reference else 0.05
    return np.clip(kept - 0.001 - noise * wobble.random(kept.shape), 0.0, 1.0)


def _cka(shape: Shape, model: str, epoch: int, direction: str) -> NDArray[np.float64]:
    target, reference = direction.split("|")
    layers = np.array(shape.layers, dtype=float)
    alike = np.exp(-np.abs(layers[None, :] - layers[:, None]) / 8)
    if target == reference:
        return alike
    return alike * (1 - 0.55 * _change(shape, model, epoch)[:, None] ** 2)


def _results(shape: Shape) -> Iterator[Iterator[pa.Table]]:
    for model, epoch in _checkpoints(shape):
        for direction in DIRECTIONS:
            for seed in shape.seeds:
                yield _rows(shape, model, epoch, direction, seed)


def _rows(shape: Shape, model: str, epoch: int, direction: str, seed: int) -> Iterator[pa.Table]:
    scores = stir(shape, model, epoch, direction, seed)
    cka = _cka(shape, model, epoch, direction)
    count = len(shape.layers)
    for column, reference in enumerate(shape.layers):
        if (model, direction, reference) in shape.without:
            continue
        depth = reference / max(shape.layers)
        median = 0.02 + 0.09 * depth + 0.01 * (direction.endswith("ft")) + 0.002 * seed
        yield make_table(
            RESULTS,
            {
                "model": model,
                "epoch": epoch,
                "direction": direction,
                "seed": seed,
                "reference_layer": reference,
                "target_layer": list(shape.layers),
                "images": IMAGES,
                "stir": scores[:, column],
                "stir_unbiased": scores[:, column] ** 1.2 - 0.01,
                "stir_drift": stir_drift(shape, direction)[:, column],
                "stir_unbiased_drift": 1.25 * stir_drift(shape, direction)[:, column],
                "cka": cka[:, column],
                "cka_unbiased": cka[:, column] ** 1.2 - 0.01,
                "noise_stir": 0.3 + 0.02 * np.arange(count) + 0.01 * seed,
                "noise_stir_unbiased": 0.02 - 0.01 * np.arange(count) + 0.01 * seed,
                "chance_stir": 0.2 + 0.005 * np.arange(count) + 0.01 * seed,
                "chance_stir_unbiased": 0.01 * np.cos(np.arange(count)),
                "chance_stir_q95": 0.23 + 0.005 * np.arange(count) + 0.01 * seed,
                "chance_stir_unbiased_q95": 0.04 + 0.01 * np.cos(np.arange(count)),
                "residual_q05": 0.6 * median,
                "residual_median": median,
                "residual_q95": 1.9 * median,
                "residual_max": 4.0 * median,
                "centred_residual_median": 1.5 * median,
                "centred_residual_q95": 2.5 * median,
                "centred_residual_max": 6.0 * median,
                "unconverged": int(20 * max(0.0, depth - 0.6)),
                "not_inverted": int(5 * max(0.0, depth - 0.8)),
                "stuck": int(depth == 1),
                "iterations": 400 if depth > 0.6 else 200,
                "is_converged": depth <= 0.6,
            },
        )


def _matrices(shape: Shape) -> Iterator[pa.Table]:
    for model, epoch in _checkpoints(shape):
        for estimator in ("biased", "unbiased"):
            for metric, values in matrices(shape, model, epoch, estimator).items():
                place = {"model": model, "epoch": epoch, "estimator": estimator}
                yield _metric_table(shape, values, metric=metric, **place)


_MOVES = {"pt|pt": 0.2, "ft|pt": 1.0, "ft|ft": 0.3, "pt|ft": -0.8}


def stir_drift(shape: Shape, direction: str) -> NDArray[np.float64]:
    """Change of biased STIR since half the steps (target layer, reference layer)."""
    targets, references = np.meshgrid(shape.layers, shape.layers, indexing="ij")
    return 0.02 * _MOVES[direction] * references / max(shape.layers) * np.cos(targets)


def drifts(shape: Shape, estimator: str) -> dict[str, NDArray[np.float64]]:
    """Change of every metric as (row layer, column layer): of each a sum of changes of STIR."""
    factor = 1.0 if estimator == "biased" else 1.25
    moved = {name: factor * stir_drift(shape, name) for name in _MOVES}
    flow = metrics.invariance_flow(ft_given_pt=moved["ft|pt"])
    control = metrics.flow_control(pt_given_pt=moved["pt|pt"])
    return {
        "forgetting": moved["pt|pt"] - moved["ft|pt"],
        "learning": moved["ft|ft"] - moved["pt|ft"],
        "cka_divergence": np.zeros_like(flow),
        "flow": flow,
        "flow_control": control,
        "flow_beyond_control": flow - control,
    }


def matrices(
    shape: Shape, model: str, epoch: int, estimator: str
) -> dict[str, NDArray[np.float64]]:
    """Every metric as (seed, row layer, column layer); NaN where a part is missing."""

    def array(direction: str) -> NDArray[np.float64]:
        scores = np.stack([stir(shape, model, epoch, direction, seed) for seed in shape.seeds])
        for column, reference in enumerate(shape.layers):
            if (model, direction, reference) in shape.without:
                scores[:, :, column] = np.nan
        return scores if estimator == "biased" else scores**1.2 - 0.01

    def cka(direction: str) -> NDArray[np.float64]:
        seeds = [0.0 * array(direction)[n] for n in range(len(shape.seeds))]
        alike = np.stack([_cka(shape, model, epoch, direction) + seed for seed in seeds])
        return alike if estimator == "biased" else alike**1.2 - 0.01

    pt_given_pt, ft_given_pt = array("pt|pt"), array("ft|pt")
    flow = metrics.invariance_flow(ft_given_pt=ft_given_pt)
    control = metrics.flow_control(pt_given_pt=pt_given_pt)
    return {
        "forgetting": metrics.forgetting(pt_given_pt=pt_given_pt, ft_given_pt=ft_given_pt),
        "learning": metrics.learning(ft_given_ft=array("ft|ft"), pt_given_ft=array("pt|ft")),
        "cka_divergence": metrics.cka_divergence(pt_with_pt=cka("pt|pt"), ft_with_pt=cka("ft|pt")),
        "flow": flow,
        "flow_control": control,
        "flow_beyond_control": flow - control,
    }


def _metric_table(
    shape: Shape, values: NDArray[np.float64], *, metric: str, **place: str | int
) -> pa.Table:
    row, column = np.nonzero(np.isfinite(values).all(axis=0))
    of_cell = values[:, row, column]
    mean = of_cell.mean(axis=0)
    drift = drifts(shape, str(place["estimator"]))[metric][row, column]
    layers = np.array(shape.layers)
    # No inversion takes part in CKA.
    count = 0 if metric == "cka_divergence" else len(shape.seeds)
    return make_table(
        MATRICES,
        {
            **place,
            "metric": metric,
            "row_layer": layers[row],
            "column_layer": layers[column],
            "mean": mean,
            "drift": drift,
            "is_moving": is_moving(mean, drift),
            "std": of_cell.std(axis=0, ddof=1) if count > 1 else np.nan,
            "seeds": count,
        },
    )


def _history(shape: Shape) -> Iterator[pa.Table]:
    if not shape.history:
        return
    yield _training("pretrained", range(3), best=0.93)
    yield _training("finetuned", shape.epochs, best=0.97)
    if shape.scratch_epoch is not None:
        yield _training("from_scratch", range(shape.scratch_epoch + 1), best=0.95)


def _training(model: str, epochs: Sequence[int], *, best: float) -> pa.Table:
    passed = np.array(epochs, dtype=float)
    return make_table(
        HISTORY,
        {
            "model": model,
            "epoch": list(epochs),
            "weights": [f"{model}{epoch}" for epoch in epochs],
            "train_loss": 2.0 * np.exp(-passed),
            "test_loss": 2.1 * np.exp(-passed),
            "test_accuracy": best - (best - 0.2) * np.exp(-1.3 * passed),
        },
    )


def similarity(shape: Shape, model: str, epoch: int) -> NDArray[np.float64]:
    """Subspace similarity (target layer, reference layer)."""
    layers = np.array(shape.layers, dtype=float)
    alike = np.exp(-np.abs(layers[None, :] - layers[:, None]) / 3)
    return CHANCE + (1 - CHANCE) * alike * (1 - 0.8 * _change(shape, model, epoch)[:, None])


def subspaces(shape: Shape) -> Iterator[pa.Table]:
    count = len(shape.layers)
    for model, epoch in _checkpoints(shape):
        yield make_table(
            SUBSPACES.result_table,
            {
                "model": model,
                "epoch": epoch,
                "reference_layer": list(shape.layers) * count,
                "target_layer": [layer for layer in shape.layers for _ in shape.layers],
                "images": IMAGES,
                "directions": DIRECTIONS_COMPARED,
                "chance": CHANCE,
                "subspace_similarity": similarity(shape, model, epoch).ravel(),
                "shares_basis": model == "finetuned",
            },
        )


def accuracy_under(epoch: int, corruption: str, severity: int) -> float:
    """Of the finetuned model; robustness is lost again once the clean accuracy is had."""
    learnt = 0.93 - 0.6 * np.exp(-0.9 * epoch)
    lost = 0.08 * severity * (1 - np.exp(-epoch / 4)) + 0.03 * severity
    return float(learnt - lost - 0.02 * severity * (corruption == "snow"))


def _robustness(shape: Shape) -> Iterator[pa.Table]:
    conditions = [("clean", 0)] if shape.severities else []
    conditions += [(name, severity) for name in ("fog", "snow") for severity in shape.severities]
    for epoch in shape.epochs if conditions else ():
        accuracies = [accuracy_under(epoch, *condition) for condition in conditions]
        yield make_table(
            ROBUSTNESS,
            {
                "model": "finetuned",
                "epoch": epoch,
                "corruption": [name for name, _ in conditions],
                "severity": [severity for _, severity in conditions],
                "images": 97,
                "accuracy": accuracies,
                "loss": [1 - accuracy for accuracy in accuracies],
                "source": ["regenerated" if severity else "clean" for _, severity in conditions],
            },
        )
