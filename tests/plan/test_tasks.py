"""Laws of tasks: ids hold all that results depend on; what remains is what is not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.identity import Artifact
from stir_ray.job import Architecture, Digits, ImageFolder, Selection
from stir_ray.numerics.settings import InversionSettings, Optimizer, Schedule
from stir_ray.plan.measurement import Comparison, Invert
from stir_ray.plan.model_tasks import CollectImages, InspectModel
from stir_ray.plan.tasks import Task, is_done, remaining
from tests.plan.examples import (
    ARCHITECTURE,
    DATA,
    FINETUNED,
    PRETRAINED,
    SEEDS,
    SPEC,
    STUDY,
    TRAIN,
    checkpoint,
    stored_by,
)

INVERT = Invert(SPEC, PRETRAINED, 3, 7, (PRETRAINED, FINETUNED[0]), keep=2)
COMPARISON = Comparison(SPEC, PRETRAINED, 3, 7, FINETUNED[0])
GATHER = CollectImages(DATA, Selection(count=11))
INSPECT = InspectModel("pretrained", ARCHITECTURE, "weights", "version 3")
STRANGER = Invert(SPEC, PRETRAINED, 3, max(SEEDS) + 2, (PRETRAINED,), keep=2)
ALL: tuple[Task, ...] = (GATHER, INSPECT, TRAIN, *STUDY.inversions(), *STUDY.comparisons())
ARTIFACTS = [part for task in ALL for part in task.outputs]


def with_spec(**changed: Any) -> Callable[[Any], Any]:
    """Change the spec of a task."""
    return lambda task: replace(task, spec=replace(SPEC, **changed))


def with_fields(**changed: Any) -> Callable[[Any], Any]:
    """Change fields of a task."""
    return lambda task: replace(task, **changed)


def settings(**changed: Any) -> InversionSettings:
    """The settings of the example, some of them changed."""
    return replace(SPEC.settings, **changed)


MATTERS_TO_AN_INVERSION = {
    "seed": with_fields(seed=8),
    "layer": with_fields(layer=4),
    "reference weights": with_fields(reference=checkpoint("other")),
    "image set": with_spec(image_set="other digest"),
    "representation": with_spec(representation="cls"),
    "iterations": with_spec(settings=settings(iterations=19)),
    "step size": with_spec(settings=settings(step_size=0.3)),
    "update": with_spec(settings=settings(optimizer=Optimizer.NORMALIZED_GRADIENT)),
    "schedule": with_spec(settings=settings(schedule=Schedule.CONSTANT)),
}
MATTERS_TO_A_COMPARISON = MATTERS_TO_AN_INVERSION | {
    "target weights": with_fields(target=checkpoint("other")),
    "target for reference": with_fields(reference=FINETUNED[0], target=PRETRAINED),
    "measured layers": with_spec(layers=(1, 2, 3)),
}
moved = replace(PRETRAINED, location="s3://elsewhere", role="finetuned", epoch=5)
MATTERS_TO_NEITHER = {
    "location of the images": with_spec(image_artifact=Artifact("image_sets", "f" * 32)),
    "location, role and epoch of the reference": with_fields(reference=moved),
}


def cases(changes: dict[str, Any]) -> pytest.MarkDecorator:
    """One case per change, named by it."""
    return pytest.mark.parametrize("change", changes.values(), ids=changes)


@cases(MATTERS_TO_AN_INVERSION)
def test_what_changes_an_image_changes_the_id_of_its_inversion(change: Callable) -> None:
    changed = change(INVERT)
    assert changed.inversion.id != INVERT.inversion.id
    assert changed.images_artifact.id != INVERT.images_artifact.id
    assert not set(changed.outputs) & set(INVERT.outputs)


@cases(MATTERS_TO_A_COMPARISON)
def test_what_changes_a_score_changes_the_id_of_its_comparison(change: Callable) -> None:
    assert change(COMPARISON).artifact.id != COMPARISON.artifact.id


@cases(MATTERS_TO_NEITHER)
def test_who_where_and_under_which_name_changes_no_id(change: Callable) -> None:
    assert change(INVERT).outputs == INVERT.outputs
    assert change(COMPARISON).artifact == COMPARISON.artifact


def test_how_many_images_are_kept_changes_the_kept_images_alone() -> None:
    outputs = {keep: replace(INVERT, keep=keep).outputs for keep in (0, 2, 3, None)}
    images = {keep: [p for p in parts if p.table == "images"] for keep, parts in outputs.items()}
    others = [[p for p in parts if p.table != "images"] for parts in outputs.values()]
    # Whole ones are kept as they were after half of the steps, too.
    assert [len(parts) for parts in images.values()] == [0, 1, 1, 2]
    assert len({parts[0].id for parts in images.values() if parts}) == 3
    assert all(parts == others[0] for parts in others)


@pytest.mark.parametrize(
    "changed",
    [
        {"architecture": Architecture(timm="vit_tiny_patch16_224", arguments={"depth": 7})},
        {"architecture": ARCHITECTURE.model_copy(update={"mean": (0.3,)})},
        *(
            {"training": TRAIN.training.model_copy(update={name: value})}
            for name, value in {
                "epochs": 5,
                "batch_size": 7,
                "optimizer": "adam",
                "learning_rate": 0.3,
                "momentum": 0.3,
                "weight_decay": 0.3,
                "warmup_epochs": 1,
                "seed": 5,
            }.items()
        ),
        {"data": DATA.model_copy(update={"size": 11})},
        {"data": DATA.model_copy(update={"classes": (3, 5)})},
        {"version": "other files"},
        {"start": FINETUNED[0]},
        {"start": None},
    ],
    ids=repr,
)
def test_what_changes_the_weights_changes_the_id_of_a_training(changed: dict[str, Any]) -> None:
    assert replace(TRAIN, **changed).id != TRAIN.id


def test_what_a_training_is_for_and_where_it_starts_from_changes_no_id() -> None:
    assert replace(TRAIN, name="from_scratch").id == TRAIN.id
    assert replace(TRAIN, start=moved).id == TRAIN.id
    with_data = TRAIN.training.model_copy(update={"data": DATA})
    assert replace(TRAIN, training=with_data).id == TRAIN.id


@pytest.mark.parametrize(
    "other",
    [
        CollectImages(DATA, Selection(count=13)),
        CollectImages(DATA, Selection(count=11, split="train")),
        CollectImages(DATA.model_copy(update={"size": 11}), GATHER.selection),
        CollectImages(Digits(source="digits", classes=(3, 5)), GATHER.selection),
        replace(GATHER, version="other files"),
        CollectImages(ImageFolder(source="folder", path="x", size=8), GATHER.selection),
        replace(INSPECT, architecture=Architecture(timm="resnet18")),
        replace(INSPECT, weights="other"),
        replace(INSPECT, version="version 4"),
    ],
    ids=repr,
)
def test_another_inspection_has_another_id(other: Task) -> None:
    assert not set(other.outputs) & {*GATHER.outputs, *INSPECT.outputs}


def test_images_are_what_their_version_says_and_not_where_they_lie() -> None:
    here, there = (ImageFolder(source="folder", path=path, size=8) for path in ("x", "s3://y"))
    gathers = [CollectImages(data, GATHER.selection, "version 3") for data in (here, there)]
    assert gathers[0].outputs == gathers[1].outputs
    assert replace(TRAIN, data=here, version="3").id == replace(TRAIN, data=there, version="3").id
    assert replace(TRAIN, data=here, version="3").id != replace(TRAIN, data=here, version="5").id


def test_equal_content_of_different_tables_has_different_ids() -> None:
    ids = [part.id for part in replace(INVERT, keep=None).outputs]
    assert len(set(ids)) == len(ids) == 5


def test_no_artifact_is_stored_by_two_tasks() -> None:
    assert len(set(ARTIFACTS)) == len(ARTIFACTS)


@given(missing=st.sets(st.sampled_from(ARTIFACTS), max_size=11))
def test_what_remains_is_what_is_planned_minus_what_is_stored(missing: set[Artifact]) -> None:
    stored = stored_by(ALL, but=missing)
    expected = [task for task in ALL if missing & set(task.outputs)]
    assert list(remaining(ALL, stored)) == expected
    assert [task for task in ALL if not is_done(task, stored)] == expected


def test_artifacts_of_other_tasks_finish_nothing() -> None:
    strangers = stored_by([replace(TRAIN, start=None), STRANGER])
    assert list(remaining(ALL, strangers)) == list(ALL)


def test_remaining_tasks_are_found_one_at_a_time() -> None:
    # A million tasks must not stand in memory before the first one starts.
    def endless() -> Iterator[Task]:
        while True:
            yield TRAIN

    assert next(iter(remaining(endless(), stored_by([])))) == TRAIN


def test_labels_tell_tasks_apart() -> None:
    labels = [task.label for task in ALL]
    assert len(set(labels)) == len(labels)
