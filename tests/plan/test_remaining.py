"""Laws of resuming: what remains is what is planned minus what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.identity import Artifact
from stir_ray.job import Selection
from stir_ray.plan.measurement import Invert
from stir_ray.plan.model_tasks import CollectImages, InspectModel
from stir_ray.plan.tasks import Checkpoint, Task, is_done, remaining
from tests.plan.examples import (
    ARCHITECTURE,
    DATA,
    PRETRAINED,
    SEEDS,
    SPEC,
    STUDY,
    TRAIN,
    checkpoint,
    stored_by,
)

GATHER = CollectImages(DATA, Selection(count=11))
INSPECT = InspectModel("pretrained", ARCHITECTURE, "weights", "version 3")
STRANGER = Invert(SPEC, PRETRAINED, 3, max(SEEDS) + 2, (PRETRAINED,), keep=2)
ALL: tuple[Task, ...] = (GATHER, INSPECT, TRAIN, *STUDY.inversions(), *STUDY.comparisons())
ARTIFACTS = [part for task in ALL for part in task.outputs]


def test_nothing_remains_when_every_part_is_stored() -> None:
    assert list(remaining(ALL, stored_by(ALL))) == []


def test_everything_remains_of_an_empty_lake_in_the_order_of_the_plan() -> None:
    assert list(remaining(ALL, stored_by([]))) == list(ALL)


def test_no_part_is_made_by_two_tasks() -> None:
    assert len(set(ARTIFACTS)) == len(ARTIFACTS)


@pytest.mark.parametrize("part", ARTIFACTS[::7], ids=lambda part: f"{part.table}")
def test_one_missing_part_brings_back_exactly_the_task_that_makes_it(part: Artifact) -> None:
    (task,) = remaining(ALL, stored_by(ALL, but=[part]))
    assert part in task.outputs


@given(missing=st.sets(st.sampled_from(ARTIFACTS), max_size=11))
def test_what_remains_is_what_is_planned_minus_what_is_stored(missing: set[Artifact]) -> None:
    stored = stored_by(ALL, but=missing)
    expected = [task for task in ALL if missing & set(task.outputs)]
    assert list(remaining(ALL, stored)) == expected
    assert [task for task in ALL if not is_done(task, stored)] == expected


def test_foreign_parts_finish_nothing() -> None:
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


def test_a_checkpoint_is_called_by_role_and_epoch() -> None:
    assert Checkpoint("pretrained", 0, "w", "l", ARCHITECTURE).label == "pretrained"
    assert checkpoint("w", epoch=7).label == "finetuned epoch 7"
