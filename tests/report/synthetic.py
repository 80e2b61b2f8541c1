"""Made-up results of a job, smooth and plausible, through the same tables as real ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import encode, make_table, open_lake
from stir_ray.lake.schemas import HISTORY, MATRICES, RESULTS, ROBUSTNESS, TableSchema
from stir_ray.measures.metamers import METAMERS
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.measures.subspaces import SUBSPACES
from stir_ray.numerics import metrics
from stir_ray.numerics.criteria import is_moving
from stir_ray.results.dataset import open_results

DIRECTIONS = ("pt|pt", "ft|pt", "ft|ft", "pt|ft")
IMAGES = 61
DIRECTIONS_COMPARED, CHANCE = 7, 7 / 29


@dataclass(frozen=True)
class Shape:
    """What a made-up job measured."""

    layers: tuple[int, ...] = (1, 2, 3, 5, 7)  # blocks, from 1
    epochs: tuple[int, ...] = (0, 1, 2)  # of the finetuned model
    seeds: tuple[int, ...] = (0, 1)
    scratch_epoch: int | None = 4  # the one epoch of the model trained from scratch, if there is
    history: bool = True  # whether the trainings are known
    severities: tuple[int, ...] = ()  # at which the finetuned model is tested; () for not at all
    # (model, direction, reference layer) of which there is no artifact yet
    without: frozenset[tuple[str, str, int]] = frozenset()

    @property
    def checkpoints(self) -> list[tuple[str, int]]:
        """Compared models with their epochs."""
        scratch = [] if self.scratch_epoch is None else [("from_scratch", self.scratch_epoch)]
        return [*(("finetuned", epoch) for epoch in self.epochs), *scratch]

    def inverted(self, model: str, direction: str) -> list[int]:
        """Return the layers whose inversions are there."""
        return [n for n in self.layers if (model, direction, n) not in self.without]


def synthetic_results(folder: Path, shape: Shape | None = None) -> xr.Dataset:
    """The dataset of a made-up job, written to a lake in `folder` and read back."""
    shape = shape or Shape()
    _write(folder, RESULTS, _results(shape))
    _write(folder, MATRICES, _matrices(shape))
    _write(folder, HISTORY, _history(shape))
    _write(folder, SUBSPACES.result_table, _subspaces(shape))
    _write(folder, ROBUSTNESS, _robustness(shape))
    return open_results(str(folder / "jobs" / "synthetic"))


def measure_tables(folder: Path, shape: Shape) -> dict[str, pd.DataFrame]:
    """The tables of all measures with charts, written to a lake in `folder` and read back."""
    return {
        measure.result: _write(folder, measure.result_table, make(shape))
        for measure, make in (
            (METAMERS, _metamers),
            (PREDICTIONS, _unchanged),
            (SIMILARITIES, _similarities),
            (SUBSPACES, _subspaces),
        )
    }


def _write(folder: Path, schema: TableSchema, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    tables = [make_table(schema, columns) for columns in rows]
    table = pa.concat_tables(tables) if tables else schema.arrow().empty_table()
    open_lake(str(folder)).objects.put(result_key("synthetic", schema.name), encode(table, {}))
    return table.to_pandas()


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


def _results(shape: Shape) -> Iterator[dict[str, Any]]:
    for (model, epoch), direction, seed in product(shape.checkpoints, DIRECTIONS, shape.seeds):
        scores = stir(shape, model, epoch, direction, seed)
        cka, drift = _cka(shape, model, epoch, direction), stir_drift(shape, direction)
        n = np.arange(len(shape.layers))
        for reference in shape.inverted(model, direction):
            column = shape.layers.index(reference)
            depth = reference / max(shape.layers)
            median = 0.02 + 0.09 * depth + 0.01 * (direction.endswith("ft")) + 0.002 * seed
            yield {
                "model": model,
                "epoch": epoch,
                "direction": direction,
                "seed": seed,
                "reference_layer": reference,
                "target_layer": list(shape.layers),
                "images": IMAGES,
                "stir": scores[:, column],
                "stir_unbiased": scores[:, column] ** 1.2 - 0.01,
                "stir_drift": drift[:, column],
                "stir_unbiased_drift": 1.25 * drift[:, column],
                "cka": cka[:, column],
                "cka_unbiased": cka[:, column] ** 1.2 - 0.01,
                "noise_stir": 0.3 + 0.02 * n + 0.01 * seed,
                "noise_stir_unbiased": 0.02 - 0.01 * n + 0.01 * seed,
                "chance_stir": 0.2 + 0.005 * n + 0.01 * seed,
                "chance_stir_unbiased": 0.01 * np.cos(n),
                "chance_stir_q95": 0.23 + 0.005 * n + 0.01 * seed,
                "chance_stir_unbiased_q95": 0.04 + 0.01 * np.cos(n),
                "residual_q05": 0.6 * median,
                "residual_median": median,
                "residual_q95": 1.9 * median,
                "residual_max": 4.0 * median,
                "centered_residual_median": 1.5 * median,
                "centered_residual_q95": 2.5 * median,
                "centered_residual_max": 6.0 * median,
                "unconverged": int(20 * max(0.0, depth - 0.6)),
                "not_inverted": int(5 * max(0.0, depth - 0.8)),
                "stuck": int(depth == 1),
                "iterations": 400 if depth > 0.6 else 200,
                "is_converged": depth <= 0.6,
            }


def _matrices(shape: Shape) -> Iterator[dict[str, Any]]:
    layers = np.array(shape.layers)
    for (model, epoch), estimator in product(shape.checkpoints, ("biased", "unbiased")):
        for metric, values in matrices(shape, model, epoch, estimator).items():
            row, column = np.nonzero(np.isfinite(values).all(axis=0))
            of_cell = values[:, row, column]
            mean, drift = of_cell.mean(axis=0), drifts(shape, estimator)[metric][row, column]
            # No inversion takes part in CKA.
            count = 0 if metric == "cka_divergence" else len(shape.seeds)
            yield {
                "model": model,
                "epoch": epoch,
                "estimator": estimator,
                "metric": metric,
                "row_layer": layers[row],
                "column_layer": layers[column],
                "mean": mean,
                "drift": drift,
                "is_moving": is_moving(mean, drift),
                "std": of_cell.std(axis=0, ddof=1) if count > 1 else np.nan,
                "seeds": count,
            }


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


def _history(shape: Shape) -> Iterator[dict[str, Any]]:
    trainings = {"pretrained": (range(3), 0.93), "finetuned": (shape.epochs, 0.97)}
    if shape.scratch_epoch is not None:
        trainings["from_scratch"] = (range(shape.scratch_epoch + 1), 0.95)
    for model, (epochs, best) in trainings.items() if shape.history else ():
        passed = np.array(epochs, dtype=float)
        yield {
            "model": model,
            "epoch": list(epochs),
            "weights": [f"{model}{epoch}" for epoch in epochs],
            "train_loss": 2.0 * np.exp(-passed),
            "test_loss": 2.1 * np.exp(-passed),
            "test_accuracy": best - (best - 0.2) * np.exp(-1.3 * passed),
        }


def similarity(shape: Shape, model: str, epoch: int) -> NDArray[np.float64]:
    """Subspace similarity (target layer, reference layer)."""
    layers = np.array(shape.layers, dtype=float)
    alike = np.exp(-np.abs(layers[None, :] - layers[:, None]) / 3)
    return CHANCE + (1 - CHANCE) * alike * (1 - 0.8 * _change(shape, model, epoch)[:, None])


def _subspaces(shape: Shape) -> Iterator[dict[str, Any]]:
    count = len(shape.layers)
    for model, epoch in shape.checkpoints:
        yield {
            "model": model,
            "epoch": epoch,
            "reference_layer": list(shape.layers) * count,
            "target_layer": [layer for layer in shape.layers for _ in shape.layers],
            "images": IMAGES,
            "directions": DIRECTIONS_COMPARED,
            "chance": CHANCE,
            "subspace_similarity": similarity(shape, model, epoch).ravel(),
            "shares_basis": model == "finetuned",
        }


def accuracy_under(epoch: int, corruption: str, severity: int) -> float:
    """Of the finetuned model; robustness is lost again once the clean accuracy is had."""
    learnt = 0.93 - 0.6 * np.exp(-0.9 * epoch)
    lost = 0.08 * severity * (1 - np.exp(-epoch / 4)) + 0.03 * severity
    return float(learnt - lost - 0.02 * severity * (corruption == "snow"))


def _robustness(shape: Shape) -> Iterator[dict[str, Any]]:
    conditions = [("clean", 0), *product(("fog", "snow"), shape.severities)]
    for epoch in shape.epochs if shape.severities else ():
        accuracies = [accuracy_under(epoch, *condition) for condition in conditions]
        yield {
            "model": "finetuned",
            "epoch": epoch,
            "corruption": [name for name, _ in conditions],
            "severity": [severity for _, severity in conditions],
            "images": 97,
            "accuracy": accuracies,
            "loss": [1 - accuracy for accuracy in accuracies],
            "source": ["regenerated" if severity else "clean" for _, severity in conditions],
        }


def metamers(shape: Shape, model: str, epoch: int, seed: int) -> NDArray[np.int64]:
    """How many images of each layer are."""
    fewer = {"pretrained": 0, "finetuned": 3, "from_scratch": 7}[model]
    return IMAGES - fewer - epoch - 2 * seed - 5 * np.arange(len(shape.layers))


def _metamers(shape: Shape) -> Iterator[dict[str, Any]]:
    for (model, epoch), seed in product([("pretrained", 0), *shape.checkpoints], shape.seeds):
        own = ("finetuned", "pt|pt") if model == "pretrained" else (model, "ft|ft")
        inverted = shape.inverted(*own)
        n = np.array([shape.layers.index(layer) for layer in inverted])
        yield {
            "model": model,
            "epoch": epoch,
            "seed": seed,
            "reference_layer": inverted,
            "images": IMAGES,
            "metamers": metamers(shape, model, epoch, seed)[n],
            "pearson_median": 0.99 - 0.01 * n,
            "spearman_median": 0.98 - 0.02 * n,
            "snr_db_median": 40.0 - 3 * n + seed,
            "null_pearson": 0.9,
            "null_spearman": 0.85,
            "null_snr_db": 11.0,
        }


def unchanged(shape: Shape, direction: str, epoch: int, seed: int) -> NDArray[np.float64]:
    """Fraction of predictions by inverted layer."""
    less = 0.07 * DIRECTIONS.index(direction) + 0.02 * epoch + 0.01 * seed
    return 0.95 - less - 0.04 * np.arange(len(shape.layers), dtype=np.float64)


def _unchanged(shape: Shape) -> Iterator[dict[str, Any]]:
    for (model, epoch), direction, seed in product(shape.checkpoints, DIRECTIONS, shape.seeds):
        inverted = shape.inverted(model, direction)
        values = unchanged(shape, direction, epoch, seed)
        values = values[[shape.layers.index(layer) for layer in inverted]]
        yield {
            "model": model,
            "epoch": epoch,
            "direction": direction,
            "seed": seed,
            "reference_layer": inverted,
            "images": IMAGES,
            "unchanged": values,
            "chance_unchanged": values / 3,
            "noise_unchanged": 0.13,
        }


def by_measure(values: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """A score by another measure, of what it is by linear CKA."""
    return values**2 if measure == "rbf_cka" else np.sqrt(values)


def _similarities(shape: Shape) -> Iterator[dict[str, Any]]:
    for (model, epoch), direction, seed in product(shape.checkpoints, DIRECTIONS, shape.seeds):
        scores = stir(shape, model, epoch, direction, seed)
        for (measure, bandwidth), reference in product(
            (("rbf_cka", 0.5), ("procrustes", 0.0)), shape.inverted(model, direction)
        ):
            column = shape.layers.index(reference)
            less = 0.02 if measure == "rbf_cka" else np.nan
            both = {
                "stir": by_measure(scores, measure)[:, column],
                "noise_stir": 0.31,
                "chance_stir": 0.22,
                "similarity": 0.9 - 0.01 * column,
            }
            yield {
                "model": model,
                "epoch": epoch,
                "direction": direction,
                "seed": seed,
                "reference_layer": reference,
                "target_layer": list(shape.layers),
                "measure": measure,
                "bandwidth": bandwidth,
                "images": IMAGES,
                **both,
                **{f"{name}_unbiased": value - less for name, value in both.items()},
                "stir_drift": 0.004,
                "stir_unbiased_drift": 0.004 - less,
                "chance_stir_q95": 0.25,
                "chance_stir_unbiased_q95": 0.25 - less,
            }
