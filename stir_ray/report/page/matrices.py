"""The section of matrices: every pair of layers at every epoch, one matrix at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from stir_ray.report import style
from stir_ray.report.matrices import symmetric_limit
from stir_ray.report.over_epochs import Matrices, doubtful_layers, metric_matrices, score_matrices
from stir_ray.report.page.values import counts, ten_thousandths
from stir_ray.report.readings import Matrix, compared_models, epochs_of
from stir_ray.results.metric_info import ESTIMATORS

MOST_CELLS = 15_000
"""Of one matrix over all epochs shown: 100 epochs of 12 × 12. Of more, epochs are left out."""


@dataclass(frozen=True)
class Kind:
    """A matrix that can be chosen.

    Attributes:
        id: the metric, or the score and the direction.
        name: in the list of choices.
        formula: of a cell.
        rows: what the rows are; `{model}` stands for the compared one.
        columns: what the columns are.
        words: what it tells.
        has_triangles: whether the sides of the diagonal mean different things.
        doubtful: whose inversions it rests on, `pt` or `ft`, and whether these are its rows.
    """

    id: str
    name: str
    formula: str
    rows: str
    columns: str
    words: str
    has_triangles: bool = False
    doubtful: tuple[str, bool] | None = None


_FLOW = {"rows": "pretrained layer i", "has_triangles": True, "doubtful": ("pt", True)}
KINDS = (
    Kind(
        "flow",
        "Invariance flow",
        "STIR(ft j | pt i) − STIR(ft i | pt i)",
        columns="{model} layer j",
        words="Row i asks where the invariances of pretrained layer i are in the trained model: "
        "above 0, layer j shares more of them than layer i itself does.",
        **_FLOW,
    ),
    Kind(
        "flow_control",
        "Flow without any training (control)",
        "STIR(pt j | pt i) − STIR(pt i | pt i)",
        columns="pretrained layer j",
        words="What the flow would be had nothing been trained: it is to be taken off the flow "
        "before anything is said about training.",
        **_FLOW,
    ),
    Kind(
        "flow_beyond_control",
        "Flow beyond control",
        "flow − control",
        columns="{model} layer j",
        words="What is left of the flow, and so is due to training.",
        **_FLOW,
    ),
    Kind(
        "forgetting",
        "Forgetting",
        "STIR(pt i | pt j) − STIR(ft i | pt j)",
        rows="layer i that looks",
        columns="pretrained layer j, inverted",
        words="How much less the trained model is fooled than the pretrained one by images "
        "inverted from pretrained layer j.",
        doubtful=("pt", False),
    ),
    Kind(
        "learning",
        "Learning",
        "STIR(ft i | ft j) − STIR(pt i | ft j)",
        rows="layer i that looks",
        columns="{model} layer j, inverted",
        words="How much less the pretrained model is fooled than the trained one by images "
        "inverted from trained layer j.",
        doubtful=("ft", False),
    ),
    Kind(
        "cka_divergence",
        "CKA divergence",
        "CKA(pt i, pt j) − CKA(ft i, pt j)",
        rows="layer i",
        columns="pretrained layer j",
        words="How much less alike layer i is to pretrained layer j, on real images, than it was "
        "before training.",
    ),
)
SCORES = (
    Kind(
        "stir ft|pt",
        "STIR({model} | pretrained)",
        "STIR(ft i | pt j)",
        rows="{model} layer i, looks",
        columns="pretrained layer j, inverted",
        words="How far layer i of the trained model is fooled by images inverted from pretrained "
        "layer j. 1 is full agreement.",
        doubtful=("pt", False),
    ),
    Kind(
        "stir pt|ft",
        "STIR(pretrained | {model})",
        "STIR(pt i | ft j)",
        rows="pretrained layer i, looks",
        columns="{model} layer j, inverted",
        words="How far layer i of the pretrained model is fooled by images inverted from trained "
        "layer j. 1 is full agreement.",
        doubtful=("ft", False),
    ),
    Kind(
        "cka ft|pt",
        "CKA({model}, pretrained)",
        "CKA(ft i, pt j)",
        rows="{model} layer i",
        columns="pretrained layer j",
        words="How alike the two layers arrange the real images. 1 is full agreement.",
    ),
)


def matrices(results: xr.Dataset) -> dict[str, Any]:
    """What the page's script shows one matrix of at a time: by model, kind and estimator."""
    return {"models": [_of_model(results, model) for model in compared_models(results)]}


def _of_model(results: xr.Dataset, model: str) -> dict[str, Any]:
    every, name = epochs_of(results, model), style.MODEL_NAMES[model]
    found = [*_metrics(results, model), *_scores(results, model)]
    chosen = _chosen(len(every), max(one[0].mean[0].size for _, one in found))
    thinned = len(chosen) < len(every)
    doubts = {
        side: _Doubts(*doubtful_layers(results, model=model, side=side)) for side in ("pt", "ft")
    }
    return {
        "name": name,
        "epochs": [every[place] for place in chosen],
        "note": f"{len(chosen)} of {len(every)} epochs, to keep the page small." if thinned else "",
        "kinds": [_kind(kind, of, name, chosen, doubts) for kind, of in found],
    }


@dataclass(frozen=True)
class _Doubts:
    """Layers that were inverted, and (epoch, layer) whether that did not converge."""

    layers: Sequence[int]
    at: np.ndarray

    def of(self, shown: Sequence[int], epoch: int) -> list[int]:
        """Places among the shown layers."""
        bad = {one for one, is_bad in zip(self.layers, self.at[epoch], strict=True) if is_bad}
        return [place for place, layer in enumerate(shown) if layer in bad]


def _metrics(results: xr.Dataset, model: str) -> Iterator[tuple[Kind, list[Matrices]]]:
    for kind in KINDS:
        found = [
            metric_matrices(results, kind.id, model=model, estimator=estimator)
            for estimator in ESTIMATORS
        ]
        yield kind, found


def _scores(results: xr.Dataset, model: str) -> Iterator[tuple[Kind, list[Matrices]]]:
    for kind in SCORES:
        score, direction = kind.id.split(" ")
        found = [
            score_matrices(results, score + suffix, model=model, direction=direction)
            for suffix in ESTIMATORS.values()
        ]
        yield kind, found


def _chosen(epochs: int, cells: int) -> list[int]:
    """Places of the epochs that are shown: all, or as many as there is room for, the last too."""
    room = max(2, MOST_CELLS // max(cells, 1))
    if epochs <= room:
        return list(range(epochs))
    return sorted({round(place) for place in np.linspace(0, epochs - 1, room)})


def _kind(
    kind: Kind, found: list[Matrices], name: str, chosen: list[int], doubts: dict[str, _Doubts]
) -> dict[str, Any]:
    first = found[0]
    side, is_rows = kind.doubtful or ("", False)
    shown = first.rows if is_rows else first.columns
    return {
        "id": kind.id,
        "name": kind.name.format(model=name),
        "formula": style.formula(kind.formula),
        "words": kind.words,
        "rowsAre": kind.rows.format(model=name),
        "columnsAre": kind.columns.format(model=name),
        "hasTriangles": kind.has_triangles,
        "isScore": kind in SCORES,
        "rows": first.rows,
        "columns": first.columns,
        "doubtfulAxis": ("rows" if is_rows else "columns") if side else "",
        "doubtful": [doubts[side].of(shown, epoch) for epoch in chosen] if side else [],
        "byEstimator": {
            estimator: _values(of, chosen) for estimator, of in zip(ESTIMATORS, found, strict=True)
        },
    }


def _values(found: Matrices, chosen: list[int]) -> dict[str, Any]:
    mean, std, seeds = (array[chosen] for array in (found.mean, found.std, found.seeds))
    # A kept place of a missing value would show a spread of nothing.
    known_seeds = np.where(np.isfinite(mean), seeds, 0)
    most = counts(known_seeds[np.isfinite(mean)]) if np.isfinite(mean).any() else 0
    return {
        "limit": symmetric_limit([Matrix(found.rows, found.columns, mean)]),
        "mean": ten_thousandths(mean),
        "std": ten_thousandths(std),
        # One number where every cell that is there has as many.
        "seeds": most if isinstance(most, int) else known_seeds.astype(int).tolist(),
    }
