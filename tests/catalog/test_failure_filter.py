"""Laws of selecting failed tasks, and of what builds on what."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.catalog.failures import FailedTask, FailureFilter, RetryFailed, select
from stir_ray.errors import InputError
from stir_ray.formatting import spelled
from stir_ray.job import Selection
from stir_ray.plan.model_tasks import CollectImages, InspectModel
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import FROM_SCRATCH, task_id
from tests.plan.examples import (
    ARCHITECTURE,
    DATA,
    LAYERS,
    SEEDS,
    STUDY,
    TRAIN,
    TRAINING,
    checkpoint,
)
from tests.small_job import small_job

KINDS = [
    ("out_of_memory", "OutOfMemoryError-1"),
    ("permanent", "ValueError-2"),
    ("timeout", "Timeout"),
]
INSPECT = [CollectImages(DATA, Selection(count=7)), InspectModel("pretrained", ARCHITECTURE)]
PRETRAIN = replace(TRAIN, name="pretrained", start=None)
SCRATCH = checkpoint("scratch", FROM_SCRATCH, 3)
WITH_SCRATCH = replace(STUDY, compared={**STUDY.compared, FROM_SCRATCH: (SCRATCH,)})
OTHER_SEED = TRAINING.model_copy(update={"seed": 13})
SCRATCH_TRAIN = replace(PRETRAIN, name=FROM_SCRATCH, training=OTHER_SEED)
TRAININGS = [PRETRAIN, TRAIN, SCRATCH_TRAIN]
INVERT, COMPARE = list(WITH_SCRATCH.inversions()), list(WITH_SCRATCH.comparisons())
TASKS = [*INSPECT, *TRAININGS, *INVERT, *COMPARE]
FAILED = tuple(
    FailedTask(task, task_id(task), *KINDS[place % 3], "", "", "", 1, 0.0, datetime.now(UTC))
    for place, task in enumerate(TASKS)
)
CHOICES = st.builds(
    FailureFilter,
    classes=st.frozensets(st.sampled_from([kind for kind, _ in KINDS]), max_size=2),
    fingerprints=st.frozensets(st.sampled_from([mark for _, mark in KINDS]), max_size=2),
    epochs=st.frozensets(st.integers(0, 4), max_size=3),
    seeds=st.frozensets(st.sampled_from(SEEDS), max_size=2),
    layers=st.frozensets(st.sampled_from(LAYERS), max_size=3),
    tasks=st.frozensets(st.sampled_from([one.id[:9] for one in FAILED]), max_size=5),
)
NAMES = [field.name for field in fields(FailureFilter)]


def matching(choice: FailureFilter) -> set[str]:
    """Ids of the failed tasks that match."""
    return {one.id for one in FAILED if choice.matches(one)}


def test_asking_nothing_matches_everything() -> None:
    assert matching(FailureFilter()) == {one.id for one in FAILED}


@given(choice=CHOICES)
def test_options_are_combined_by_and(choice: FailureFilter) -> None:
    alone = [matching(FailureFilter(**{name: getattr(choice, name)})) for name in NAMES]
    assert matching(choice) == set.intersection(*alone)


@given(choice=CHOICES, name=st.sampled_from(NAMES))
def test_values_of_one_option_are_combined_by_or(choice: FailureFilter, name: str) -> None:
    values = getattr(choice, name)
    each = [matching(replace(choice, **{name: frozenset({value})})) for value in values]
    assert not values or matching(choice) == set().union(*each)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (FailureFilter(seeds=frozenset(SEEDS)), len(INVERT) + len(COMPARE)),
        (FailureFilter(layers=frozenset(LAYERS)), len(INVERT) + len(COMPARE)),
        # The inversions of the pretrained model, its training and the inspections are of none.
        (
            FailureFilter(epochs=frozenset(range(9))),
            len(TASKS) - len(INSPECT) - 1 - 2 * len(LAYERS),
        ),
        (FailureFilter(epochs=frozenset({1}), layers=frozenset({2})), 2 * 2),
        (FailureFilter(tasks=frozenset({FAILED[3].id})), 1),
    ],
)
def test_a_task_without_a_value_is_not_chosen_by_it(choice: FailureFilter, expected: int) -> None:
    assert len(matching(choice)) == expected


@given(choice=CHOICES)
def test_something_is_chosen_or_it_is_said_what_there_is(choice: FailureFilter) -> None:
    if matching(choice):
        assert {one.id for one in select(FAILED, choice)} == matching(choice)
    else:
        with pytest.raises(InputError, match=f"{len(FAILED)} failed, of classes"):
            select(FAILED, choice)


def test_the_beginning_of_an_id_names_one_task_or_none() -> None:
    first = FAILED[0].id
    twin = replace(FAILED[1], id=first[:8] + ("1" if first[8] == "0" else "0") + first[9:])
    with pytest.raises(InputError, match="begins the ids of 2 failed tasks"):
        select((FAILED[0], twin), FailureFilter(tasks=frozenset({FAILED[0].id[:8]})))
    (found,) = select((FAILED[0], twin), FailureFilter(tasks=frozenset({FAILED[0].id[:9]})))
    assert found == FAILED[0]
    with pytest.raises(InputError, match="at least 6 digits"):
        select(FAILED, FailureFilter(tasks=frozenset({FAILED[0].id[:5]})))


def builders(task: Any) -> set[str]:
    """Labels of the tasks that build on what a task makes."""
    made = task.provides
    return {other.label for other in TASKS if not made.isdisjoint(other.requires)}


def labels(*tasks: Any) -> set[str]:
    """In words."""
    return {task.label for task in tasks}


def test_everything_builds_on_inspections() -> None:
    for task in INSPECT:
        assert builders(task) == labels(*TRAININGS, *INVERT, *COMPARE)


def test_a_model_that_is_trained_serves_what_looks_at_it_or_starts_from_it() -> None:
    of_scratch = {one.label for one in [*INVERT, *COMPARE] if "scratch" in one.label}
    assert builders(SCRATCH_TRAIN) == of_scratch
    of_finetuned = {one.label for one in [*INVERT, *COMPARE] if "finetuned" in one.label}
    assert builders(TRAIN) == of_finetuned
    # The pretrained model looks at every inversion.
    assert builders(PRETRAIN) == labels(TRAIN, *INVERT, *COMPARE)


def test_images_of_the_pretrained_model_serve_every_comparison_of_their_seed() -> None:
    for task in INVERT:
        of_seed = labels(*(one for one in COMPARE if one.seed == task.seed))
        is_kept = task.reference == STUDY.pretrained
        assert builders(task) == (of_seed if is_kept else set())


def test_nothing_builds_on_itself_or_in_a_circle() -> None:
    for place, task in enumerate(TASKS):
        assert builders(task) <= labels(*TASKS[place + 1 :])


@given(values=st.sets(st.integers(0, 40), min_size=1))
def test_numbers_are_spelled_in_order_and_all_of_them(values: set[int]) -> None:
    read: list[int] = []
    for run in spelled(values).split(", "):
        first, _, last = run.partition("-")
        read += range(int(first), int(last or first) + 1)
    assert read == sorted(values)


def test_a_retry_always_inspects_for_nothing_can_be_planned_without_it() -> None:
    job = small_job("lake", robustness={"corruptions": ["fog"]})
    tasks = list(ResolvedJob(job, {}).inspections())
    assert len({type(task) for task in tasks}) == 3
    assert all(RetryFailed(()).includes(task) for task in tasks)
