"""What charts read from a job's results: models, epochs, layers, and values over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from stir_ray.charts.style import FINETUNED, FROM_SCRATCH
from stir_ray.numerics.criteria import is_moving

Numbers = NDArray[np.float64]
OWN = {"pt": "pt|pt", "ft": "ft|ft"}
"""Direction in which a model sees its own inversions."""
INVERTED_BY = {"forgetting": "pt", "learning": "ft", "cka_divergence": ""}
"""Whose inversions the diagonal of a metric rests on: pretrained, compared, or neither."""
_SEEDLESS = ("cka", "similarity", "null_")
"""How columns begin that are of the images alone, so that no seed and no inversion takes part."""


@dataclass(frozen=True)
class Values:
    """A quantity (epoch, layer), or (epoch, layer, column) of a matrix; NaN where it is missing."""

    epochs: Sequence[int]
    layers: Sequence[int]
    columns: Sequence[int]  # layers of the third axis
    mean: np.ndarray  # over seeds
    std: np.ndarray  # over seeds with n - 1; NaN with fewer than two
    seeds: np.ndarray  # count; 0 where missing, or where no seed takes part
    moving: np.ndarray  # whether the value still moves with the number of inversion steps

    @property
    def most_seeds(self) -> int:
        """Largest number of seeds behind a value."""
        return int(self.seeds.max(initial=0))

    def at(self, epoch: int) -> "Values":
        """Return the values at one epoch."""
        return self._select([self.epochs.index(epoch)], epochs=[epoch])

    def diagonal(self) -> "Values":
        """Return the values where row and column are the same layer."""
        layers = [layer for layer in self.layers if layer in self.columns]
        i, j = ([axis.index(layer) for layer in layers] for axis in (self.layers, self.columns))
        return self._select((slice(None), i, j), layers=layers, columns=layers)

    def _select(self, index: Any, **axes: Sequence[int]) -> "Values":
        arrays = {name: getattr(self, name)[index] for name in ("mean", "std", "seeds", "moving")}
        return replace(self, **arrays, **axes)


@dataclass(frozen=True)
class ComparedModel:
    """One compared model, `finetuned` or `from_scratch`, of a job's results."""

    results: xr.Dataset
    model: str

    @cached_property
    def epochs(self) -> list[int]:
        """Epochs at which either model has seen inversions of the other."""
        stir = self._scores("stir").sel(direction=["ft|pt", "pt|ft"])
        present = stir.count([dim for dim in stir.dims if dim != "epoch"]) > 0
        return sorted(self.results["epoch"].to_numpy()[present.to_numpy()].tolist())

    @cached_property
    def _layers(self) -> dict[str, list[int]]:
        present = self._scores("stir").count(["epoch", "seed"]) > 0
        layers: dict[str, set[int]] = {"pt": set(), "ft": set()}
        for direction in present["direction"].to_numpy():
            cells = present.sel(direction=direction)
            for side, axis in zip(
                str(direction).split("|"), ("target_layer", "reference_layer"), strict=True
            ):
                has_number = cells.any([dim for dim in cells.dims if dim != axis])
                layers[side].update(cells[axis].to_numpy()[has_number.to_numpy()].tolist())
        either = {
            n for axis in ("reference_layer", "target_layer") for n in present[axis].to_numpy()
        }
        return {side: sorted(map(int, numbers or either)) for side, numbers in layers.items()}

    def layers(self, side: str) -> list[int]:
        """Return the layers of the pretrained (`pt`) or the compared model (`ft`)."""
        return self._layers[side]

    @property
    def shared_layers(self) -> list[int]:
        """Layers that both models have."""
        return [n for n in self.layers("pt") if n in self.layers("ft")]

    def metric(self, name: str, estimator: str) -> Values:
        """Return a metric for every pair of layers where it is defined."""
        pt, ft, shared = self.layers("pt"), self.layers("ft"), self.shared_layers
        rows = pt if name == "flow_control" else shared
        columns = {"learning": ft, "flow": ft, "flow_beyond_control": shared}.get(name, pt)
        names = [f"{name}{suffix}" for suffix in ("", "_std", "_seeds", "_is_moving")]
        cells = self.results[names].sel(model=self.model, estimator=estimator)
        cells = cells.reindex(epoch=self.epochs, row_layer=rows, column_layer=columns)
        cells = cells.transpose("epoch", "row_layer", "column_layer")
        mean, std, seeds, moving = (cells[each].to_numpy() for each in names)
        seeds = np.where(np.isfinite(mean), np.nan_to_num(seeds), 0).astype(int)
        return Values(self.epochs, rows, columns, mean, std, seeds, moving == 1)

    def curve(self, name: str, estimator: str) -> Values:
        """Return the diagonal of a metric: what happened to each layer."""
        return self.metric(name, estimator).diagonal()

    def score(self, name: str, direction: str) -> Values:
        """Return a score for all layers that see (rows) and all inverted ones (columns)."""
        rows, columns = (self.layers(side) for side in direction.split("|"))
        values, drift = (
            self._scores(column)
            .sel(direction=direction)
            .reindex(epoch=self.epochs, target_layer=rows, reference_layer=columns)
            .transpose("seed", "epoch", "target_layer", "reference_layer")
            .to_numpy()
            if column in self.results
            else None
            for column in (name, f"{name}_drift")
        )
        return _over_seeds(name, self.epochs, rows, columns, values=values, drift=drift)

    def score_curve(self, name: str, direction: str) -> Values:
        """Return a score where the layer that sees is the inverted layer."""
        return self.score(name, direction).diagonal()

    def inversion(self, column: str, side: str) -> Numbers:
        """Return a column of a model's inversions at its last epoch by layer, mean over seeds."""
        values = self._scores(column).sel(direction=OWN[side])
        values = values.reindex(reference_layer=self.layers(side)).sel(epoch=self.epochs[-1])
        return values.mean("seed").to_numpy()

    def unconverged(self, side: str) -> dict[int, set[int]]:
        """Return by epoch the layers of a model whose inversions did not all converge."""
        if not side:
            return {epoch: set() for epoch in self.epochs}
        bad = (self._scores("is_converged").sel(direction=OWN[side]) == 0).any("seed")
        layers = bad["reference_layer"].to_numpy()
        return {
            epoch: set(layers[bad.sel(epoch=epoch).to_numpy()].tolist()) for epoch in self.epochs
        }

    def accuracy(self) -> tuple[list[int], list[float]]:
        """Return epochs and test accuracies; empty where the training is not known."""
        if self.model not in self.results["trained_model"].to_numpy().tolist():
            return [], []
        accuracy = self.results["test_accuracy"].sel(trained_model=self.model)
        accuracy = accuracy.dropna("training_epoch")
        return accuracy["training_epoch"].to_numpy().tolist(), accuracy.to_numpy().tolist()

    def _scores(self, column: str) -> xr.DataArray:
        scores = self.results[column].sel(model=self.model)
        return scores.reindex(direction=["pt|pt", "ft|pt", "ft|ft", "pt|ft"])


def table_values(
    rows: pd.DataFrame, column: str, *, epochs: Sequence[int], layers: Sequence[int]
) -> Values:
    """Return a column of an optional measure's table by epoch and inverted layer.

    Args:
        rows: differing in seed, epoch and `reference_layer` alone.
        column: of the values.
        epochs: of the result.
        layers: of the result; NaN where there is no row.
    """
    seeds = sorted(rows["seed"].unique()) or [0]
    cells = pd.MultiIndex.from_product([seeds, epochs, layers])
    indexed = rows.set_index(["seed", "epoch", "reference_layer"]).reindex(cells)
    values, drift = (
        indexed[name].to_numpy(float).reshape(len(seeds), len(epochs), len(layers))
        if name in rows
        else None
        for name in (column, f"{column}_drift")
    )
    return _over_seeds(column, epochs, layers, layers, values=values, drift=drift)


def _over_seeds(
    name: str,
    epochs: Sequence[int],
    layers: Sequence[int],
    columns: Sequence[int],
    *,
    values: Any,
    drift: Any,
) -> Values:
    values = np.ma.masked_invalid(values)
    mean, std = values.mean(axis=0).filled(np.nan), values.std(axis=0, ddof=1).filled(np.nan)
    seeds, moving = values.count(axis=0), np.zeros(mean.shape, bool)
    if name.startswith(_SEEDLESS):
        return Values(epochs, layers, columns, mean, mean * np.nan, seeds * 0, moving)
    if drift is not None:
        drift = np.ma.masked_array(np.nan_to_num(drift, nan=np.inf), values.mask).mean(axis=0)
        moving = np.isfinite(mean) & is_moving(mean, drift.filled(np.nan))
    return Values(epochs, layers, columns, mean, std, seeds, moving)


def compared_models(results: xr.Dataset) -> list[ComparedModel]:
    """Return the models of which there is a result, the finetuned one first."""
    present = results["model"].to_numpy().tolist()
    models = (ComparedModel(results, m) for m in (FINETUNED, FROM_SCRATCH) if m in present)
    return [model for model in models if model.epochs]


def compared_model(results: xr.Dataset, model: str = "") -> ComparedModel:
    """Return a compared model of the results; the first if none is named.

    Raises:
        ValueError: if the results have none, or not that one.
    """
    models = compared_models(results)
    for compared in models:
        if compared.model == (model or compared.model):
            return compared
    names = ", ".join(compared.model for compared in models) or "none"
    raise ValueError(f"no results of {model or 'any compared model'}; there are: {names}")


def last_epochs(table: pd.DataFrame, results: xr.Dataset) -> list[tuple[ComparedModel, int]]:
    """Return each compared model that a table has rows of, with the last epoch of them."""
    models = []
    for compared in compared_models(results):
        present = set(table.loc[table["model"] == compared.model, "epoch"])
        epochs = [epoch for epoch in compared.epochs if epoch in present]
        models += [(compared, epochs[-1])] if epochs else []
    return models


def sample_note(results: xr.Dataset, rows: Sequence[dict], *, has_band: bool = False) -> str:
    """Return how many images and seeds are behind rows of lines, and what their band is."""
    seeds = max((row.get("seeds", 0) for row in rows), default=0)
    note = sample(results, seeds, band="; band: ± 1 standard deviation" if has_band else "")
    return f"{note} Gaps: not computed." if any(row["y"] is None for row in rows) else note


def sample(results: xr.Dataset, seeds: int, *, band: str = "") -> str:
    """Return how many images and seeds are behind a chart."""
    images = f"{results['images'].max().fillna(0).item():.0f} images"
    return f"{images}, mean of {seeds} seeds{band}." if seeds > 1 else f"{images}, one seed."
