"""What a lake keeps of the first images: originals, inverted images, and predictions of both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from stir_ray.charts.gallery import Gallery, InvertedLayer
from stir_ray.identity import Artifact
from stir_ray.job import Job, TimmModel
from stir_ray.lake.parquet import Lake, images_of, provenance
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES, INVERSIONS, TableSchema
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.plan.measurement import Comparison
from stir_ray.plan.resolved_job import is_finetuned, known_datasets
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import FINETUNED, PRETRAINED, Checkpoint, Role

SHOWN = 8
"""Images in the gallery."""
_ClassName = Callable[[int], str]
"""What a class is called, by its number from 0."""


def read_gallery(job: Job, study: Study, lake: Lake) -> Gallery:
    """Return the first images, and what the pretrained and the last compared model made of them."""
    whole = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    classes, image_set = provenance(whole).get("class_names", []), whole.slice(0, SHOWN)
    class_name = partial(_class_name, classes)
    class_names = dict.fromkeys(_models_with_the_classes(job), class_name)
    shape = [image_set[name][0].as_py() for name in ("channels", "height", "width")]
    pixels = [np.frombuffer(image.as_py(), np.float32) for image in image_set["image"]]
    originals = np.stack(pixels).reshape(-1, *shape)
    second = "" if is_finetuned(job) else "compared"
    layers = partial(
        _layers,
        study=study,
        lake=lake,
        shape=originals.shape,
        class_names=class_names,
        second=second,
    )
    shown = [(study.pretrained, None), *_last(study)]
    return Gallery(
        originals,
        {_title(checkpoint, second): tuple(layers(checkpoint, keep)) for checkpoint, keep in shown},
        tuple(class_name(label) for label in image_set["label"].to_pylist()) if classes else (),
    )


def _class_name(classes: Sequence[str], number: int) -> str:
    return classes[number] if number < len(classes) else f"class {number}"


def _own_class_name(number: int) -> str:
    return f"class {number} of its own"


def _models_with_the_classes(job: Job) -> Iterator[Role]:
    """The models whose classes are those of the images."""
    for role, data in known_datasets(job).items():
        # Weights of timm's come with their own classes.
        is_of_timm = role == FINETUNED and isinstance(job.finetuned, TimmModel)
        if data == job.data and not is_of_timm:
            yield role


def _last(study: Study) -> list[tuple[Checkpoint, int | None]]:
    """The last checkpoint of the finetuned model, or else of the one there is, if it is kept."""
    last = [
        (checkpoints[-1], study.keep)
        for checkpoints in study.compared.values()
        if checkpoints and study.keep != 0
    ]
    return last[:1]


def _layers(
    checkpoint: Checkpoint,
    keep: int | None,
    *,
    study: Study,
    lake: Lake,
    shape: tuple[int, ...],
    class_names: Mapping[Role, _ClassName],
    second: str,
) -> Iterator[InvertedLayer]:
    """A model's inversions with the first seed; what is not stored is missing."""
    spec, seed = study.spec, study.seeds[0]
    for layer in spec.layers_of(checkpoint):
        kept = _read(IMAGES, spec.images(checkpoint, layer, seed, keep), lake)
        record = _read(INVERSIONS, spec.inversion(checkpoint, layer, seed), lake)
        images = np.full(shape, np.nan, np.float32)
        residuals = np.full(shape[0], np.nan)
        if kept is not None and record is not None:
            stored = images_of(kept)[: shape[0]]
            images[: len(stored)] = stored
            residuals[: len(stored)] = record["centred_residual"].to_numpy()[: len(stored)]
        classes = list(
            _predicted(study, checkpoint, layer, lake, class_names=class_names, second=second)
        )
        texts = [" ".join(sentences) for sentences in zip(*classes, strict=False)]
        yield InvertedLayer(layer, images, residuals, texts)


def _title(checkpoint: Checkpoint, second: str) -> str:
    epoch = "" if checkpoint.role == PRETRAINED else f", epoch {checkpoint.epoch}"
    name = second if second and checkpoint.role == FINETUNED else checkpoint.role
    return f"{name.replace('_', ' ').capitalize()} model{epoch}"


def _predicted(
    study: Study,
    reference: Checkpoint,
    layer: int,
    lake: Lake,
    *,
    class_names: Mapping[Role, _ClassName],
    second: str,
) -> Iterator[list[str]]:
    compared = [checkpoints[-1] for checkpoints in study.compared.values() if checkpoints]
    targets = [reference, study.pretrained]
    if reference.role == PRETRAINED:
        targets = [study.pretrained, *compared]
    for target in targets:
        comparison = Comparison(study.spec, reference, target, layer, study.seeds[0])
        artifacts = [
            measurement.artifact
            for measurement in comparison.measurements
            if measurement.name == PREDICTIONS.name
        ]
        table = _read(PREDICTIONS.table, artifacts[0], lake) if artifacts else None
        if table is None:
            continue
        name = class_names.get(target.role, _own_class_name)
        columns = (table[f"class_of_{kind}"].to_pylist() for kind in ("image", "inverted"))
        original, inverted = (list(map(name, column[:SHOWN])) for column in columns)
        yield [
            f"{_title(target, second)}: original {was}, inverted {now}"
            f" ({'kept' if was == now else 'changed'})."
            for was, now in zip(original, inverted, strict=True)
        ]


def _read(schema: TableSchema, part: Artifact, lake: Lake) -> pa.Table | None:
    return lake.read(schema, part.id) if lake.has(schema, part.id) else None
