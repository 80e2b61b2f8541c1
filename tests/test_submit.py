"""A cluster that is known by its job API alone: what is sent there runs there, and is told of.

The cluster is real processes with a token and a head that computes nothing; the lake is on S3. Who
submits has no credentials for the lake; who asks for the status knows no cluster.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.execution.ray_head import RayHead, ray_head
from tests.small_job import LAYERS, small_job
from tests.stores.servers import KEY, SECRET, S3Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
SEEDS = 2


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    output: str
    errors: str

    @property
    def job_id(self) -> str:
        """Of the job that was submitted."""
        found = re.search(r"Submitted (\S+) to", self.output)
        assert found, self.errors
        return found[1]

    @property
    def ran(self) -> dict[str, int]:
        """Tasks that the driver says it ran, by stage."""
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return {line["stage"]: line["ran"] for line in lines if line.get("event") == "end"}


@dataclass(frozen=True)
class Person:
    """Somebody who works with the cluster from elsewhere."""

    head: RayHead
    store: S3Store
    bucket: str
    file: Path

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Begin a command as somebody who submits: token and endpoint, no credentials."""
        store = {"AWS_ENDPOINT_URL": self.store.endpoint, "AWS_REGION": "us-east-1"}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.head.client(**store | dict(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def submit(self, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Begin to submit the small job, and to wait for it."""
        words = ["submit", str(self.file), "--wait", "--address", self.head.address, *options]
        return self.start(sys.executable, "-m", "stir_ray.cli", *words, env=env)

    def look(self, verb: str, *options: str) -> Said:
        """Ask the lake, with credentials and without a word of any cluster."""
        env = self.head.client(**self.store.environment())
        del env["RAY_AUTH_TOKEN_PATH"]
        command = [sys.executable, "-m", "stir_ray.cli", verb, str(self.file), *options]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def parts(self, table: str) -> set[str]:
        """Keys of the parts of a table."""
        with self.store.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"lake/artifacts/{table}/"
            )
            return {found["Key"] for page in pages for found in page.get("Contents", ())}


def end(process: subprocess.Popen[str]) -> Said:
    """What a command said, once it has ended."""
    try:
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    return Said(process.returncode, output, errors)


@pytest.fixture(scope="module")
def person(rclone_store: S3Store) -> Iterator[Person]:
    """With a cluster, a bucket and the file of a small job."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    bucket = rclone_store.bucket()
    said = small_job(
        f"s3://{bucket}/lake",
        finetuned={"train": {"epochs": 1, "learning_rate": 0.01}},
        from_scratch=None,
        seeds=list(range(SEEDS)),
        execution={"workers": 1, "threads_per_worker": 1},
    )
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(said.model_dump(mode="json", exclude_none=True)))
    machines = rclone_store.environment()
    # The endpoint comes with the job; credentials are the machines' own.
    del machines["AWS_ENDPOINT_URL"]
    try:
        with ray_head(folder, cores=2, env=machines) as head:
            yield Person(head, rclone_store, bucket, file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def first(person: Person) -> Said:
    """The small job, submitted and waited for."""
    return end(person.submit())


def test_a_submitted_job_is_computed_and_its_progress_shown(first: Said, person: Person) -> None:
    assert first.code == 0, first.errors
    inverted = LAYERS * SEEDS
    assert first.ran["invert"] == 2 * inverted
    assert first.ran["compare"] > 0
    assert len(person.parts("inversions")) == 2 * inverted
    with person.store.client() as client:
        results = client.get_object(Bucket=person.bucket, Key="lake/jobs/small/results.parquet")
        table = pq.read_table(pa.BufferReader(results["Body"].read()))
    assert table.num_rows > 0


def test_its_lake_tells_all_without_a_cluster(first: Said, person: Person) -> None:
    status = person.look("status")
    assert status.code == 0
    assert re.search(rf"invert\D+{2 * LAYERS * SEEDS}\D+{2 * LAYERS * SEEDS}\b", status.output)
    failures = person.look("failures")
    assert (failures.code, failures.output) == (0, "No task of this job failed.\n")


def test_nothing_secret_is_told_to_the_cluster(first: Said, person: Person) -> None:
    listing = ("ray", "job", "list", "--address", person.head.address)
    told = end(person.start(*listing, env={"RAY_AUTH_MODE": "token"}))
    assert first.job_id in told.output
    assert person.store.endpoint in told.output
    for secret in (KEY, SECRET, person.head.token.read_text()):
        assert secret not in told.output + first.output + first.errors


def test_submitting_again_starts_no_task(first: Said, person: Person) -> None:
    again = end(person.submit())
    assert again.code == 0, again.errors
    assert set(again.ran) == set(first.ran)
    assert set(again.ran.values()) == {0}
    assert again.job_id != first.job_id


def test_waiting_ends_as_the_job_ends(person: Person) -> None:
    wild = ("--set", "name=wild", "--set", "pretrained.train.learning_rate=1e30")
    failed = end(person.submit(*wild))
    assert failed.code == 3, failed.output
    assert "stir-ray: the loss of epoch 1 is nan" in failed.output
    assert failed.errors == f"stir-ray: job {failed.job_id} ended with exit code 3\n"
    assert "1 x permanent" in person.look("failures", *wild).output


def test_jobs_at_once_share_the_inversions_of_their_pretrained_model(person: Person) -> None:
    before = person.parts("inversions")
    rates = ("0.02", "0.03")
    both = [
        person.submit(
            *("--set", f"name=rate{rate}", "--set", "pretrained.train.seed=7"),
            *("--set", f"finetuned.train.learning_rate={rate}"),
        )
        for rate in rates
    ]
    ended = [end(one) for one in both]
    assert [one.code for one in ended] == [0, 0], [one.errors for one in ended]
    # Who needs one before the other has stored it computes it, too; it is the same one.
    new = person.parts("inversions") - before
    assert len(new) == 3 * LAYERS * SEEDS


def test_who_waits_no_longer_leaves_the_job_running_until_it_is_stopped(person: Person) -> None:
    waiting = person.submit("--set", "name=long", "--set", "pretrained.train.epochs=1000000")
    assert waiting.stdout
    lines: list[str] = []
    for line in waiting.stdout:
        lines.append(line)
        if '"stage": "train"' in line:
            break
    waiting.send_signal(signal.SIGINT)
    told = end(waiting)
    job_id = Said(0, "".join(lines), "").job_id
    assert (told.code, told.errors) == (130, f"stir-ray: no longer waiting; job {job_id} goes on\n")
    (follow,) = [line.split(":", 1)[1].split() for line in lines if "follow:" in line]
    (stop,) = [line.split(":", 1)[1].split() for line in lines if "stop:" in line]
    following = person.start("env", *follow)
    stopped = end(person.start("env", *stop))
    assert "was stopped" in stopped.output + stopped.errors
    # By itself, not killed: it says so.
    assert "stir-ray: interrupted; run again to go on" in end(following).output


@pytest.mark.parametrize(
    "token",
    [{"RAY_AUTH_TOKEN_PATH": ""}, {"RAY_AUTH_TOKEN": "wrong"}, {"RAY_AUTH_TOKEN_PATH": "/none"}],
)
def test_without_the_token_nothing_is_sent(token: dict[str, str], person: Person) -> None:
    refused = end(person.submit(env=token))
    (line,) = refused.errors.splitlines()
    assert (refused.code, refused.output) == (2, "")
    assert line.startswith(f"stir-ray: {person.head.address} asks for a token (")
    assert len(line) < 300


def test_an_address_where_no_cluster_is_is_one_line(person: Person) -> None:
    refused = end(person.submit("--address", person.store.endpoint))
    (line,) = refused.errors.splitlines()
    assert (refused.code, refused.output) == (2, "")
    assert line.startswith(f"stir-ray: no Ray cluster answers at {person.store.endpoint}")
