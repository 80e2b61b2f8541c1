"""What the figures read from a job's results: curves over layers and matrices of layers."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stir_ray.plan.checkpoints import FINETUNED, FROM_SCRATCH
from stir_ray.results.metric_info import DIRECTIONS

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One value per layer, averaged over seeds.

    Attributes:
        layers: numbers of the blocks, from 1.
        mean: NaN where it is missing.
        std: over seeds, with n - 1; NaN where there are fewer than two.
        seeds: the largest number of seeds behind a point.
    """

    layers: list[int]
    mean: Numbers
    std: Numbers
    seeds: int


@dataclass(frozen=True)
class Matrix:
    """One value per pair of layers; NaN where it is missing."""

    rows: list[int]
    columns: list[int]
    values: Numbers


@dataclass(frozen=True)
class SubspaceCurve:
    """Subspace similarity of each layer to the same layer of the pretrained model.

    Attributes:
        layers: numbers of the blocks, from 1.
        similarity: in [0, 1]; NaN where it is missing.
        chance: of two random subspaces, likewise.
        directions: how many were compared, in words: `10`, or `7 to 10` where layers differ.
    """

    layers: list[int]
    similarity: Numbers
    chance: Numbers
    directions: str


def compared_models(results: xr.Dataset) -> list[str]:
    """The models of which there is any result, the finetuned one first."""
    there = set(results["model"].values.tolist())
    return [m for m in (FINETUNED, FROM_SCRATCH) if m in there and epochs_of(results, m)]


def epochs_of(results: xr.Dataset, model: str) -> list[int]:
    """The epochs at which either model has seen inversions of the other, in order.

    How the pretrained model sees its own is known of all epochs as soon as it is of one.
    """
    known = known_scores(results, "stir").sel(model=model, direction=["ft|pt", "pt|ft"]).notnull()
    of_epoch = known.any([dim for dim in known.dims if dim != "epoch"])
    return [int(epoch) for epoch in np.sort(results["epoch"].values[of_epoch.values])]


def last_epochs(results: xr.Dataset) -> dict[str, int]:
    """The last epoch of each compared model."""
    return {model: epochs_of(results, model)[-1] for model in compared_models(results)}


def layers_of(results: xr.Dataset) -> list[int]:
    """Every layer that was inverted or looked, in order."""
    both = (results[axis].values.tolist() for axis in ("reference_layer", "target_layer"))
    return sorted({int(layer) for axis in both for layer in axis})


def own_layers(results: xr.Dataset, model: str, side: str) -> list[int]:
    """The layers that the pretrained or a compared model has; all, if nothing is known of it.

    Args:
        results: of a job.
        model: the compared model.
        side: `pt` for the pretrained model that it is compared with, `ft` for itself.
    """
    axes = ("direction", "reference_layer", "target_layer")
    scores = results["stir"].sel(model=model).transpose(*axes, ...)
    # In numpy: this is asked for every curve and matrix of a page.
    known = np.asarray(np.isfinite(scores.values).any(axis=(3, 4)))
    references, targets = (scores[axis].values for axis in axes[1:])
    found: set[int] = set()
    for direction, there in zip(scores["direction"].values, known, strict=True):
        target, reference = direction.split("|")
        if reference == side:
            found |= set(references[there.any(axis=1)].tolist())
        if target == side:
            found |= set(targets[there.any(axis=0)].tolist())
    # Whoever looks does so with all layers, so that one comparison tells them.
    return sorted(found) or layers_of(results)


def layers_of_both(results: xr.Dataset, model: str, direction: str) -> list[int]:
    """The layers that the inverted model and the one that looks have."""
    both = (own_layers(results, model, side) for side in direction.split("|"))
    return sorted(set.intersection(*map(set, both)))


def deepest(curves: Sequence[Curve]) -> list[int]:
    """The layers of the curve that reaches farthest: models may differ in depth."""
    return max((curve.layers for curve in curves), key=len)


def score_matrix(
    results: xr.Dataset, score: str, *, model: str, epoch: int, direction: str
) -> Matrix:
    """A score for all layers that look, in rows, and all inverted ones, mean over seeds."""
    target, reference = direction.split("|")
    cells = (
        known_scores(results, score).sel(model=model, epoch=epoch, direction=direction).mean("seed")
    )
    rows, columns = (own_layers(results, model, side) for side in (target, reference))
    cells = cells.transpose("target_layer", "reference_layer")
    return Matrix(rows, columns, cells.sel(target_layer=rows, reference_layer=columns).values)


def metric_curve(
    results: xr.Dataset, metric: str, *, model: str, epoch: int, estimator: str
) -> Curve:
    """The diagonal of a metric's matrix: the same layer on both sides."""
    chosen = known_metric(results, metric).sel(model=model, epoch=epoch, estimator=estimator)
    layers = layers_of_both(results, model, "ft|pt")
    diagonal = _diagonal(chosen, "row_layer", "column_layer", layers)
    seeds = diagonal["seeds"].values
    return Curve(layers, diagonal["mean"].values, diagonal["std"].values, _most(seeds))


def score_curve(
    results: xr.Dataset, score: str, *, model: str, epoch: int, direction: str
) -> Curve:
    """A score where the layer that looks is the layer that was inverted."""
    chosen = known_scores(results, score).sel(model=model, epoch=epoch, direction=direction)
    layers, axes = layers_of_both(results, model, direction), ("reference_layer", "target_layer")
    diagonal = _diagonal(chosen.to_dataset(name=score), *axes, layers)
    return _over_seeds(layers, diagonal[score])


def inversion_curve(
    results: xr.Dataset, column: str, *, model: str, epoch: int, direction: str
) -> Curve:
    """A column that belongs to the inversion alone, e.g. `residual_median`."""
    values = known_scores(results, column).sel(model=model, epoch=epoch, direction=direction)
    layers = own_layers(results, model, direction.split("|")[1])
    return _over_seeds(layers, values.sel(reference_layer=layers).rename(reference_layer="layer"))


def matrix(results: xr.Dataset, metric: str, *, model: str, epoch: int, estimator: str) -> Matrix:
    """A metric for all pairs of layers for which it is defined."""
    cells = known_metric(results, metric)["mean"]
    cells = cells.sel(model=model, epoch=epoch, estimator=estimator)
    cells = cells.transpose("row_layer", "column_layer")
    rows, columns = defined_layers(results, metric, model)
    return Matrix(rows, columns, cells.sel(row_layer=rows, column_layer=columns).values)


def defined_layers(results: xr.Dataset, metric: str, model: str) -> tuple[list[int], list[int]]:
    """Layers of rows and columns: a difference needs a layer that both models have."""
    pt, ft = (own_layers(results, model, side) for side in ("pt", "ft"))
    shared = layers_of_both(results, model, "ft|pt")
    match metric:
        case "learning" | "flow":
            return shared, ft
        case "flow_control":
            return pt, pt
        case "flow_beyond_control":
            return shared, shared
        case _:
            return shared, pt


def metric_over_epochs(
    results: xr.Dataset, metric: str, *, model: str, estimator: str
) -> tuple[list[int], list[int], Numbers]:
    """Epochs, layers and the diagonal of a metric at each of them: (epoch, layer)."""
    epochs = epochs_of(results, model)
    chosen = known_metric(results, metric).sel(model=model, estimator=estimator, epoch=epochs)
    layers = layers_of_both(results, model, "ft|pt")
    diagonal = _diagonal(chosen, "row_layer", "column_layer", layers)
    return epochs, layers, diagonal["mean"].transpose("epoch", "layer").values


def subspace_curve(results: xr.Dataset, *, model: str, epoch: int) -> SubspaceCurve:
    """Subspace similarity of equal layers."""
    names = ["subspace_similarity", "subspace_chance", "subspace_directions"]
    axes = ("pretrained_layer", "compared_layer")
    every = results[names].sel(model=model, epoch=epoch)
    every = every.reindex(dict.fromkeys(axes, layers_of(results)))
    layers = layers_of_both(results, model, "ft|pt")
    same = _diagonal(every, *axes, layers)
    similarity, chance, directions = (same[name].values for name in names)
    return SubspaceCurve(layers, similarity, chance, _range_of(directions))


def _range_of(counts: Numbers) -> str:
    """`10`, or `7 to 10`; `0` where nothing is known."""
    known = counts[np.isfinite(counts)].astype(int)
    if not known.size:
        return "0"
    fewest, most = known.min(), known.max()
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def has_subspaces(results: xr.Dataset, *, model: str, epoch: int) -> bool:
    """Whether there is a similarity that says something of the model: it shares the basis."""
    if "subspace_similarity" not in results or model not in results["model"]:
        return False
    shares = bool(results["shares_basis"].sel(model=model) == 1)
    return shares and bool(
        np.isfinite(subspace_curve(results, model=model, epoch=epoch).similarity).any()
    )


def sample_note(results: xr.Dataset, curves: Sequence[Curve], *, has_band: bool = True) -> str:
    """Of how many images and seeds the curves are, and what their band is if there is one."""
    images = results["images"].max().fillna(0).item()
    seeds = max((curve.seeds for curve in curves), default=0)
    sample = f"{images:.0f} images, one seed of the inversions."
    if seeds > 1:
        band = "; band: ± 1 std" if has_band else ""
        sample = f"{images:.0f} images, mean of {seeds} seeds of the inversions{band}."
    gaps = any(np.isnan(curve.mean).any() for curve in curves)
    return f"{sample} Gaps: not computed." if gaps else sample


def accuracy(results: xr.Dataset, model: str) -> tuple[list[int], Numbers]:
    """Epochs and test accuracy of a model, both empty if its training is not known."""
    if model not in results["trained_model"].values.tolist():
        return [], np.empty(0)
    known = results["test_accuracy"].sel(trained_model=model).dropna("training_epoch")
    return known["training_epoch"].values.tolist(), known.values.astype(np.float64)


def known_scores(results: xr.Dataset, column: str) -> xr.DataArray:
    """A column of the results with every direction and layer, NaN where nothing is known yet."""
    scores, layers = results[column], layers_of(results)
    axes = {axis: layers for axis in scores.dims if str(axis).endswith("_layer")}
    return _on(scores, {"direction": list(DIRECTIONS), **axes})


def known_metric(results: xr.Dataset, metric: str) -> xr.Dataset:
    """Mean, std and seeds of a metric for every pair of layers, NaN where nothing is known yet."""
    names = {metric: "mean", f"{metric}_std": "std", f"{metric}_seeds": "seeds"}
    layers = layers_of(results)
    if metric in results:
        return _on(results[list(names)].rename(names), dict.fromkeys(_CELL, layers))
    axes = {name: results[name].values for name in ("model", "estimator", "epoch")}
    axes |= {"row_layer": layers, "column_layer": layers}
    unknown = xr.DataArray(np.nan, coords=axes, dims=list(axes))
    return xr.Dataset(dict.fromkeys(names.values(), unknown))


_CELL = ("row_layer", "column_layer")
_Labelled = TypeVar("_Labelled", xr.DataArray, xr.Dataset)


def _on(values: _Labelled, axes: Mapping[Hashable, list]) -> _Labelled:
    """The values at given places, NaN where there are none."""
    # As a rule they are there already, and reindexing takes milliseconds each time.
    others = {axis: places for axis, places in axes.items()
              if values.indexes[axis].tolist() != places}  # fmt: skip
    return values.reindex(others) if others else values


def _diagonal(cells: xr.Dataset, first: str, second: str, layers: list[int]) -> xr.Dataset:
    same = xr.DataArray(np.array(layers, dtype=np.int64), dims="layer")
    return cells.sel({first: same, second: same})


def _over_seeds(layers: list[int], by_seed: xr.DataArray) -> Curve:
    by_seed = by_seed.transpose("layer", "seed").astype(np.float64)
    seeds = by_seed.count("seed").values
    std = np.full(len(layers), np.nan)
    # A deviation with n - 1 exists from two seeds on.
    several = seeds > 1
    std[several] = by_seed[several].std("seed", ddof=1).values
    return Curve(layers, by_seed.mean("seed").values, std, _most(seeds))


def _most(seeds: NDArray) -> int:
    known = seeds[np.isfinite(seeds)]
    return int(known.max()) if known.size else 0
