"""A small study whose numbers are all different."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from stir_ray.identity import Artifact, content_id
from stir_ray.job import Architecture, Digits, Job, Training
from stir_ray.job.loader import validate_job
from stir_ray.numerics.settings import InversionSettings
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.model_tasks import Train
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Checkpoint, Role, Task

LAYERS, SEEDS, EPOCHS = (1, 2, 3, 4, 5), (3, 7), (1, 2, 3)

ARCHITECTURE = Architecture(timm="vit_tiny_patch16_224", arguments={"depth": 5})
DATA = Digits(source="digits", classes=(3, 5, 7))
TRAINING = Training(epochs=3)
SPEC = MeasurementSpec(
    image_set="digest of images",
    image_artifact=Artifact("image_sets", "0" * 32),
    representation="tokens",
    settings=InversionSettings(iterations=17),
    layers=LAYERS,
    measures=(("subspaces", 10),),
)


def checkpoint(weights: str, role: Role = "finetuned", epoch: int = 2) -> Checkpoint:
    """A checkpoint with these weights."""
    return Checkpoint(role, epoch, weights, f"somewhere/{weights}", ARCHITECTURE)


PRETRAINED = checkpoint("pt", "pretrained", 0)
FINETUNED = tuple(checkpoint(f"ft {epoch}", epoch=epoch) for epoch in EPOCHS)
STUDY = Study(SPEC, PRETRAINED, {"finetuned": FINETUNED}, SEEDS, keep=2)
TRAIN = Train("finetuned", ARCHITECTURE, TRAINING, DATA, start=PRETRAINED)


def with_compared(weights: Sequence[str]) -> Study:
    """The study of one finetuning, an epoch per digest from epoch 0."""
    several = tuple(checkpoint(digest, epoch=epoch) for epoch, digest in enumerate(weights))
    return replace(STUDY, compared={"finetuned": several})


def stored_by(tasks: Iterable[Task], *, but: Iterable[Artifact] = ()) -> dict[str, frozenset[str]]:
    """What a lake holds when the tasks are done, some artifacts left out."""
    tables = (
        "image_sets",
        "models",
        "trainings",
        "inversions",
        "images",
        "comparisons",
        "subspaces",
    )
    absent = set(but)
    parts = {part for task in tasks for part in task.outputs} - absent
    return {table: frozenset(p.id for p in parts if p.table == table) for table in tables}


def other_id(number: int = 1) -> str:
    """The id of something else."""
    return content_id("something else", recipe=1, number=number)


def job(**changed: Any) -> Job:
    """A job that trains all its models, with whole top-level keys changed."""
    train = {"epochs": 3, "learning_rate": 0.01}
    described: dict[str, Any] = {
        "schema_version": 1,
        "name": "example",
        "lake": "./lake",
        "data": {"source": "digits", "classes": [3, 5, 7]},
        "images": {"count": 11},
        "pretrained": {
            "architecture": {"timm": "vit_tiny_patch16_224", "arguments": {"depth": 5}},
            "train": train | {"data": {"source": "digits", "classes": [0, 2]}},
        },
        "finetuned": {"train": train},
        "from_scratch": {"train": train | {"seed": 13}},
    }
    return validate_job(described | changed, "example")
