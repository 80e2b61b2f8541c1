"""A cluster that is known by its job API alone runs what is sent there.

The cluster is real processes with a token and a head that computes nothing; the lake is on S3. The
submitting user has no credentials for the lake; `status` is asked without a cluster.
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
STIR_RAY = (sys.executable, "-m", "stir_ray.cli")
SEEDS = 2


@dataclass(frozen=True)
class Exit:
    """The end of a command."""

    code: int
    output: str
    errors: str

    @property
    def job_id(self) -> str:
        match = re.search(r"Submitted (\S+) to", self.output)
        assert match, self.errors
        return match[1]

    @property
    def ran(self) -> dict[str, int]:
        """Tasks that the driver reports, by stage."""
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return {line["stage"]: line["ran"] for line in lines if line.get("event") == "end"}


@dataclass(frozen=True)
class User:
    """A user of the cluster, on another machine."""

    head: RayHead
    store: S3Store
    bucket: str
    file: Path

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command with the token and the endpoint, without credentials."""
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
        """Submit the small job, and wait for it."""
        words = ["submit", str(self.file), "--wait", "--address", self.head.address, *options]
        return self.start(*STIR_RAY, *words, env=env)

    def ask(self, verb: str, *options: str) -> Exit:
        """Ask the lake, with credentials and without any cluster."""
        env = self.head.client(**self.store.environment())
        del env["RAY_AUTH_TOKEN_PATH"]
        command = [*STIR_RAY, verb, str(self.file), *options]
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        return Exit(done.returncode, done.stdout, done.stderr)

    def artifacts(self, table: str) -> set[str]:
        with self.store.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"lake/artifacts/{table}/"
            )
            return {entry["Key"] for page in pages for entry in page.get("Contents", ())}


def end(process: subprocess.Popen[str]) -> Exit:
    try:
        output, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    return Exit(process.returncode, output, errors)


@pytest.fixture(scope="module")
def user(rclone_store: S3Store) -> Iterator[User]:
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    bucket = rclone_store.bucket()
    job = small_job(
        f"s3://{bucket}/lake",
        finetuned={"train": {"epochs": 1, "learning_rate": 0.01}},
        from_scratch=None,
        seeds=list(range(SEEDS)),
        execution={"workers": 1, "threads_per_worker": 1},
    )
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_none=True)))
    machines = rclone_store.environment()
    # The endpoint comes with the job; credentials are the machines' own.
    del machines["AWS_ENDPOINT_URL"]
    try:
        with ray_head(folder, cores=2, env=machines) as head:
            yield User(head, rclone_store, bucket, file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def first(user: User) -> Exit:
    """The small job, submitted and waited for."""
    return end(user.submit())


def test_a_submitted_job_is_computed_and_its_progress_shown(first: Exit, user: User) -> None:
    assert first.code == 0, first.errors
    inverted = 2 * LAYERS * SEEDS
    assert first.ran["invert"] == inverted
    assert first.ran["compare"] > 0
    assert len(user.artifacts("inversions")) == inverted
    with user.store.client() as client:
        results = client.get_object(Bucket=user.bucket, Key="lake/jobs/small/results.parquet")
        table = pq.read_table(pa.BufferReader(results["Body"].read()))
    assert table.num_rows > 0
    status = user.ask("status")
    assert status.code == 0
    assert re.search(rf"invert\D+{inverted}\D+{inverted}\b", status.output)


def test_no_secret_is_sent_and_submitting_again_starts_no_task(first: Exit, user: User) -> None:
    again = end(user.submit())
    assert again.code == 0, again.errors
    assert again.ran == dict.fromkeys(first.ran, 0)
    assert again.job_id != first.job_id
    listing = ("ray", "job", "list", "--address", user.head.address)
    listed = end(user.start(*listing, env={"RAY_AUTH_MODE": "token"})).output
    assert first.job_id in listed
    assert user.store.endpoint in listed
    for secret in (KEY, SECRET, user.head.token.read_text()):
        assert secret not in listed + first.output + first.errors


def test_waiting_ends_as_the_job_ends(user: User) -> None:
    wild = ("--set", "name=wild", "--set", "pretrained.train.learning_rate=1e30")
    failed = end(user.submit(*wild))
    assert failed.code == 3, failed.output
    assert "stir-ray: the loss of epoch 1 is nan" in failed.output
    assert failed.errors == f"stir-ray: job {failed.job_id} ended with exit code 3\n"
    assert "1 x permanent" in user.ask("failures", *wild).output


def test_a_job_goes_on_when_it_is_no_longer_waited_for_until_it_is_stopped(user: User) -> None:
    waiting = user.submit("--set", "name=long", "--set", "pretrained.train.epochs=1000000")
    assert waiting.stdout
    lines: list[str] = []
    for line in waiting.stdout:
        lines.append(line)
        if '"stage": "train"' in line:
            break
    waiting.send_signal(signal.SIGINT)
    interrupted = end(waiting)
    job_id = Exit(0, "".join(lines), "").job_id
    message = f"stir-ray: no longer waiting; job {job_id} goes on\n"
    assert (interrupted.code, interrupted.errors) == (130, message)
    follow, stop = (
        next(line.split(":", 1)[1].split() for line in lines if f"{verb}:" in line)
        for verb in ("follow", "stop")
    )
    following = user.start("env", *follow)
    stopped = end(user.start("env", *stop))
    assert "was stopped" in stopped.output + stopped.errors
    # The driver ends by itself and says so.
    assert "stir-ray: interrupted; run again to go on" in end(following).output


@pytest.mark.parametrize(
    "token",
    [{"RAY_AUTH_TOKEN": "wrong"}, {"RAY_AUTH_TOKEN_PATH": "/none"}],
)
def test_without_the_token_nothing_is_sent(token: dict[str, str], user: User) -> None:
    refused = end(user.submit(env=token))
    (line,) = refused.errors.splitlines()
    assert (refused.code, refused.output) == (2, "")
    assert line.startswith(f"stir-ray: {user.head.address} asks for a token (")
    assert len(line) < 300
