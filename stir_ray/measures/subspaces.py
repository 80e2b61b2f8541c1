"""Subspace similarity: how similarly two models spread the same images, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stir_ray.lake.schemas import (
    COMPARED,
    COMPARED_MODEL,
    FLOAT,
    IMAGE_COUNT,
    INT,
    LAYER_PAIR,
    Column,
)
from stir_ray.measures.measure import Measure, Model, Place, Scope, Subject, Views, rows_to_columns

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from torch import Tensor

    from stir_ray.charts.blocks import Chart
    from stir_ray.charts.readings import ComparedModel
    from stir_ray.job import Job

_SIMILARITY = (
    *LAYER_PAIR,
    IMAGE_COUNT,
    Column("directions", INT, "k: principal directions compared; fewer than the job says where a "
           "layer has no more; 0 if the two layers cannot be compared", "1", "[0, inf)"),
    Column("chance", FLOAT, "similarity of two random subspaces: k over units; NaN for k = 0",
           "1", "[0, 1]"),
    Column("subspace_similarity", FLOAT, "Ramasesh et al. 2021, of the images themselves: 1 for "
           "one subspace, 0 for orthogonal ones; NaN for k = 0", "1", "[0, 1]"),
)  # fmt: skip


class Subspaces(Measure):
    """Compares all layers of target and reference; the option is the number of directions."""

    name = "subspaces"
    scope = Scope.PAIR
    columns = (*COMPARED, *_SIMILARITY)
    key = ("reference_layer", "target_layer")
    result = "subspace_similarity"
    result_columns = (
        *COMPARED_MODEL,
        *_SIMILARITY,
        Column("shares_basis", pa.bool_(), "whether the model was finetuned from the pretrained "
               "one; the similarity of others is that of chance and says nothing"),
    )  # fmt: skip
    result_key = ("model", "epoch", "reference_layer", "target_layer")
    forward_passes = 1
    section = "divergence"

    def options(self, job: Job) -> Iterable[int]:
        return (job.subspace_directions,)

    def content(self, subject: Subject, option: int) -> Mapping[str, object]:  # noqa: ARG002
        return {"directions": option}

    def compute(self, views: Views, option: int) -> Mapping[str, Any]:
        references, targets = (_directions(views, name, option) for name in ("reference", "target"))
        rows = [
            {"target_layer": target_layer, "reference_layer": reference_layer}
            | similarity(target, reference)
            for target_layer, target in zip(views.target_layers, targets, strict=True)
            for reference_layer, reference in zip(
                views.layers("reference"), references, strict=True
            )
        ]
        return rows_to_columns(rows)

    def summarize(self, artifact: pa.Table, cell: Place) -> Mapping[str, Any]:
        return {**super().summarize(artifact, cell), "shares_basis": cell.shares_basis}

    def charts(
        self,
        results: xr.Dataset,
        table: pd.DataFrame,  # noqa: ARG002 - the dataset has it
    ) -> Iterator[tuple[str, Chart]]:
        if any(_compared(results)):
            yield "11-subspaces-by-layer", subspaces(results)


SUBSPACES = Subspaces()


def _directions(views: Views, model: Model, k: int) -> list[Tensor]:
    from stir_ray.numerics.similarity import resolved_directions

    def make() -> list[Tensor]:
        return [resolved_directions(features, k=k) for features in views.all_features(model)]

    return views.cached(("directions", k), model, "real", make)


def similarity(first: Tensor, second: Tensor) -> dict[str, float | int]:
    """Compare the leading directions (direction, unit) that both sets have."""
    from stir_ray.numerics.similarity import subspace_similarity

    k, units = min(len(first), len(second)), first.shape[1]
    if k == 0 or units != second.shape[1]:
        return {"directions": 0, "chance": float("nan"), "subspace_similarity": float("nan")}
    return {
        "directions": k,
        "chance": k / units,
        "subspace_similarity": float(subspace_similarity(first[:k], second[:k])),
    }


def subspaces(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw subspace similarity to the pretrained model beside forgetting and CKA divergence.

    Arguments as in `learning_and_forgetting`. Two panels per compared model that shares the basis
    of the pretrained one.
    """
    from stir_ray.charts.curves import metric_rows
    from stir_ray.charts.lines import LAYER, Panel, line_chart, line_rows
    from stir_ray.charts.style import DASHED, DOTTED, GREY, PALETTE, Look, model_at

    looks = {
        "forgetting": Look(PALETTE[0]),
        "CKA divergence": Look(PALETTE[3], "square", DASHED),
        "subspace similarity": Look(PALETTE[2], "diamond"),
        "chance": Look(GREY, "cross", DOTTED),
    }
    panels = []
    for compared, cells in _compared(results):
        name = model_at(compared.model, compared.epochs[-1], results)
        layers = compared.shared_layers
        rows = metric_rows(compared, "forgetting", "forgetting")
        rows += metric_rows(compared, "cka_divergence", "CKA divergence")
        panels.append(Panel(f"{name}: what was lost", "difference of STIR or CKA", LAYER, rows))
        rows = line_rows("subspace similarity", layers, cells["subspace_similarity"].values)
        rows += line_rows("chance", layers, cells["subspace_chance"].values)
        counts = cells["subspace_directions"]
        span = " to ".join(map(str, sorted({int(counts.min()), int(counts.max())})))
        title = f"{name}: {span} directions"
        panels.append(Panel(title, "shared part, 0 to 1", LAYER, rows, (), (0, 1)))
    images = f"{results['images'].max().fillna(0).item():.0f} images."
    note = f"{images} The subspaces are those of the images themselves: no inversion takes part."
    title = "Subspace similarity to the pretrained model"
    return line_chart(title, note, looks, panels, estimator=estimator, columns=2)


def _compared(results: xr.Dataset) -> Iterator[tuple[ComparedModel, xr.Dataset]]:
    """Yield the models that share the basis, with their similarity by layer at the last epoch."""
    import numpy as np
    import xarray as xr

    from stir_ray.charts.readings import compared_models

    for compared in compared_models(results):
        layers = compared.shared_layers
        axes = dict.fromkeys(("pretrained_layer", "compared_layer"), layers)
        cells = results.sel(model=compared.model, epoch=compared.epochs[-1]).reindex(axes)
        diagonal = xr.DataArray(layers, dims="layer")
        cells = cells.sel(dict.fromkeys(axes, diagonal))
        has_number = bool(np.isfinite(cells["subspace_similarity"]).any())
        if cells["shares_basis"] == 1 and has_number:
            yield compared, cells
