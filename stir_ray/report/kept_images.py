"""What a lake keeps of the first images: original, inverted, and what models take them for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stir_ray.identity import Artifact
from stir_ray.job import Job, TimmModel
from stir_ray.lake.parquet import Lake, images_of, provenance
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES, INVERSIONS, TableSchema
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.plan.checkpoints import FINETUNED, PRETRAINED, Checkpoint, Role
from stir_ray.plan.measurement import Comparison
from stir_ray.plan.models import known_datasets
from stir_ray.plan.study import Study
from stir_ray.report import style
from stir_ray.report.gallery import Gallery, GalleryPanel, InvertedLayer

SHOWN = 8
"""Images in the gallery."""
_Naming = Callable[[int], str]
"""What a class is called, by its number from 0."""


@dataclass(frozen=True)
class Taken:
    """What a model takes the first images for, and the images inverted from one layer.

    Attributes:
        by: the model that looks, in words.
        original: class of each image, in words.
        inverted: likewise.
    """

    by: str
    original: tuple[str, ...]
    inverted: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """A gallery with what is known of classes.

    Attributes:
        gallery: the images.
        labels: class of each original, in words.
        taken: by place of the panel and layer, by each model that looks and predicts.
    """

    gallery: Gallery
    labels: tuple[str, ...]
    taken: Mapping[tuple[int, int], tuple[Taken, ...]]


def read_gallery(job: Job, study: Study, lake: Lake) -> Labelled:
    """The first images, and what the pretrained and the last finetuned model made of them."""
    whole = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    # Those that an earlier version gathered have no names of their classes.
    classes, image_set = provenance(whole).get("class_names", []), whole.slice(0, SHOWN)
    of_dataset = partial(_named, classes)
    naming = dict.fromkeys(_knowing(job), of_dataset)
    shape = [image_set[name][0].as_py() for name in ("channels", "height", "width")]
    pixels = [np.frombuffer(image.as_py(), np.float32) for image in image_set["image"]]
    originals = np.stack(pixels).reshape(-1, *shape)
    panel = partial(_panel, study=study, lake=lake, originals=originals)
    shown = [(study.pretrained, None), *_last(study)]
    labels = tuple(of_dataset(label) for label in image_set["label"].to_pylist())
    return Labelled(
        Gallery(
            originals,
            tuple(panel(checkpoint, keep) for checkpoint, keep in shown),
            labels if classes else (),
        ),
        labels,
        {
            (place, layer): tuple(_taken(study, reference, layer, lake, naming))
            for place, (reference, _) in enumerate(shown)
            for layer in study.spec.layers_of(reference)
        },
    )


def _named(classes: Sequence[str], number: int) -> str:
    return classes[number] if number < len(classes) else f"class {number}"


def _of_its_own(number: int) -> str:
    return f"class {number} of its own"


def _knowing(job: Job) -> Iterator[Role]:
    """The models whose classes are those of the images."""
    for role, data in known_datasets(job).items():
        # Weights of timm's come with classes of theirs.
        is_of_timm = role == FINETUNED and isinstance(job.finetuned, TimmModel)
        if data == job.data and not is_of_timm:
            yield role


def _last(study: Study) -> list[tuple[Checkpoint, int | None]]:
    """The last checkpoint of the finetuned model, or else of the one there is, if it is kept."""
    last = [(one[-1], study.keep) for one in study.compared.values() if one and study.keep != 0]
    return last[:1]


def _panel(
    checkpoint: Checkpoint,
    keep: int | None,
    *,
    study: Study,
    lake: Lake,
    originals: NDArray[np.float32],
) -> GalleryPanel:
    """One model's inversions with the first seed; what is not stored is missing."""
    spec, seed = study.spec, study.seeds[0]
    layers = []
    for layer in spec.layers_of(checkpoint):
        kept = _read(IMAGES, spec.images(checkpoint, layer, seed, keep), lake)
        record = _read(INVERSIONS, spec.inversion(checkpoint, layer, seed), lake)
        images = np.full(originals.shape, np.nan, np.float32)
        residuals = np.full(len(originals), np.nan)
        if kept is not None and record is not None:
            found = images_of(kept)[: len(originals)]
            images[: len(found)] = found
            residuals[: len(found)] = record["centred_residual"].to_numpy()[: len(found)]
        layers.append(InvertedLayer(layer, images, residuals))
    return GalleryPanel(_title(checkpoint), tuple(layers))


def _title(checkpoint: Checkpoint) -> str:
    epoch = "" if checkpoint.role == PRETRAINED else f", epoch {checkpoint.epoch}"
    return f"{style.MODEL_NAMES[checkpoint.role].capitalize()} model{epoch}"


def _taken(
    study: Study,
    reference: Checkpoint,
    layer: int,
    lake: Lake,
    naming: Mapping[Role, _Naming],
) -> Iterator[Taken]:
    compared = [one[-1] for one in study.compared.values() if one]
    looking = [study.pretrained, *compared] if reference.role == PRETRAINED else [
        reference, study.pretrained
    ]  # fmt: skip
    for target in looking:
        comparison = Comparison(study.spec, reference, target, layer, study.seeds[0])
        artifacts = [
            each.artifact for each in comparison.measurements if each.name == PREDICTIONS.name
        ]
        found = _read(PREDICTIONS.table, artifacts[0], lake) if artifacts else None
        if found is not None:
            named = naming.get(target.role, _of_its_own)
            classes = (found[f"class_of_{name}"].to_pylist() for name in ("image", "inverted"))
            original, inverted = (tuple(map(named, of[:SHOWN])) for of in classes)
            yield Taken(_title(target), original, inverted)


def _read(schema: TableSchema, part: Artifact, lake: Lake) -> pa.Table | None:
    return lake.read(schema, part.id) if lake.has(schema, part.id) else None
