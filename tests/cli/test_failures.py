"""What a person does when something failed, as they meet it: failures, retry, explain."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from stir_ray.job.loader import read_job
from stir_ray.lake.keys import artifact_key, result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import FAILURES, RESULTS
from tests.broken import job_file, lose, stir_ray, study_of, watched, without_figures
from tests.small_job import small_job

FT1 = "finetuned epoch 1"
SHOWN = [
    f"show pretrained to {name}, seed {seed}"
    for name in (FT1, "finetuned epoch 2", "from_scratch epoch 1")
    for seed in (0, 1)
]
OF_PT = ["invert pretrained, layer 2, seed 0", "invert pretrained, layer 2, seed 1"]
OF_FT = f"invert {FT1}, layer 3, seed 1"


def failed_tasks(*arguments: object) -> list[dict[str, Any]]:
    """Return the failed tasks of a job."""
    return json.loads(stir_ray("failures", *arguments, "--json")[1])["failed"]


def no_training(*_: object) -> None:
    raise RuntimeError("no training today")


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_figures(monkeypatch)


@pytest.fixture(scope="module")
def broken_lake(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of which a run has just failed in part. Not to be changed."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(finished, folder / "lake")
    job = small_job(folder / "lake")
    tasks = lose(job)
    with pytest.MonkeyPatch.context() as patch, watched(broken=True) as ran:
        without_figures(patch)
        code, _, error = stir_ray("run", job_file(job, folder), "--serial")
    assert code == 3, error
    assert len(ran) == tasks == len(OF_PT) + 1 + len(SHOWN)
    return folder / "lake"


@pytest.fixture
def broken(broken_lake: Path, tmp_path: Path) -> Path:
    """A job file whose lake has failures, and of which something is missing."""
    shutil.copytree(broken_lake, tmp_path / "lake")
    return job_file(small_job(tmp_path / "lake"), tmp_path)


def test_failures_are_grouped_with_an_example_and_a_command(broken: Path) -> None:
    code, output, _ = stir_ray("failures", broken)
    assert code == 0
    assert re.findall(r"^(\d+) x (\w+) \((\w+)-", output, re.MULTILINE) == [
        ("6", "upstream_failed", "MissingArtifact"),
        ("2", "permanent", "FloatingPointError"),
        ("1", "permanent", "ValueError"),
    ]
    # Which of the two inversions is first depends on the job.
    assert any(f"{label}: seed {label[-1]} diverged" in output for label in OF_PT)
    assert "invert_layer" not in output
    assert "in invert_layer" in stir_ray("failures", broken, "--traceback")[1]
    commands = re.findall(r"(stir-ray retry .*)", output)
    for command, expected in zip(commands, ([*OF_PT, OF_FT], OF_PT, [OF_FT]), strict=True):
        with watched(idle=True) as ran:
            stir_ray(*shlex.split(command)[1:], "--serial")
        assert sorted(label for label in ran if label.startswith("invert")) == sorted(expected)
    lines = [line for line in stir_ray("status", broken)[1].splitlines() if " failed, " in line]
    assert [line.split(" ", 1)[0] for line in lines] == ["6", "2", "1"]


def test_tasks_that_a_stopped_run_did_not_attempt_have_a_command(
    finished_file: Path,
) -> None:
    tasks = lose(read_job(finished_file))
    with watched(broken=True) as ran:
        code, *_ = stir_ray(
            "run", finished_file, "--set", "execution.max_identical_failures=1", "--serial"
        )
    assert (code, len(ran)) == (4, 1)
    *_, last = stir_ray("failures", finished_file)[1].splitlines()
    assert last == f"1 task failed, {tasks - 1} others not tried yet: stir-ray run {finished_file}"
    code, _, error = stir_ray("retry", finished_file, "--layer", 2, "--serial")
    # The other seed, the finetuned model, and what compares the other seed.
    assert (code, "cells are missing; `stir-ray failures" in error) == (3, True)
    assert stir_ray(*shlex.split(last.partition(": ")[2])[1:], "--serial")[0] == 0


def test_failures_as_json_are_an_object_per_task(broken: Path) -> None:
    failed = failed_tasks(broken)
    assert sorted(task["label"] for task in failed) == sorted([*OF_PT, OF_FT, *SHOWN])
    for task in failed:
        assert task["attempt"] == 1
        assert task["node"]
        assert task["message"] in task["traceback"]
    with watched(idle=True) as ran:
        stir_ray(*shlex.split(failed[0]["retry"])[1:], "--serial")
    assert ran[0] == failed[0]["label"]
    (inversion,) = (task["task"] for task in failed if task["label"] == OF_FT)
    with watched(idle=True) as ran:
        stir_ray("retry", broken, "--task", inversion[:6], "--serial")
    assert ran == [OF_FT]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", [*OF_PT, OF_FT, *SHOWN]),
        # What waited for an image of the pretrained model follows, whether chosen or not.
        ("--class permanent --seed 0", [OF_PT[0], *SHOWN[::2]]),
        ("--class upstream_failed --seed 1", SHOWN[1::2]),
        ("--seed 1 --layer 3", [OF_FT, *SHOWN[1::2]]),
        # The pretrained model is of no epoch, and nothing waits for a finetuned one's inversion.
        ("--epoch 1 --layer 3 --class permanent", [OF_FT]),
        ("--epoch 2 --epoch 1 --seed 0", [SHOWN[0], SHOWN[2], SHOWN[4]]),
    ],
)
def test_a_retry_runs_what_matches_and_what_waited_for_it(
    broken: Path, options: str, expected: list[str]
) -> None:
    with watched(idle=True) as ran:
        code, output, error = stir_ray("retry", broken, *options.split(), "--serial")
    assert sorted(ran) == sorted(expected), error
    # Nothing was made, so cells are still missing.
    assert code == 3
    assert "failed tasks chosen" in output


def test_a_retry_mends_and_ends_as_if_nothing_had_failed(broken: Path, finished: Path) -> None:
    with watched() as ran:
        code, output, _ = stir_ray("retry", broken, "--layer", 2, "--serial")
    assert code == 3
    assert (set(ran[: len(OF_PT)]), ran[len(OF_PT) :]) == (set(OF_PT), SHOWN)
    assert "8 of 9 failed tasks chosen" in output
    _, output, _ = stir_ray("failures", broken)
    # The records of the others stay in the lake, and are not counted any more.
    assert re.findall(r"^(\d+) x", output, re.MULTILINE) == ["1"]
    with watched() as ran:
        code, output, _ = stir_ray("retry", broken, "--serial")
    assert (code, ran) == (0, [OF_FT])
    assert stir_ray("failures", broken)[1] == "No task of this job failed.\n"
    assert "failed" not in stir_ray("status", broken)[1]
    lakes = [open_lake(str(lake)) for lake in (broken.parent / "lake", finished)]
    mended, undisturbed = (
        lake.read_object(RESULTS, result_key("small", RESULTS.name)) for lake in lakes
    )
    assert mended.equals(undisturbed)
    assert len(lakes[0].stored(FAILURES)) == 9


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--layer 7", ["no failed task matches", "9 failed", "layers 1-3", "seeds 0, 1"]),
        ("--class out_of_memory", ["classes permanent, upstream_failed", "epochs 1, 2"]),
        ("--task 123", ["--task 123", "at least 6 digits"]),
        ("--task 123456789", ["no failed task has this id", "stir-ray failures"]),
    ],
)
def test_a_choice_of_nothing_says_what_there_is(
    broken: Path, options: str, expected: list[str]
) -> None:
    with watched() as ran:
        code, _, error = stir_ray("retry", broken, *options.split(), "--serial")
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert [part for part in expected if part not in error] == []
    assert not ran


def test_where_nothing_failed_there_is_nothing_to_retry(
    finished_file: Path,
) -> None:
    with watched() as ran:
        code, output, _ = stir_ray("retry", finished_file, "--layer", 7, "--serial")
    assert (code, ran) == (0, [])
    assert "No task of this job failed" in output
    assert failed_tasks(finished_file) == []


def test_after_a_failed_training_all_that_waited_for_it_is_computed(
    finished_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["--set", "finetuned.train.seed=7", "--set", "finetuned.train.epochs=1"]
    sets += ["--set", "seeds=[0]", "--set", "from_scratch=null"]
    with monkeypatch.context() as patch:
        patch.setattr("stir_ray.worker.train.train_model", no_training)
        assert stir_ray("run", finished_file, *sets, "--serial")[0] == 3
    (failed,) = failed_tasks(finished_file, *sets)
    assert failed["label"] == "train finetuned"
    with watched() as ran:
        code, output, error = stir_ray(*shlex.split(failed["retry"])[1:], "--serial")
    assert code == 0, error
    inversions = [f"invert {FT1}, layer {layer}, seed 0" for layer in (1, 2, 3)]
    assert sorted(ran) == sorted([*inversions, SHOWN[0]])
    assert "24 of 24 cells" in output


def no_images(*_: object) -> None:
    raise PermissionError("the images are not yours")


def test_a_user_error_is_recorded_and_only_a_run_retries_it(
    finished_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["--set", "images.count=7", "--set", "seeds=[0]"]
    with monkeypatch.context() as patch:
        patch.setattr("stir_ray.worker.inspect.collect_images", no_images)
        code, _, error = stir_ray("run", finished_file, *sets, "--serial")
    assert (code, "not yours" in error) == (2, True)
    output = stir_ray("failures", finished_file, *sets)[1]
    assert "1 x user_error (PermissionError" in output
    assert f"stir-ray run {finished_file} --set images.count=7" in output
    with watched(idle=True):
        stir_ray("retry", finished_file, *sets, "--serial")
    assert "No task" in stir_ray("failures", finished_file, *sets)[1]


def test_a_retry_without_the_pretrained_model_names_the_command_that_trains_it(
    finished_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["--set", "pretrained.train.seed=7", "--set", "from_scratch.train.seed=7"]
    with monkeypatch.context() as patch:
        patch.setattr("stir_ray.worker.train.train_model", no_training)
        assert stir_ray("run", finished_file, *sets, "--serial")[0] == 3
    (retry,) = (
        task["retry"]
        for task in failed_tasks(finished_file, *sets)
        if task["label"] == "train from_scratch"
    )
    with watched() as ran:
        code, _, error = stir_ray(*shlex.split(retry)[1:], "--serial")
    assert (code, ran) == (3, [])
    assert "pretrained model is not trained" in error
    assert "stir-ray run" in error


def test_a_damaged_artifact_is_removed_before_the_task_that_reads_it_runs_again(
    finished_file: Path,
) -> None:
    job = read_job(finished_file)
    study, lake = study_of(job)
    task = next(iter(study.comparisons()))
    lake.objects.delete(artifact_key("comparisons", task.outputs[0].id))
    images = Path(job.lake) / artifact_key("images", task.comparisons[0].images().id)
    images.write_bytes(images.read_bytes()[:-37])
    assert stir_ray("run", finished_file, "--serial")[0] == 3
    output = stir_ray("failures", finished_file)[1]
    assert "1 x permanent (CorruptArtifact-" in output
    assert (
        f"stir-ray verify {finished_file} --repair, then: stir-ray run {finished_file}\n" in output
    )
    image_set = Path(job.lake) / artifact_key("image_sets", study.spec.image_artifact.id)
    image_set.write_bytes(image_set.read_bytes()[:-37])
    code, _, error = stir_ray("status", finished_file)
    assert code == 3
    assert error.endswith("; `stir-ray verify JOB --repair`, then run again\n")
