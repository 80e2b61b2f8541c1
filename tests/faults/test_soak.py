"""Random faults of every kind during one job: it ends as if there had been none."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import TASKS, Run, Scene
from tests.small_job import small_job
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import S3Store

FAULTS, SEED = 18, 20231
STORM: dict[Fault, float] = {
    "slow_down": 0.15,
    "cut_answer": 0.1,
    "expired": 0.1,
    "truncated": 0.1,
    "garbled": 0.1,
}


class Soak:
    """One job on one lake, and the faults that it meets."""

    def __init__(self, scene: Scene, store: S3Store, proxy: FaultyProxy) -> None:
        self.scene, self.store, self.proxy = scene, store, proxy
        self.draws = random.Random(SEED)  # noqa: S311 - faults, not secrets
        execution = {"threads_per_worker": 1, "workers": 2, "storage_retry_s": 2}
        self.job = small_job(scene.lake, execution=execution)

    def fault(self) -> None:
        faults = [self.stopped, self.dies_before_put, self.storm, self.outage, self.damaged]
        self.draws.choices(faults, weights=[3, 1, 1, 1, 3])[0]()

    def stopped(self) -> None:
        """The driver dies, or is stopped by a user or a scheduler."""
        sent = self.draws.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        self._run_until_some_tasks(lambda run: run.send(sent))

    def dies_before_put(self) -> None:
        """The driver dies with an artifact encoded and not stored."""
        self.scene.run("--serial", job=self.job, die_before_put=self.draws.randint(1, 9))

    def storm(self) -> None:
        """Every second request fails for a while."""
        self.proxy.rates = STORM
        self._run_until_some_tasks(lambda run: run.send(signal.SIGKILL), after_s=3)
        self.proxy.rates = {}

    def outage(self) -> None:
        """The store does not reply."""

        def away(run: Run) -> None:
            self.proxy.away = True
            assert run.wait().code in (0, 4)

        self._run_until_some_tasks(away)
        self.proxy.away = False

    def damaged(self) -> None:
        """A stored object changes, is cut off or vanishes; `verify` finds and removes it."""
        objects = self.scene.open().objects
        keys = sorted([*objects.list("artifacts"), *objects.list("checkpoints")])
        if not keys:
            return
        key = self.draws.choice(keys)
        content = objects.get(key)
        damage = self.draws.choice([_flip_bit, _truncate, _empty, None])
        if damage is None:
            objects.delete(key)
        else:
            bucket, _, prefix = self.scene.lake.removeprefix("s3://").partition("/")
            with self.store.client() as client:
                body = damage(content, self.draws)
                client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=body)
        assert self.scene.run("--repair", verb="verify", job=self.job).code in (0, 3)
        assert not self.scene.findings()

    def _run_until_some_tasks(self, stop: Callable[[Run], None], after_s: float = 0.0) -> None:
        enough = len(self.scene.executions()) + self.draws.randint(1, 7)
        deadline = time.monotonic() + 20
        with self.scene.started("--serial", job=self.job) as run:
            run.until(
                lambda: len(self.scene.executions()) >= enough or time.monotonic() > deadline,
                may_end=True,
            )
            time.sleep(after_s + self.draws.uniform(0, 0.1))
            if run.is_alive():
                stop(run)


def _flip_bit(content: bytes, draws: random.Random) -> bytes:
    index = draws.randrange(len(content))
    byte = content[index] ^ 1 << draws.randrange(8)
    return content[:index] + bytes([byte]) + content[index + 1 :]


def _truncate(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(1, len(content))]


def _empty(_content: bytes, _draws: random.Random) -> bytes:
    return b""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_job_that_meets_many_faults_ends_as_if_there_had_been_none(
    rclone_store: S3Store, faulty: Callable[..., FaultyProxy], tmp_path: Path, finished: Path
) -> None:
    soak = Soak(Scene(tmp_path, f"s3://{rclone_store.bucket()}/lake"), rclone_store, faulty())
    for _ in range(FAULTS):
        soak.fault()
    assert soak.scene.run(job=soak.job).code == 0
    assert soak.scene.is_as_undisturbed(finished)
    assert not soak.scene.findings()
    assert len(soak.scene.times()) == sum(TASKS.values())
