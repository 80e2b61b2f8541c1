"""The figures of a job, drawn where they are not current and stored beside its results."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stir_ray.job import Job
from stir_ray.lake.layout import figure_folder, figure_key, result_folder, result_key
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES, INVERSIONS, ROBUSTNESS
from stir_ray.lake.tables import Lake, images_of
from stir_ray.plan.checkpoints import PRETRAINED, Checkpoint
from stir_ray.plan.parts import Part
from stir_ray.plan.study import Study
from stir_ray.report.figures import all_figures
from stir_ray.report.gallery import Gallery, GalleryPanel, InvertedLayer, gallery_figure
from stir_ray.report.robustness import robustness_figure
from stir_ray.report.save import is_current, save
from stir_ray.results import open_results
from stir_ray.stages.reduce import Reduced

_SHOWN = 8
"""Images in the gallery."""
_FORMATS = ("png", "svg")


def write_figures(job: Job, study: Study, lake: Lake, reduced: Reduced) -> str:
    """Draw every figure of a job that is not there or was drawn from other results.

    Args:
        job: whose results are drawn.
        study: its models and images.
        lake: that holds them.
        reduced: what the results were made from; what has no number is not drawn.

    Returns:
        The folder or URL of the figures.
    """
    for stem, make in _undrawn(job, study, lake, reduced):
        for file, content in save(make(), stem, inputs=reduced.inputs).items():
            lake.objects.put(figure_key(job.name, file), content)
    return lake.objects.location(figure_folder(job.name))


def _undrawn(
    job: Job, study: Study, lake: Lake, reduced: Reduced
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Figures to be drawn: file stem and maker."""
    drawn = lake.objects.sizes(figure_folder(job.name))

    def is_drawn(stem: str) -> bool:
        keys = [figure_key(job.name, f"{stem}.{kind}") for kind in _FORMATS]
        return all(
            key in drawn and is_current(lake.objects.get(key), reduced.inputs) for key in keys
        )

    for stem, make in _all(job, study, lake, reduced):
        if not is_drawn(stem):
            yield stem, make


def _all(
    job: Job, study: Study, lake: Lake, reduced: Reduced
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    if reduced.present:
        yield from all_figures(open_results(lake.objects.location(result_folder(job.name))))
        yield "8-gallery", lambda: gallery_figure(_gallery(study.trained(), lake))
    if reduced.tested:
        key = result_key(job.name, ROBUSTNESS.name)
        tested = lake.read_object(ROBUSTNESS, key).to_pandas()
        # Of the pretrained model there is one epoch, and that of other classes.
        if tested["model"].ne(PRETRAINED).any():
            yield "9-accuracy-on-corrupted-images", partial(robustness_figure, tested)


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
    for layer in question.layers:
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
