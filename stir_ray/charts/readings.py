"""What charts read from a job's results: models, epochs, layers, and values over seeds.

Arrays of values are (epoch, layer) or (epoch, row, column); NaN stands where a value is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stir_ray.charts.style import FINETUNED, FROM_SCRATCH
from stir_ray.numerics.criteria import is_moving

Numbers = NDArray[np.float64]
OWN = {"pt": "pt|pt", "ft": "ft|ft"}
"""Direction in which a model sees its own inversions."""
INVERTED_BY = {"forgetting": "pt", "learning": "ft", "cka_divergence": ""}
"""Whose inversions the diagonal of a metric rests on: pretrained, compared, or neither."""
_SEEDLESS = ("cka", "cka_unbiased", "cka_divergence", "subspace_similarity")
"""Measured on the images alone, so that no seed and no inversion takes part."""


@dataclass(frozen=True)
class Values:
    """A quantity over epochs and layers.

    Attributes:
        epochs: of the first axis.
        rows: layers of the second axis.
        columns: layers of the third axis; equal to `rows` and without an axis for curves.
        mean: over seeds.
        std: over seeds with n - 1; NaN with fewer than two.
        seeds: count; 0 where missing, or where no seed takes part.
        moving: whether the value still moves with the number of inversion steps.
    """

    epochs: list[int]
    rows: list[int]
    columns: list[int]
    mean: np.ndarray
    std: np.ndarray
    seeds: np.ndarray
    moving: np.ndarray

    @property
    def layers(self) -> list[int]:
        """Layers of a curve."""
        return self.rows

    @property
    def most_seeds(self) -> int:
        """Largest number of seeds behind a value."""
        return int(self.seeds.max(initial=0))

    def at(self, epochs: Sequence[int]) -> "Values":
        """Return the values at some of the epochs."""
        keep = [self.epochs.index(epoch) for epoch in epochs]
        arrays = (array[keep] for array in (self.mean, self.std, self.seeds, self.moving))
        return Values(list(epochs), self.rows, self.columns, *arrays)

    def diagonal(self, layers: Sequence[int]) -> "Values":
        """Return the values where row and column are the same layer."""
        rows, columns = ([axis.index(n) for n in layers] for axis in (self.rows, self.columns))
        arrays = (
            array[:, rows, columns] for array in (self.mean, self.std, self.seeds, self.moving)
        )
        return Values(self.epochs, list(layers), list(layers), *arrays)


@dataclass(frozen=True)
class ComparedModel:
    """One compared model of a job's results.

    Attributes:
        results: as `stir_ray.open_results` gives them.
        model: `finetuned` or `from_scratch`.
    """

    results: xr.Dataset
    model: str

    @cached_property
    def epochs(self) -> list[int]:
        """Epochs at which either model has seen inversions of the other."""
        stir = self._scores("stir").sel(direction=["ft|pt", "pt|ft"]).notnull()
        there = stir.any([dim for dim in stir.dims if dim != "epoch"])
        return sorted(int(epoch) for epoch in self.results["epoch"].values[there.values])

    @cached_property
    def _own(self) -> dict[str, list[int]]:
        axes = ("direction", "reference_layer", "target_layer")
        stir = self.results["stir"].sel(model=self.model).transpose(*axes, ...)
        there = np.asarray(np.isfinite(stir.values).any(axis=tuple(range(3, stir.ndim))))
        references, targets = (stir[axis].values for axis in axes[1:])
        layers: dict[str, set[int]] = {"pt": set(), "ft": set()}
        for direction, cells in zip(stir["direction"].values, there, strict=True):
            target, reference = str(direction).split("|")
            layers[reference] |= set(references[cells.any(axis=1)].tolist())
            layers[target] |= set(targets[cells.any(axis=0)].tolist())
        return {
            side: sorted(side_layers) or self.all_layers for side, side_layers in layers.items()
        }

    @cached_property
    def all_layers(self) -> list[int]:
        """Layers of either model."""
        axes = ("reference_layer", "target_layer")
        return sorted({int(n) for axis in axes for n in self.results[axis].values})

    def layers(self, side: str) -> list[int]:
        """Return the layers of the pretrained (`pt`) or the compared model (`ft`)."""
        return self._own[side]

    @property
    def shared_layers(self) -> list[int]:
        """Layers that both models have."""
        return [n for n in self.layers("pt") if n in self.layers("ft")]

    def metric(self, name: str, estimator: str) -> Values:
        """Return a metric for every pair of layers where it is defined."""
        rows, columns = self._metric_layers(name)
        selection = {"row_layer": rows, "column_layer": columns, "epoch": self.epochs}
        variables = {"mean": name, "std": f"{name}_std", "seeds": f"{name}_seeds",
                     "moving": f"{name}_is_moving"}  # fmt: skip
        if name not in self.results:
            shape = (len(self.epochs), len(rows), len(columns))
            missing = {key: np.full(shape, np.nan) for key in variables}
        else:
            of_model = self.results[list(variables.values())].sel(
                model=self.model, estimator=estimator
            )
            cells = of_model.reindex(selection).transpose("epoch", "row_layer", "column_layer", ...)
            missing = {key: cells[variable].values for key, variable in variables.items()}
        return Values(
            self.epochs, rows, columns, missing["mean"], missing["std"],
            np.where(np.isfinite(missing["mean"]), np.nan_to_num(missing["seeds"]), 0).astype(int),
            (missing["moving"] == 1) & (name not in _SEEDLESS),
        )  # fmt: skip

    def curve(self, name: str, estimator: str) -> Values:
        """Return the diagonal of a metric: what happened to each layer."""
        return self.metric(name, estimator).diagonal(self.shared_layers)

    def score(self, name: str, direction: str) -> Values:
        """Return a score for all layers that see (rows) and all inverted ones (columns)."""
        target, reference = direction.split("|")
        rows, columns = self.layers(target), self.layers(reference)
        selection = {"target_layer": rows, "reference_layer": columns, "epoch": self.epochs}
        values, drift = (
            self._scores(column)
            .sel(direction=direction)
            .reindex(selection)
            .transpose("seed", "epoch", "target_layer", "reference_layer")
            .values
            for column in (name, f"{name}_drift" if f"{name}_drift" in self.results else name)
        )
        has_seeds = name not in _SEEDLESS
        has_drift = has_seeds and f"{name}_drift" in self.results
        return over_seeds(
            self.epochs, rows, columns, values, drift if has_drift else None, has_seeds=has_seeds
        )

    def score_curve(self, name: str, direction: str) -> Values:
        """Return a score where the layer that sees is the inverted layer."""
        target, reference = (self.layers(side) for side in direction.split("|"))
        return self.score(name, direction).diagonal([n for n in target if n in reference])

    def inversion(self, column: str, side: str) -> Values:
        """Return a column that describes the inversions of a model, e.g. `residual_median`."""
        values = self._scores(column).sel(direction=OWN[side])
        layers = self.layers(side)
        values = values.reindex(reference_layer=layers, epoch=self.epochs)
        array = values.transpose("seed", "epoch", "reference_layer").values
        return over_seeds(self.epochs, layers, layers, array, None)

    def unconverged(self, side: str) -> dict[int, set[int]]:
        """Return by epoch the layers of a model whose inversions did not all converge."""
        if not side:
            return {epoch: set() for epoch in self.epochs}
        values = self._scores("is_converged").sel(direction=OWN[side])
        layers = self.layers(side)
        values = values.reindex(reference_layer=layers, epoch=self.epochs)
        bad = (values.transpose("epoch", "reference_layer", "seed").values == 0).any(axis=-1)
        return {
            epoch: {layer for layer, is_bad in zip(layers, of_epoch, strict=True) if is_bad}
            for epoch, of_epoch in zip(self.epochs, bad, strict=True)
        }

    def accuracy(self) -> tuple[list[int], list[float]]:
        """Return epochs and test accuracies; empty where the training is not known."""
        if self.model not in self.results["trained_model"].values.tolist():
            return [], []
        defined = self.results["test_accuracy"].sel(trained_model=self.model)
        defined = defined.dropna("training_epoch")
        return defined["training_epoch"].values.tolist(), defined.values.tolist()

    def _scores(self, column: str) -> xr.DataArray:
        scores = self.results[column].sel(model=self.model)
        return scores.reindex(direction=["pt|pt", "ft|pt", "ft|ft", "pt|ft"])

    def _metric_layers(self, name: str) -> tuple[list[int], list[int]]:
        pt, ft, shared = self.layers("pt"), self.layers("ft"), self.shared_layers
        match name:
            case "learning" | "flow":
                return shared, ft
            case "flow_control":
                return pt, pt
            case "flow_beyond_control":
                return shared, shared
            case _:
                return shared, pt


def over_seeds(
    epochs: list[int],
    rows: list[int],
    columns: list[int],
    values: np.ndarray,
    drift: np.ndarray | None,
    *,
    has_seeds: bool = True,
) -> Values:
    """Return mean, spread and count over the first axis."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    mean = np.where(defined, values, 0.0).sum(axis=0) / np.where(count, count, np.nan)
    squares = np.where(defined, (values - mean) ** 2, 0.0).sum(axis=0)
    std = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    moving = np.zeros(mean.shape, bool)
    if drift is not None:
        moved = np.where(defined, np.nan_to_num(drift, nan=np.inf), 0.0).sum(axis=0)
        moving = np.isfinite(mean) & is_moving(mean, moved / np.where(count, count, np.nan))
    if not has_seeds:
        std, count = np.full_like(std, np.nan), np.zeros_like(count)
    return Values(epochs, rows, columns, mean, std, count, moving)


def compared_models(results: xr.Dataset) -> list[ComparedModel]:
    """Return the models of which there is a result, the finetuned one first."""
    there = results["model"].values.tolist()
    models = (ComparedModel(results, m) for m in (FINETUNED, FROM_SCRATCH) if m in there)
    return [model for model in models if model.epochs]


def compared_model(results: xr.Dataset, model: str | None = None) -> ComparedModel:
    """Return a compared model of the results; the first if none is named.

    Raises:
        ValueError: if the results have none, or not that one.
    """
    models = compared_models(results)
    for compared in models:
        if model in {None, compared.model}:
            return compared
    names = ", ".join(compared.model for compared in models) or "none"
    raise ValueError(f"no results of {model or 'any compared model'}; there are: {names}")


def sample_note(results: xr.Dataset, curves: Sequence[Values], *, has_band: bool = True) -> str:
    """Return how many images and seeds are behind curves, and what their band is."""
    images = results["images"].max().fillna(0).item()
    seeds = max((curve.most_seeds for curve in curves), default=0)
    note = f"{images:.0f} images, one seed."
    if seeds > 1:
        band = "; band: ± 1 standard deviation" if has_band else ""
        note = f"{images:.0f} images, mean of {seeds} seeds{band}."
    gaps = any(np.isnan(curve.mean).any() for curve in curves)
    return f"{note} Gaps: not computed." if gaps else note
