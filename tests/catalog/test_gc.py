"""What no job needs is surplus and removed, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stir_ray.catalog.gc import Unused, remove, unused
from stir_ray.catalog.inspection import inspected_in_lake, resolve
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key, resume_key, training_of
from stir_ray.lake.parquet import open_lake
from tests.broken import job_file, lose, stir_ray, watched
from tests.small_job import small_job
from tests.stores.servers import S3Store

SUBSET = ["--set", "seeds=[0]", "--set", "from_scratch=null"]


@pytest.fixture
def path(finished_copy: Callable[[], Job], tmp_path: Path) -> Path:
    """A job file whose lake is finished, hours ago."""
    job = finished_copy()
    age(tmp_path / "lake")
    return job_file(job, tmp_path)


def age(lake: Path, hours: float = 2) -> None:
    """Make everything in a lake look as old."""
    when = time.time() - 3600 * hours
    for file in lake.rglob("*.*"):
        os.utime(file, (when, when))


def contents(lake: Path) -> dict[str, int]:
    """Size of every file but results."""
    return {
        str(file.relative_to(lake)): file.stat().st_size
        for top in ("artifacts", "checkpoints")
        for file in (lake / top).rglob("*")
        if file.is_file()
    }


def listed(path: Path) -> set[str]:
    """Keys of what is unused."""
    return {each.key for each in unused(open_lake(str(path.parent / "lake"))).unused}


def planned_by(job: Job) -> set[str]:
    """Keys of the parts that a job needs."""
    inspected = inspected_in_lake(resolve(job), open_lake(job.lake))
    assert inspected
    tasks = [task for _, of_stage in inspected.stages() for task in of_stage]
    return {artifact_key(part.table, part.id) for task in tasks for part in task.outputs}


def test_a_finished_lake_has_nothing_to_spare_and_its_job_is_recorded_once(path: Path) -> None:
    records = path.parent / "lake/jobs/small/specs"
    (record,) = records.iterdir()
    written = record.stat().st_mtime_ns
    stir_ray("run", path, "--serial", "--set", "execution.batch_size=5")
    assert list(records.iterdir()) == [record]
    assert record.stat().st_mtime_ns == written
    before = contents(path.parent / "lake")
    code, output, _ = stir_ray("gc", path, "--yes")
    assert (code, "Removed 0 objects." in output) == (0, True)
    assert contents(path.parent / "lake") == before


def test_what_a_given_up_job_alone_used_goes_and_the_other_starts_no_task(path: Path) -> None:
    lake = path.parent / "lake"
    other = ["--set", "name=other", *SUBSET]
    assert "No task ran" in stir_ray("run", path, *other, "--serial")[1]
    assert listed(path) == set()
    shutil.rmtree(lake / "jobs/small")
    before = contents(lake)
    needed = planned_by(small_job(lake, name="other", seeds=[0], from_scratch=None))
    surplus = unused(open_lake(str(lake))).unused
    parts = {key for key in before if key.startswith("artifacts/")}
    assert {each.key for each in surplus if each.table != "checkpoints"} == parts - needed
    # Of the training from scratch, before and after its one epoch.
    assert sum(each.table == "checkpoints" for each in surplus) == 2
    assert {each.key: each.size for each in surplus}.items() <= before.items()
    # Without the word nothing is touched.
    _, output, _ = stir_ray("gc", path)
    assert contents(lake) == before
    assert f"{len(surplus)}" in output
    assert "Nothing is removed without `--yes`" in output
    code, output, _ = stir_ray("gc", "--lake", lake, "--yes")
    assert (code, f"Removed {len(surplus)} objects." in output) == (0, True)
    assert contents(lake) == {
        key: size for key, size in before.items() if key not in {each.key for each in surplus}
    }
    assert "No task ran" in stir_ray("run", path, *other, "--serial")[1]
    assert stir_ray("verify", path, *other)[0] == 0


def test_all_that_was_asked_under_one_name_is_needed(path: Path) -> None:
    stir_ray("run", path, *SUBSET, "--serial")
    assert listed(path) == set()
    (whole, _) = sorted(
        (path.parent / "lake/jobs/small/specs").glob("*.json"),
        key=lambda file: len(json.loads(file.read_text())["job"]["seeds"]),
        reverse=True,
    )
    whole.unlink()
    job = small_job(path.parent / "lake", seeds=[0], from_scratch=None)
    parts = {key for key in contents(path.parent / "lake") if key.startswith("artifacts/")}
    assert listed(path) & parts == parts - planned_by(job)


def test_what_is_young_stays(path: Path) -> None:
    lake = path.parent / "lake"
    stir_ray("run", path, "--set", "name=other", *SUBSET, "--serial")
    shutil.rmtree(lake / "jobs/small")
    everything = listed(path)
    young = sorted(everything)[::3]
    for key in young:
        os.utime(lake / key)
    # A training with a young file may be about to be recorded, and then needs its old ones too.
    fresh = {training_of(key) for key in young} - {None}
    spared = {key for key in everything if key in young or training_of(key) in fresh}
    assert len(spared) > len(young)
    assert listed(path) == everything - spared
    assert f"{len(spared)} more are younger than an hour" in stir_ray("gc", path)[1]


def test_a_job_that_cannot_be_planned_stops_it(path: Path) -> None:
    lake = path.parent / "lake"
    (record,) = (lake / "jobs/small/specs").iterdir()
    record.unlink()
    assert_stopped(path, "jobs/small: has results and no record")
    stir_ray("run", path, "--serial")
    assert listed(path) == set()
    text = record.read_text()
    saved = json.loads(text)
    for harmed in (
        text[:-30],
        text.replace('"count": 11', '"count": 12'),
        json.dumps(saved | {"format": 17}),
        json.dumps(saved | {"job": saved["job"] | {"colour": "red"}}),
    ):
        record.write_text(harmed)
        assert_stopped(path, f"jobs/small/specs/{record.name}")
    record.write_text(text)
    for training in (lake / "artifacts/trainings").glob("*/*"):
        training.write_bytes(training.read_bytes()[:-7])
    assert_stopped(path, f"jobs/small/specs/{record.name}")
    for summary in (lake / "artifacts/models").glob("*/*"):
        summary.unlink()
    assert_stopped(path, f"jobs/small/specs/{record.name}")


def assert_stopped(path: Path, message: str) -> None:
    """The verb removes nothing, and says why in one line."""
    before = contents(path.parent / "lake")
    code, _, error = stir_ray("gc", path, "--yes")
    assert (code, error.strip().count("\n"), message in error) == (2, 0, True)
    assert contents(path.parent / "lake") == before


def test_while_a_model_is_not_trained_what_it_may_need_stays(path: Path) -> None:
    lake = path.parent / "lake"
    trained = sorted((lake / "artifacts/trainings").glob("*/*"))
    finetuned = next(
        each for each in trained if len(list((lake / "checkpoints" / each.stem).iterdir())) == 3
    )
    finetuned.unlink()
    state = lake / resume_key(finetuned.stem, 1, "0" * 32)
    state.write_bytes(b"optimiser")
    age(lake)
    surplus = unused(open_lake(str(lake)))
    assert surplus.unused == ()
    assert len(surplus.undecided) == 1
    code, output, _ = stir_ray("gc", path, "--yes")
    assert (code, "its models are not all trained" in output) == (0, True)
    # Trained again, to the same weights: nothing that was measured of them is measured again.
    assert "Tasks run: 1 train." in stir_ray("run", path, "--serial")[1]


def test_superseded_checkpoints_and_failures_of_done_tasks_go(path: Path) -> None:
    lake = path.parent / "lake"
    lose(small_job(lake))
    with watched(broken=True):
        stir_ray("run", path, "--serial")
    folder = min((lake / "checkpoints").iterdir())
    superseded = folder / f"1-{'0' * 32}.safetensors"
    superseded.write_bytes(b"of a training that was killed")
    aliens = [lake / "artifacts/comparisons/notes.txt", lake / "artifacts/mine/part.parquet"]
    aliens += [lake / "notes.txt", lake / "checkpoints/mine.safetensors"]
    for alien in aliens:
        alien.parent.mkdir(exist_ok=True)
        alien.write_text("mine")
    # Of a training that died before it removed it.
    state = lake / resume_key(folder.name, 1, "0" * 32)
    state.write_bytes(b"optimiser")
    draft = lake / f"artifacts/images/.tmp-{7:032x}"
    draft.write_bytes(b"half an ima")
    age(lake)
    # Records of failures that still count are needed.
    assert listed(path) == {str(each.relative_to(lake)) for each in (superseded, state, draft)}
    stir_ray("retry", path, "--serial", "--layer", 2)
    age(lake)
    surplus = unused(open_lake(str(lake))).unused
    kinds = sorted(each.table for each in surplus)
    assert kinds == ["checkpoints", "checkpoints", *8 * ["failures"], "temporary files"]
    assert Unused(str(draft.relative_to(lake)), "temporary files", 11) in surplus
    stir_ray("gc", path, "--yes")
    assert not superseded.exists()
    assert not state.exists()
    assert not draft.exists()
    assert all(alien.exists() for alien in aliens)
    assert stir_ray("failures", path)[1].startswith("1 x permanent (ValueError")


def test_an_object_store_tells_how_old_its_objects_are(s3_store: S3Store) -> None:
    lake = open_lake(f"s3://{s3_store.bucket()}/lake")
    key = artifact_key("images", "0123456789abcdef" * 2)
    lake.objects.put(key, b"of nobody")
    surplus = unused(lake)
    assert (surplus.unused, surplus.young) == ((), 1)
    # Its clock may be a little ahead.
    assert unused(lake, young_s=-60).unused == (Unused(key, "images", 9),)
    remove(unused(lake, young_s=-60), lake)
    assert lake.objects.list("artifacts") == {}


def test_a_lake_is_named_by_a_job_or_by_itself(path: Path, tmp_path: Path) -> None:
    assert stir_ray("gc")[0] == 2
    assert stir_ray("gc", path, "--lake", tmp_path / "lake")[0] == 2
    assert stir_ray("gc", "--lake", tmp_path / "lake")[0] == 0
    code, _, error = stir_ray("gc", "--lake", tmp_path / "leak")
    assert (code, "is the location right?" in error) == (2, True)
