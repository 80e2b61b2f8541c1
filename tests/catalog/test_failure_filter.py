"""Failed tasks are selected by all criteria together, and a retry runs what builds on them."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.catalog.failures import FailedTask, FailureFilter, RetryFailed, select
from stir_ray.errors import InputError
from stir_ray.formatting import format_values
from stir_ray.job import Selection
from stir_ray.plan.model_tasks import CollectImages, InspectModel, SelectTestImages
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from stir_ray.plan.tasks import FROM_SCRATCH, Task, task_id
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
    FailedTask(task, task_id(task), *KINDS[number % 3], "", "", "", 1, 0.0, datetime.now(UTC))
    for number, task in enumerate(TASKS)
)
FILTERS = st.builds(
    FailureFilter,
    classes=st.frozensets(st.sampled_from([kind for kind, _ in KINDS]), max_size=2),
    fingerprints=st.frozensets(st.sampled_from([mark for _, mark in KINDS]), max_size=2),
    epochs=st.frozensets(st.integers(0, 4), max_size=3),
    seeds=st.frozensets(st.sampled_from(SEEDS), max_size=2),
    layers=st.frozensets(st.sampled_from(LAYERS), max_size=3),
    tasks=st.frozensets(st.sampled_from([failed.id[:9] for failed in FAILED]), max_size=5),
)
NAMES = [field.name for field in fields(FailureFilter)]


def matching(criteria: FailureFilter) -> set[str]:
    """Return the ids of the failed tasks that match."""
    return {failed.id for failed in FAILED if criteria.matches(failed)}


@given(criteria=FILTERS)
def test_criteria_are_combined_by_and_their_values_by_or(criteria: FailureFilter) -> None:
    expected = {failed.id for failed in FAILED}
    for name in NAMES:
        values = getattr(criteria, name)
        by_value = (matching(FailureFilter(**{name: frozenset({value})})) for value in values)
        expected &= set().union(*by_value) if values else expected
    assert matching(criteria) == expected
    if expected:
        assert {failed.id for failed in select(FAILED, criteria)} == expected
    else:
        with pytest.raises(InputError, match=f"{len(FAILED)} failed, of classes"):
            select(FAILED, criteria)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        (FailureFilter(seeds=frozenset(SEEDS)), len(INVERT) + len(COMPARE)),
        (FailureFilter(layers=frozenset(LAYERS)), len(INVERT) + len(COMPARE)),
        # The inversions of the pretrained model, its training and the inspections have no epoch.
        (
            FailureFilter(epochs=frozenset(range(9))),
            len(TASKS) - len(INSPECT) - 1 - 2 * len(LAYERS),
        ),
        (FailureFilter(epochs=frozenset({1}), layers=frozenset({2})), 2 * 2),
        (FailureFilter(tasks=frozenset({FAILED[3].id})), 1),
    ],
)
def test_a_task_without_a_value_is_not_selected_by_it(
    criteria: FailureFilter, expected: int
) -> None:
    assert len(matching(criteria)) == expected


def test_the_beginning_of_an_id_names_one_task_or_none() -> None:
    first = FAILED[0].id
    twin = replace(FAILED[1], id=first[:8] + ("1" if first[8] == "0" else "0") + first[9:])

    def by(prefix: str) -> tuple[FailedTask, ...]:
        return select((FAILED[0], twin), FailureFilter(tasks=frozenset({prefix})))

    assert by(first[:9]) == (FAILED[0],)
    for prefix, error in ((first[:8], "begins the ids of 2"), (first[:5], "at least 6 digits")):
        with pytest.raises(InputError, match=error):
            by(prefix)


def dependents(task: Any) -> set[str]:
    """Return the labels of the tasks that build on what a task provides."""
    return {other.label for other in TASKS if not task.provides.isdisjoint(other.requires)}


def labels(*tasks: Task) -> set[str]:
    return {task.label for task in tasks}


def test_what_builds_on_a_task_is_known_before_it_runs() -> None:
    for task in INSPECT:
        assert dependents(task) == labels(*TRAININGS, *INVERT, *COMPARE)
    measured = [*INVERT, *COMPARE]
    assert dependents(SCRATCH_TRAIN) == labels(*(it for it in measured if "scratch" in it.label))
    assert dependents(TRAIN) == labels(*(it for it in measured if "finetuned" in it.label))
    # The pretrained model looks at every inversion.
    assert dependents(PRETRAIN) == labels(TRAIN, *measured)
    for task in INVERT:
        of_seed = labels(*(other for other in COMPARE if other.seed == task.seed))
        is_kept = task.reference == STUDY.pretrained
        assert dependents(task) == (of_seed if is_kept else set())
    for number, task in enumerate(TASKS):
        assert dependents(task) <= labels(*TASKS[number + 1 :])


def test_a_retry_always_inspects_for_nothing_can_be_planned_without_it() -> None:
    job = small_job("lake", robustness={"corruptions": ["fog"]})
    tasks = list(ResolvedJob(job, {path: path for path in files_of(job)}).inspections())
    assert {type(task) for task in tasks} == {CollectImages, InspectModel, SelectTestImages}
    assert all(RetryFailed(()).includes(task) for task in tasks)


@given(values=st.sets(st.integers(0, 40), min_size=1))
def test_numbers_are_spelled_in_order_and_all_of_them(values: set[int]) -> None:
    read: list[int] = []
    for run in format_values(values).split(", "):
        first, _, last = run.partition("-")
        read += range(int(first), int(last or first) + 1)
    assert read == sorted(values)
