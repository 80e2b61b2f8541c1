"""Random faults of every kind during one job: it ends as if there had been none."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import TASKS, Run, Scene
from tests.small_job import small_job
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import S3Store

FAULTS, SEED = 18, 20231
IMPATIENT = {"threads_per_worker": 1, "workers": 2, "storage_retry_s": 2}
STORM: dict[Fault, float] = {
    "slow_down": 0.15,
    "cut_answer": 0.1,
    "expired": 0.1,
    "garbled": 0.1,
}


class Soak:
    """One job on one lake, and the faults that it meets."""

    def __init__(self, scene: Scene, store: S3Store, proxy: FaultyProxy) -> None:
        self.scene, self.store, self.proxy = scene, store, proxy
        self.draws = random.Random(SEED)  # noqa: S311 - faults, not secrets
        self.job = small_job(scene.lake, execution=IMPATIENT)
        self.met: Counter[str] = Counter()

    def fault(self) -> None:
        """Cause a random fault, in a run or between two."""
        happens = self.draws.choice(
            [self.killed, self.killed, self.interrupted, self.dies_before_put, self.storm,
             self.outage, self.harmed, self.harmed, self.deleted]
        )  # fmt: skip
        self.met[happens.__name__] += 1
        happens()

    def killed(self) -> None:
        """The driver dies at some moment."""
        self._stopped(lambda run: run.send(signal.SIGKILL))

    def interrupted(self) -> None:
        """A user, or a scheduler, stops the driver."""
        self._stopped(lambda run: run.send(self.draws.choice([signal.SIGINT, signal.SIGTERM])))

    def dies_before_put(self) -> None:
        """The driver dies with an artifact encoded and not stored."""
        put = self.draws.randint(1, 9)
        self.scene.run("--serial", job=self.job, die_before_put=put)

    def storm(self) -> None:
        """Every second request fails for a while."""
        self.proxy.rates = STORM
        self._stopped(lambda run: run.send(signal.SIGKILL), after_s=3)
        self.proxy.rates = {}

    def outage(self) -> None:
        """The store does not reply."""
        self._stopped(self._away)
        self.proxy.away = False

    def _away(self, run: Run) -> None:
        self.proxy.away = True
        assert run.wait().code in (0, 4)

    def harmed(self) -> None:
        """Bytes of a stored object change, are cut off or vanish; `verify` finds and removes it."""
        key, content = self._some_object()
        if content is None:
            return
        harm = self.draws.choice([_flipped, _truncated, _emptied])
        self._put(key, harm(content, self.draws))
        assert self.scene.run("--repair", verb="verify", job=self.job).code in (0, 3)
        assert not self.scene.findings()

    def deleted(self) -> None:
        """An object is removed."""
        key, content = self._some_object()
        if content is not None:
            self.scene.open().objects.delete(key)
            self.scene.run("--repair", verb="verify", job=self.job)

    def _stopped(self, stop: Callable[[Run], None], after_s: float = 0.0) -> None:
        begun = len(self.scene.executions())
        with self.scene.started("--serial", job=self.job) as run:
            more = self.draws.randint(1, 7)
            deadline = time.monotonic() + 20
            run.until(
                lambda: len(self.scene.executions()) >= begun + more or time.monotonic() > deadline,
                may_end=True,
            )
            time.sleep(after_s + self.draws.uniform(0, 0.1))
            if run.is_alive():
                stop(run)

    def _some_object(self) -> tuple[str, bytes | None]:
        lake = self.scene.open()
        keys = sorted(lake.objects.list("artifacts") | lake.objects.list("checkpoints"))
        if not keys:
            return "", None
        key = self.draws.choice(keys)
        return key, lake.objects.get(key)

    def _put(self, key: str, content: bytes) -> None:
        bucket, _, prefix = self.scene.lake.removeprefix("s3://").partition("/")
        with self.store.client() as client:
            client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=content)


def _flipped(content: bytes, draws: random.Random) -> bytes:
    index = draws.randrange(len(content))
    byte = content[index] ^ 1 << draws.randrange(8)
    return content[:index] + bytes([byte]) + content[index + 1 :]


def _truncated(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(1, len(content))]


def _emptied(_content: bytes, _draws: random.Random) -> bytes:
    return b""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_job_that_meets_many_faults_ends_as_if_there_had_been_none(
    rclone_store: S3Store,
    faulty: Callable[..., FaultyProxy],
    tmp_path: Path,
    finished: Path,
    record_property: Callable[[str, object], None],
) -> None:
    proxy = faulty()
    scene = Scene(tmp_path, f"s3://{rclone_store.bucket()}/lake")
    soak = Soak(scene, rclone_store, proxy)
    for _ in range(FAULTS):
        soak.fault()
    assert scene.run(job=soak.job).code == 0
    assert scene.is_as_undisturbed(finished)
    assert not scene.findings()
    assert len(scene.times()) == sum(TASKS.values())
    record_property("faults", f"{FAULTS} from seed {SEED}: {dict(soak.met)}")
    print(
        f"\n{FAULTS} faults from seed {SEED}: {dict(soak.met)}; "
        f"{scene.times().total()} executions of {len(scene.times())} tasks"
    )
