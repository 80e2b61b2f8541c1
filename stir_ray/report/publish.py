"""The figures of a job, drawn where they are not current and stored beside its results."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.layout import figure_folder, figure_key, result_folder, result_key
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES, INVERSIONS, ROBUSTNESS
from stir_ray.lake.tables import Lake, images_of
from stir_ray.plan.checkpoints import PRETRAINED, Checkpoint
from stir_ray.plan.parts import Part
from stir_ray.plan.study import Study
from stir_ray.report.analysed import analysis_figures, prefix_figures_beside
from stir_ray.report.figures import all_figures
from stir_ray.report.gallery import Gallery, GalleryPanel, InvertedLayer, gallery_figure
from stir_ray.report.published import Chosen
from stir_ray.report.robustness import robustness_figure
from stir_ray.report.save import is_current, save
from stir_ray.report.side_by_side import Measured, figures_beside
from stir_ray.report.strongest import Prefixes
from stir_ray.results import open_results
from stir_ray.stages.analyse_job import analysis_inputs, is_analysed, read_analysis
from stir_ray.stages.reduce import Reduced

_SHOWN = 8
"""Images in the gallery."""
_FORMATS = ("png", "svg")


@dataclass(frozen=True)
class Drawable:
    """A figure that can be drawn.

    Attributes:
        stem: of its files.
        inputs: digest of all that it shows.
        make: draws it.
    """

    stem: str
    inputs: str
    make: Callable[[], Figure]


@dataclass(frozen=True)
class Beside:
    """What a job is held against.

    Attributes:
        published: numbers of others.
        depth: blocks of the job's own pretrained model.
    """

    published: Chosen
    depth: int


def write_figures(
    job: Job, study: Study, lake: Lake, reduced: Reduced, beside: Beside | None = None
) -> str:
    """Draw every figure of a job that is not there or was drawn from other results.

    Args:
        job: whose results are drawn.
        study: its models and images.
        lake: that holds them.
        reduced: what the results were made from; what has no number is not drawn.
        beside: what others published, for figures of both; None for no such figures.

    Returns:
        The folder or URL of the figures.
    """
    draw(_all(job, study, lake, reduced), job.name, lake)
    if beside and reduced.present:
        draw(_beside(job, study, lake, reduced, beside), job.name, lake)
    return lake.objects.location(figure_folder(job.name))


def draw(figures: Iterable[Drawable], folder: str, lake: Lake) -> None:
    """Draw and store those of the figures that are not there or were drawn from something else.

    Args:
        figures: of one folder.
        folder: name of a job, or of a file of jobs.
        lake: to store them in.
    """
    drawn = lake.objects.sizes(figure_folder(folder))

    def is_drawn(one: Drawable) -> bool:
        keys = [figure_key(folder, f"{one.stem}.{kind}") for kind in _FORMATS]
        return all(key in drawn and is_current(lake.objects.get(key), one.inputs) for key in keys)

    for one in figures:
        if not is_drawn(one):
            for file, content in save(one.make(), one.stem, inputs=one.inputs).items():
                lake.objects.put(figure_key(folder, file), content)


def _all(job: Job, study: Study, lake: Lake, reduced: Reduced) -> Iterator[Drawable]:
    made_from = reduced.inputs
    if reduced.present:
        results = open_results(lake.objects.location(result_folder(job.name)))
        for stem, make in all_figures(results):
            yield Drawable(stem, made_from, make)
        gallery = partial(_gallery, study.trained(), lake)
        yield Drawable("8-gallery", made_from, lambda: gallery_figure(gallery()))
    if reduced.tested:
        key = result_key(job.name, ROBUSTNESS.name)
        tested = lake.read_object(ROBUSTNESS, key).to_pandas()
        # Of the pretrained model there is one epoch, and that of other classes.
        if tested["model"].ne(PRETRAINED).any():
            make = partial(robustness_figure, tested)
            yield Drawable("9-accuracy-on-corrupted-images", made_from, make)
    if reduced.present and is_analysed(job, lake, reduced):
        analysed = read_analysis(job, study, lake)
        for stem, make in analysis_figures(analysed):
            yield Drawable(stem, analysis_inputs(reduced), make)


def _beside(
    job: Job, study: Study, lake: Lake, reduced: Reduced, beside: Beside
) -> Iterator[Drawable]:
    results = open_results(lake.objects.location(result_folder(job.name)))
    measured = Measured(job.name, results, beside.depth)
    figures = [*figures_beside(measured, beside.published)]
    if is_analysed(job, lake, reduced):
        others = beside.published
        published = [
            Prefixes(series, *of, source=others.source, hypothesis=others.prefix_hypothesis)
            for series, of in others.prefixes.items()
        ]
        figures += prefix_figures_beside(read_analysis(job, study, lake), published)
    inputs = content_id(
        "beside", recipe=1, results=analysis_inputs(reduced), published=beside.published.digest
    )
    for stem, make in figures:
        yield Drawable(stem, inputs, make)


def _gallery(study: Study, lake: Lake) -> Gallery:
    """The first images, and what the pretrained and the last finetuned model made of them."""
    image_set = lake.read(IMAGE_SETS, study.question.image_part.id).slice(0, _SHOWN)
    shape = [image_set[name][0].as_py() for name in ("channels", "height", "width")]
    pixels = [np.frombuffer(image.as_py(), np.float32) for image in image_set["image"]]
    originals = np.stack(pixels).reshape(-1, *shape)
    panel = partial(_panel, study=study, lake=lake, originals=originals)
    last = [(one[-1], study.keep) for one in study.compared.values() if one and study.keep != 0]
    shown = [(study.pretrained, None), *last[:1]]
    return Gallery(originals, tuple(panel(checkpoint, keep) for checkpoint, keep in shown))


def _panel(
    checkpoint: Checkpoint,
    keep: int | None,
    *,
    study: Study,
    lake: Lake,
    originals: NDArray[np.float32],
) -> GalleryPanel:
    """One model's inversions with the first seed; what is not stored is missing."""
    question, seed = study.question, study.seeds[0]
    layers = []
    for layer in question.layers_of(checkpoint):
        kept = _read(lake, question.images(checkpoint, layer, seed, keep))
        record = _read(lake, question.inversion(checkpoint, layer, seed))
        images = np.full(originals.shape, np.nan, np.float32)
        residuals = np.full(len(originals), np.nan)
        if kept is not None and record is not None:
            found = images_of(kept)[: len(originals)]
            images[: len(found)] = found
            residuals[: len(found)] = record["residual"].to_numpy()[: len(found)]
        layers.append(InvertedLayer(layer, images, residuals))
    epoch = "" if checkpoint.role == PRETRAINED else f", epoch {checkpoint.epoch}"
    name = checkpoint.role.replace("_", " ").capitalize()
    return GalleryPanel(f"{name} model{epoch}", tuple(layers))


def _read(lake: Lake, part: Part) -> pa.Table | None:
    schema = IMAGES if part.table == IMAGES.name else INVERSIONS
    return lake.read(schema, part.id) if lake.has(schema, part.id) else None
