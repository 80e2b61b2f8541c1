"""A bucket on which requests fail, and one that is gone for a while: no result is lost or wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import TASKS, Scene, nothing_lost
from tests.small_job import small_job
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import S3Store

# One request in five, of every kind that a store in trouble shows.
TWENTY_PERCENT: dict[Fault, float] = {
    "slow_down": 0.04,
    "internal_error": 0.04,
    "expired": 0.02,
    "cut_request": 0.02,
    "cut_answer": 0.02,
    "garbled": 0.02,
    "delay": 0.02,
}
IMPATIENT = {"threads_per_worker": 1, "workers": 2, "storage_retry_s": 2}

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(faulty: Callable[..., FaultyProxy]) -> FaultyProxy:
    return faulty(seed=11)


@pytest.fixture
def scene(proxy: FaultyProxy, rclone_store: S3Store, tmp_path: Path) -> Scene:
    """A lake in a new bucket, behind the proxy."""
    return Scene(tmp_path, f"s3://{rclone_store.bucket()}/lake")


def went_on(scene: Scene, finished: Path, ended: set[str], *options: str) -> None:
    """Run the job again; assert that it ends right, and that no task that had ended began again."""
    assert scene.run(*options, job=small_job(scene.lake, execution=IMPATIENT)).code == 0
    assert scene.is_as_undisturbed(finished)
    assert not scene.findings()
    assert all(scene.times()[task] == 1 for task in ended)


def test_a_job_ends_right_though_every_fifth_request_fails(
    scene: Scene, proxy: FaultyProxy, finished: Path
) -> None:
    proxy.rates = dict(TWENTY_PERCENT)
    ended = scene.run()
    assert ended.code == 0, ended.output
    struck = sum(proxy.counts[fault] for fault in TWENTY_PERCENT)
    assert struck > 0.15 * proxy.counts["requests"]
    assert all(proxy.counts[fault] for fault in TWENTY_PERCENT)
    proxy.rates = {}
    # The store was asked again, and nothing computed again.
    nothing_lost(scene, finished, at_most=0)


@pytest.mark.parametrize(
    ("fault", "code", "remedy"),
    [
        ("slow_down", 4, "run again once it answers"),
        ("denied", 2, "allow these credentials to list, get, put and delete there"),
    ],
)
def test_a_store_that_takes_nothing_stops_the_run_and_the_next_one_goes_on(
    scene: Scene, proxy: FaultyProxy, finished: Path, fault: Fault, code: int, remedy: str
) -> None:
    job = small_job(scene.lake, execution=IMPATIENT)
    with scene.started("--serial", job=job) as run:
        run.until(lambda: scene.times().total() >= 12)
        before = {execution.task for execution in scene.executions() if execution.ended}
        proxy.rates, proxy.spares = {fault: 1.0}, lambda method, _: method != "PUT"
        ended = run.wait()
    assert ended.code == code
    assert ended.last_line.startswith(f"stir-ray: lake {scene.lake}: cannot write")
    assert ended.last_line.endswith(remedy)
    proxy.rates = {}
    went_on(scene, finished, before, "--serial")


def test_workers_that_lose_their_store_stop_the_run_and_the_next_one_goes_on(
    scene: Scene, proxy: FaultyProxy, finished: Path
) -> None:
    with scene.started(job=small_job(scene.lake, execution=IMPATIENT)) as run:
        run.until(lambda: scene.times().total() >= 12)
        proxy.away = True
        ended = run.wait()
    assert ended.code == 4
    assert "run again once it answers" in ended.last_line
    proxy.away = False
    went_on(scene, finished, {task.task for task in scene.executions() if task.ended})


def test_two_drivers_on_one_lake_at_once_end_with_the_same_right_lake(
    scene: Scene, finished: Path
) -> None:
    with scene.started("--serial") as first, scene.started("--serial") as second:
        ended = [run.wait() for run in (first, second)]
    assert [run.code for run in ended] == [0, 0], [run.output for run in ended]
    assert scene.is_as_undisturbed(finished)
    assert not scene.findings()
    times = scene.times()
    assert len(times) == sum(TASKS.values())
    # Time may be lost, and no more than all of it: neither did a task more than once.
    assert max(times.values()) <= 2
