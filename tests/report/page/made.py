"""Pages made of made-up results, as a person would open them: files on a disk."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import ROBUSTNESS
from stir_ray.report.gallery import Gallery, GalleryPanel, InvertedLayer
from stir_ray.report.kept_images import Labelled, Taken
from stir_ray.report.page.about import About
from stir_ray.report.page.job import Shown, page_of
from stir_ray.results.analysis.analyse import analyse
from stir_ray.results.analysis.analysis_tables import analysis_tables
from stir_ray.results.analysis.job_analysis import StoredAnalysis
from tests.report.further import further
from tests.report.synthetic import Shape, synthetic_results
from tests.report.test_analysed import PAPER

LAYERS = tuple(range(1, 13))
EPOCHS = (0, 1, 2, 3, 5, 8)
WITHOUT = frozenset({("finetuned", "ft|pt", 4), ("finetuned", "pt|pt", 4)})
"""A layer of the pretrained model that could not be inverted."""
SHAPE = Shape(layers=LAYERS, epochs=EPOCHS, seeds=(0, 1, 2), severities=(1, 3, 5), without=WITHOUT)
IMAGES = 3
ABOUT = About(
    name="synthetic",
    sentence="Each of layers 1-12 was inverted.",
    warnings=("Not all inversions converged.",),
    settings=(("seeds", "0, 1, 2"),),
    versions=(("this page", "stir_ray 0"),),
    cost=(("invert", "36", "0", "120", "cpu"),),
    runs="1 run took 2 minutes.",
)


def shown(folder: Path, shape: Shape = SHAPE, **changed: Any) -> Shown:
    """What there is to see of a made-up job."""
    results = synthetic_results(folder, shape)
    key = result_key("synthetic", ROBUSTNESS.name)
    tested = open_lake(str(folder)).read_object(ROBUSTNESS, key).to_pandas()
    made = Shown(
        ABOUT,
        results=results,
        tested=None if tested.empty else tested,
        further=further(folder, shape),
        images=images(shape.layers),
        analysed=analysed(),
    )
    return replace(made, **changed)


def images(layers: tuple[int, ...], side: int = 16, channels: int = 3) -> Labelled:
    """Noise with a residual each; the last image of layer 2 is missing, one of layer 3 bad."""
    generator = np.random.default_rng(5)

    def some() -> np.ndarray:
        return generator.random((IMAGES, channels, side, side), dtype=np.float32)

    def inverted(layer: int) -> InvertedLayer:
        pixels, residuals = some(), np.array([0.0042, 0.123, 0.7 if layer == 3 else 0.2])
        if layer == 2:
            pixels[-1] = np.nan
        return InvertedLayer(layer, pixels, residuals)

    panels = tuple(
        GalleryPanel(title, tuple(inverted(layer) for layer in layers))
        for title in ("Pretrained model", "Finetuned model, epoch 8")
    )
    taken = (Taken("Finetuned model, epoch 8", ("cat", "class 1", "dog"), ("cat", "dog", "dog")),)
    every = {(panel, layer): taken for panel in range(2) for layer in layers}
    return Labelled(Gallery(some(), panels), ("cat", "class 5", "dog"), every)


@cache
def analysed() -> StoredAnalysis:
    """The paper's own curves, analysed."""
    tables = {
        schema.name: table.to_pandas()
        for schema, table in analysis_tables([analyse(PAPER)]).items()
    }
    return StoredAnalysis((PAPER,), tables["hypotheses"], tables["correlations"], 61, 97)


def written(of: Shown, place: Path) -> Path:
    """The file of a page."""
    place.write_bytes(page_of(of, mark="stir_ray page made up"))
    return place


def cells(results: xr.Dataset, metric: str, epoch: int, suffix: str = "") -> np.ndarray:
    """A matrix of the finetuned model as the dataset has it, by unbiased CKA."""
    place = {"model": "finetuned", "estimator": "unbiased", "epoch": epoch}
    found = results[f"{metric}{suffix}"].sel(place)
    every = {"row_layer": list(LAYERS), "column_layer": list(LAYERS)}
    return found.reindex(every).transpose("row_layer", "column_layer").values
