"""Two workers at one inversion: a straggler and its backup, or two jobs at once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stir_ray.catalog.inspection import lake_of, resolve
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import provenance
from stir_ray.lake.schemas import IMAGES, INVERSIONS
from stir_ray.numerics.settings import InversionSettings, Precision
from stir_ray.plan.measurement import Invert
from stir_ray.results.study_reader import read_study
from stir_ray.worker import invert, layer_inverter
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from stir_ray.worker.invert import invert_layer

Contents = Mapping[str, bytes]


class Other:
    """Another worker, which stores parts of a task while this one inverts."""

    def __init__(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is done yet."""
        self.job, self.lake = job, lake_of(job)
        self._really, self._monkeypatch = layer_inverter.advance, monkeypatch

    def has_done(self, task: Invert) -> Contents:
        """What it will store; it is not there now."""
        keys = [artifact_key(part.table, part.id) for part in task.outputs]
        contents = {key: self.lake.objects.get(key) for key in keys}
        for key in keys:
            self.lake.objects.delete(key)
        return contents

    def stores_meanwhile(self, contents: Contents) -> None:
        """Store it when this worker's inversion has begun."""

        def slow(*args: Any, **named: Any) -> Any:
            for key, content in contents.items():
                self.lake.objects.put(key, content)
            return self._really(*args, **named)

        self._monkeypatch.setattr(layer_inverter, "advance", slow)

    def stored_after(self, task: Invert) -> dict[str, bytes]:
        """Do the task here; what is in the lake of it then."""
        ctx = WorkerContext(WorkerSettings(self.job.lake, "", None, 0.0), threads=1)
        ctx.begin(task.label)
        invert_layer(task, ctx)
        keys = [artifact_key(part.table, part.id) for part in task.outputs]
        return {key: self.lake.objects.get(key) for key in keys}


@pytest.fixture
def other(finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch) -> Other:
    return Other(finished_copy(), monkeypatch)


def tasks_of(job: Job) -> list[Invert]:
    """One whose images are kept whole, and one of which a sample is kept."""
    tasks = list(read_study(resolve(job), lake_of(job)).inversions())
    return [next(task for task in tasks if task.keep is None), tasks[-1]]


def test_parts_say_in_which_precision_was_searched(
    finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_copy()
    other, searched = Other(job, monkeypatch), set()
    really = layer_inverter.advance

    def noted(*args: Any, settings: InversionSettings, **named: Any) -> Any:
        searched.add(str(settings.precision))
        return really(*args, settings=settings, **named)

    for expected in ("float32", "bfloat16"):
        # As `auto` is resolved on a CPU, and on a GPU.
        monkeypatch.setattr(
            invert, "resolve_precision", lambda *_, found=expected: Precision(found)
        )
        monkeypatch.setattr(layer_inverter, "advance", noted)
        for task in tasks_of(job):
            other.has_done(task)
            other.stored_after(task)
            for schema, part in (
                (IMAGES, task.images_artifact),
                (INVERSIONS, task.inversion),
            ):
                assert provenance(other.lake.read(schema, part.id))["precision"] == expected
        assert searched == {expected}
        searched.clear()


def test_who_is_late_replaces_nothing(other: Other) -> None:
    for task in tasks_of(other.job):
        contents = other.has_done(task)
        other.stores_meanwhile(contents)
        assert other.stored_after(task) == contents


def test_what_another_left_out_is_made_to_go_with_what_it_stored(other: Other) -> None:
    task, _ = tasks_of(other.job)
    contents = other.has_done(task)
    stored = dict(list(contents.items())[:2])
    other.stores_meanwhile(stored)
    found = other.stored_after(task)
    assert set(found) == set(contents)
    assert stored.items() <= found.items()


def test_a_task_that_is_done_is_not_done_again(other: Other, tmp_path: Path) -> None:
    task, _ = tasks_of(other.job)
    other.stores_meanwhile({"inverted": b"again"})
    other.stored_after(task)
    assert not (tmp_path / "lake" / "inverted").exists()
