"""Pages made of made-up results, as a person would open them: files on a disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stir_ray.charts.gallery import Gallery, InvertedLayer
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import ROBUSTNESS
from stir_ray.report.about import About
from stir_ray.report.job_results import JobResults
from stir_ray.report.page import job_page
from stir_ray.results.correlation_study import StoredAnalysis, analyse, analysis_tables
from stir_ray.results.epoch_curves import EpochCurves
from tests import reference
from tests.report.synthetic import Shape, measure_tables, synthetic_results

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
_PAPER_EPOCHS = 19
PAPER = EpochCurves(
    model="finetuned",
    estimator="biased",
    epochs=tuple(range(1, _PAPER_EPOCHS + 1)),
    layers=tuple(reference.LAYERS),
    curves={name: curve[None, :_PAPER_EPOCHS] for name, curve in reference.curves().items()},
    severities=(1, 2, 3, 4, 5),
    accuracy=reference.accuracy()[1:, :_PAPER_EPOCHS],
    clean=reference.accuracy()[0, :_PAPER_EPOCHS],
)
"""The paper's own curves."""


def shown(folder: Path, shape: Shape = SHAPE, **changed: Any) -> JobResults:
    """What there is to see of a made-up job."""
    results = synthetic_results(folder, shape)
    key = result_key("synthetic", ROBUSTNESS.name)
    tested = open_lake(str(folder)).read_object(ROBUSTNESS, key).to_pandas()
    made = JobResults(
        results=results,
        tables=measure_tables(folder, shape),
        tested=None if tested.empty else tested,
        images=images(shape.layers),
        analysed=analysed(PAPER),
    )
    return replace(made, **changed)


def images(layers: tuple[int, ...], side: int = 16, channels: int = 3) -> Gallery:
    """Noise with a residual each; the last image of layer 2 is missing, one of layer 3 bad."""
    generator = np.random.default_rng(5)

    def noise() -> np.ndarray:
        return generator.random((IMAGES, channels, side, side), dtype=np.float32)

    def inverted(layer: int) -> InvertedLayer:
        pixels, residuals = noise(), np.array([0.0042, 0.123, 0.7 if layer == 3 else 0.2])
        if layer == 2:
            pixels[-1] = np.nan
        classes = [
            "original cat, inverted cat (kept).",
            "original class 1, inverted dog (changed).",
        ]
        return InvertedLayer(layer, pixels, residuals, classes)

    titles = ("Pretrained model", "Finetuned model, epoch 8")
    panels = {title: tuple(inverted(layer) for layer in layers) for title in titles}
    return Gallery(noise(), panels, ("cat", "class 5", "dog"))


def analysed(of: EpochCurves) -> StoredAnalysis:
    """Curves, analysed."""
    tables = {
        schema.name: table.to_pandas() for schema, table in analysis_tables([analyse(of)]).items()
    }
    return StoredAnalysis((of,), tables["hypotheses"], tables["correlations"], 61, 97)


def written(of: JobResults, place: Path, about: About = ABOUT) -> Path:
    """The file of a page."""
    place.write_bytes(job_page(about, of))
    return place
