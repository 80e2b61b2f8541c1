"""A bucket on which requests fail, and one that is gone for a while: no result is lost or wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import TASKS, Scene, nothing_lost
from tests.small_job import small_job
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import S3Store

# One request in five, of every kind that a store in trouble shows.
TWENTY_PERCENT = {
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
def on_s3(rclone_store: S3Store, tmp_path: Path) -> Callable[[], Scene]:
    """A scene whose lake is a prefix of a new bucket, as the environment leads to it."""

    def scene() -> Scene:
        return Scene(tmp_path, f"s3://{rclone_store.bucket()}/lake")

    return scene


def test_a_job_ends_right_though_every_fifth_request_fails(
    on_s3: Callable[[], Scene], faulty: Callable[..., FaultyProxy], finished: Path
) -> None:
    proxy = faulty(TWENTY_PERCENT, seed=11)
    scene = on_s3()
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
    on_s3: Callable[[], Scene],
    faulty: Callable[..., FaultyProxy],
    finished: Path,
    fault: Fault,
    code: int,
    remedy: str,
) -> None:
    proxy = faulty()
    scene = on_s3()
    job = small_job(scene.lake, execution=IMPATIENT)
    with scene.started("--serial", job=job) as run:
        run.until(lambda: scene.times().total() >= 12)
        before = {one.task for one in scene.executions() if one.ended}
        proxy.rates, proxy.spares = {fault: 1.0}, lambda method, _: method != "PUT"
        ended = run.wait()
    assert ended.code == code
    assert ended.last_line.startswith(f"stir-ray: lake {scene.lake}: cannot write")
    assert ended.last_line.endswith(remedy)
    proxy.rates = {}
    assert scene.run("--serial", job=job).code == 0
    assert scene.is_as_undisturbed(finished)
    assert not scene.findings()
    # What had ended was not begun again.
    assert all(scene.times()[task] == 1 for task in before)


def test_workers_that_lose_their_store_stop_the_run_and_the_next_one_goes_on(
    on_s3: Callable[[], Scene], faulty: Callable[..., FaultyProxy], finished: Path
) -> None:
    proxy = faulty()
    scene = on_s3()
    job = small_job(scene.lake, execution=IMPATIENT)
    with scene.started(job=job) as run:
        run.until(lambda: scene.times().total() >= 12)
        proxy.away = True
        ended = run.wait()
    assert ended.code == 4
    assert "run again once it answers" in ended.last_line
    proxy.away = False
    done = {one.task for one in scene.executions() if one.ended}
    assert scene.run(job=job).code == 0
    assert scene.is_as_undisturbed(finished)
    assert not scene.findings()
    # What had ended was not begun again.
    assert all(scene.times()[task] == 1 for task in done)


def test_two_drivers_on_one_lake_at_once_end_with_the_same_right_lake(
    on_s3: Callable[[], Scene], s3_store: S3Store, finished: Path
) -> None:
    scene = on_s3()
    with scene.started("--serial") as one, scene.started("--serial") as other:
        ended = [run.wait() for run in (one, other)]
    assert [how.code for how in ended] == [0, 0], [how.output for how in ended]
    assert scene.is_as_undisturbed(finished)
    assert not scene.findings()
    times = scene.times()
    assert len(times) == sum(TASKS.values())
    # Time may be lost, and no more than all of it: neither did a task more than once.
    assert max(times.values()) <= 2
