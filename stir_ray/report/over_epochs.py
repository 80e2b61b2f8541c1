"""Whole series over the epochs of a model, each read at once: what the page lets one go through."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stir_ray.report.readings import (
    Numbers,
    defined_layers,
    epochs_of,
    known_metric,
    known_scores,
    layers_of_both,
    own_layers,
)
from stir_ray.results.convergence import SELF_STIR
from stir_ray.results.metric_info import OF_NO_SEED

OWN_DIRECTION = {"pt": "pt|pt", "ft": "ft|ft"}
"""In which a model looks at its own inversions."""


@dataclass(frozen=True)
class Matrices:
    """A value per epoch and pair of layers: arrays (epoch, row, column), NaN where it is missing.

    Attributes:
        rows: layers.
        columns: layers.
        mean: over seeds.
        std: with n - 1; NaN where there are fewer than two seeds.
        seeds: how many; 0 where it is missing.
    """

    rows: list[int]
    columns: list[int]
    mean: Numbers
    std: Numbers
    seeds: Numbers


@dataclass(frozen=True)
class Curves:
    """A value per epoch and layer: arrays (epoch, layer), as of `Matrices`."""

    layers: list[int]
    mean: Numbers
    std: Numbers
    seeds: Numbers


def metric_matrices(results: xr.Dataset, metric: str, *, model: str, estimator: str) -> Matrices:
    """A metric for all pairs of layers for which it is defined."""
    place = {"model": model, "estimator": estimator, "epoch": epochs_of(results, model)}
    cells = known_metric(results, metric).sel(place)
    rows, columns = defined_layers(results, metric, model)
    cells = cells.sel(row_layer=rows, column_layer=columns)
    cells = cells.transpose("epoch", "row_layer", "column_layer")
    return Matrices(rows, columns, *_spread(cells))


def score_matrices(results: xr.Dataset, score: str, *, model: str, direction: str) -> Matrices:
    """A score for all layers that look, in rows, and all inverted ones."""
    place = {"model": model, "direction": direction, "epoch": epochs_of(results, model)}
    rows, columns = (own_layers(results, model, side) for side in direction.split("|"))
    cells = known_scores(results, score).sel(place)
    cells = cells.sel(target_layer=rows, reference_layer=columns)
    cells = cells.transpose("seed", "epoch", "target_layer", "reference_layer")
    found = Matrices(rows, columns, *_over_seeds(cells.values.astype(np.float64)))
    if score not in OF_NO_SEED:
        return found
    return replace(found, std=np.full_like(found.std, np.nan), seeds=np.zeros_like(found.seeds))


def metric_curves(results: xr.Dataset, metric: str, *, model: str, estimator: str) -> Curves:
    """The diagonals of a metric's matrices: the same layer on both sides."""
    found = metric_matrices(results, metric, model=model, estimator=estimator)
    return _diagonals(found, layers_of_both(results, model, "ft|pt"))


def score_curves(results: xr.Dataset, score: str, *, model: str, direction: str) -> Curves:
    """A score where the layer that looks is the layer that was inverted."""
    found = score_matrices(results, score, model=model, direction=direction)
    return _diagonals(found, layers_of_both(results, model, direction))


def _diagonals(found: Matrices, layers: list[int]) -> Curves:
    rows, columns = ([axis.index(one) for one in layers] for axis in (found.rows, found.columns))
    diagonals = (values[:, rows, columns] for values in (found.mean, found.std, found.seeds))
    return Curves(layers, *diagonals)


def doubtful_layers(
    results: xr.Dataset, *, model: str, side: str
) -> tuple[list[int], NDArray[np.bool_]]:
    """Layers of a model, and at each epoch (epoch, layer) whether its inversions did not converge.

    Args:
        results: of a job.
        model: the compared model.
        side: `pt` for inversions of the pretrained model, `ft` for those of the compared one.
    """
    layers = own_layers(results, model, side)
    place = {"model": model, "direction": OWN_DIRECTION[side], "epoch": epochs_of(results, model)}
    converged = known_scores(results, "is_converged").sel(place).sel(reference_layer=layers)
    values = converged.transpose("epoch", "reference_layer", "seed").values
    return layers, np.any(values == 0, axis=-1)


def self_stir(results: xr.Dataset, *, model: str, side: str) -> xr.DataArray:
    """How a model's layers see their own inversions.

    Args:
        results: of a job.
        model: the compared model.
        side: as of `doubtful_layers`.

    Returns:
        (epoch, layer, seed), NaN where it is missing.
    """
    place = {"model": model, "direction": OWN_DIRECTION[side], "epoch": epochs_of(results, model)}
    layers = np.array(own_layers(results, model, side), dtype=np.int64)
    same = xr.DataArray(layers, dims="layer", coords={"layer": layers})
    own = known_scores(results, SELF_STIR).sel(place)
    return own.sel(reference_layer=same, target_layer=same).transpose("epoch", "layer", "seed")


def _spread(cells: xr.Dataset) -> tuple[Numbers, Numbers, Numbers]:
    return cells["mean"].values, cells["std"].values, np.nan_to_num(cells["seeds"].values)


def _over_seeds(values: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Of the first axis."""
    known = np.isfinite(values)
    seeds = known.sum(axis=0).astype(np.float64)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.where(seeds, seeds, np.nan)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    return mean, np.sqrt(squares / np.where(seeds > 1, seeds - 1, np.nan)), seeds
