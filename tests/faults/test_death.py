"""After any death the lake holds whole artifacts, and the next run computes what is missing."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from stir_ray.lake.schemas import TRAININGS
from tests.execution.test_cluster import ON_A_CLUSTER
from tests.faults.driver import held_worker, killed_node
from tests.faults.runs import Scene, nothing_lost
from tests.small_job import small_job


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, str(tmp_path / "lake"))


def inversions(scene: Scene) -> int:
    """Return how many inversions were begun."""
    return sum(count for task, count in scene.times().items() if task.startswith("invert"))


def test_a_driver_killed_again_and_again_loses_only_what_it_had_in_hand(
    scene: Scene, finished: Path
) -> None:
    moments = random.Random(7)  # noqa: S311 - moments, not secrets
    # While it inspects, trains, inverts, and compares.
    begun = (2, 4, 17, 31)
    for count in begun:
        with scene.started("--serial") as run:
            run.until(lambda count=count: scene.times().total() >= count)
            time.sleep(moments.uniform(0, 0.05))
            run.send(signal.SIGKILL)
        assert not scene.findings()
    assert scene.run("--serial").code == 0
    nothing_lost(scene, finished, at_most=len(begun))


@pytest.mark.parametrize("put", [7, 40])
def test_a_driver_that_dies_between_encoding_and_storing_loses_that_task_alone(
    scene: Scene, finished: Path, put: int
) -> None:
    assert scene.run("--serial", die_before_put=put).code == -signal.SIGKILL
    assert scene.run("--serial").code == 0
    nothing_lost(scene, finished, at_most=1)
    assert scene.times().total() == len(scene.times()) + 1


@pytest.mark.parametrize(
    ("stop", "options"),
    [(signal.SIGINT, ["--serial"]), (signal.SIGTERM, [])],
)
def test_an_interrupted_run_says_so_and_can_go_on(
    scene: Scene, finished: Path, stop: signal.Signals, options: list[str]
) -> None:
    with scene.started(*options) as run:
        run.until(lambda: inversions(scene) >= 5)
        run.send(stop)
        ended = run.wait()
    assert ended.code == 130
    assert ended.last_line == "stir-ray: interrupted; run again to go on"
    assert scene.run("--serial").code == 0
    # Two workers, each with one task in hand.
    nothing_lost(scene, finished, at_most=2)


@pytest.mark.parametrize(("held_at", "cut_short"), [("begin", 1), ("end", 0)])
def test_a_worker_killed_in_an_inversion_is_replaced_and_its_task_runs_again(
    scene: Scene, finished: Path, held_at: str, cut_short: int
) -> None:
    held = held_worker(scene.folder)
    with scene.started(held_at=held_at) as run:
        # The other worker goes on, and the driver hears of it.
        run.until(lambda: held.exists() and bool(held.read_text()) and inversions(scene) >= 5)
        killed = int(held.read_text())
        os.kill(killed, signal.SIGKILL)
        before = len(scene.executions())
        assert run.wait().code == 0
    assert killed not in {execution.pid for execution in scene.executions()[before:]}
    # At the end everything is stored, and only the driver has not heard of it.
    nothing_lost(scene, finished, at_most=cut_short, unheard=1 - cut_short)
    assert scene.cut_short().total() == cut_short
    assert scene.times().total() == len(scene.times()) + 1


@pytest.mark.slow
def test_a_worker_killed_within_a_training_goes_on_from_its_last_epoch(
    scene: Scene, tmp_path: Path
) -> None:
    epochs = 11
    training = {"epochs": epochs, "batch_size": 8, "optimizer": "adamw"}
    job = small_job(scene.lake, finetuned={"train": training}, from_scratch=None)

    def ended(lake: Path) -> dict[str, int]:
        """Return when each checkpoint was written, up to the last from which training may go on."""
        states = lake.glob("checkpoints/*/*.resume.safetensors")
        reached = [int(state.name.partition("-")[0]) for state in states]
        files = lake.glob("checkpoints/*/*-????????????????????????????????.safetensors")
        return {
            str(file.relative_to(lake)): file.stat().st_mtime_ns
            for file in files
            if int(file.name.partition("-")[0]) <= max(reached, default=-1)
        }

    lake = Path(scene.lake)
    with scene.started(verb="finetune", job=job) as run:
        run.until(lambda: len(ended(lake)) > 3)
        os.kill(scene.executions()[-1].pid, signal.SIGKILL)
        before = ended(lake)
        assert run.wait().code == 0
    assert 3 < len(before) <= epochs
    # What was written then was not written again, which replaces a file.
    assert {key: (lake / key).stat().st_mtime_ns for key in before} == before
    assert scene.cut_short() == {"train finetuned": 1}
    assert not list(lake.glob("checkpoints/*/*.resume.safetensors"))
    assert not scene.findings()
    other = Scene(tmp_path / "undisturbed", str(tmp_path / "undisturbed" / "lake"))
    other.folder.mkdir()
    again = small_job(other.lake, finetuned={"train": training}, from_scratch=None)
    assert other.run("--serial", verb="finetune", job=again).code == 0
    first, second = (
        sorted(str(lake.read(TRAININGS, key).to_pydict()) for key in lake.stored(TRAININGS))
        for lake in (scene.open(), other.open())
    )
    assert first == second


def test_a_node_that_dies_costs_only_its_running_task(
    scene: Scene, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ON_A_CLUSTER.items():
        monkeypatch.setenv(name, value)
    with scene.started(nodes=2) as run:
        run.until(lambda: inversions(scene) >= 5)
        run.send(signal.SIGUSR1)
        ended = run.wait()
    assert ended.code == 0, ended.output
    assert killed_node(scene.folder).exists()
    # Its worker may live on for a moment and end its task.
    nothing_lost(scene, finished, at_most=1, unheard=1)
