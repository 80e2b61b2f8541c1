"""How long `stir-ray status` takes on a lake of many parts, on a local disk and on S3.

`python -m tests.benchmarks.status [ARTIFACTS]`
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stir_ray.catalog.inspection import lake_of, resolve
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.results.study_reader import read_study
from tests.small_job import small_job
from tests.stores import servers
from workflows import finetune

_PARTS_PER_SEED = 54
"""Of the small job: 12 inversions with what is kept and seen of them, and 3 x 3 comparisons."""


@dataclass(frozen=True)
class StatusTime:
    parts: int  # in the lake
    local_s: float  # with the lake in a folder
    s3_s: float  # with the lake on an S3 server on this machine


def measure(parts: int) -> StatusTime:
    """Show the status of a job with about so many parts, all of which are there."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        lake = root / "served" / "bucket" / "lake"
        job = small_job(lake, seeds=list(range(-(-parts // _PARTS_PER_SEED))))
        finetune.run(job, serial=True)
        stored = _pretend(job, lake)
        local_s = _status(job, root / "local.json", dict(os.environ))
        with servers.rclone(root / "served") as store:
            remote = job.model_copy(update={"lake": "s3://bucket/lake"})
            s3_s = _status(remote, root / "remote.json", os.environ | store.environment())
    return StatusTime(stored, local_s, s3_s)


def _pretend(job: Job, lake: Path) -> int:
    """Put an object without content in the place of every part; their number."""
    study = read_study(resolve(job), lake_of(job))
    keys = {
        artifact_key(part.table, part.id)
        for task in (*study.inversions(), *study.comparisons())
        for part in task.outputs
    }
    for key in keys:
        path = lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return len(keys)


def _status(job: Job, path: Path, environment: dict[str, str]) -> float:
    path.write_text(json.dumps(job.model_dump(mode="json")))
    command = [sys.executable, "-m", "stir_ray.cli", "status", str(path), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    stages = json.loads(done.stdout)["status"]["stages"]
    if any(stage["done"] != stage["planned"] for stage in stages):
        raise AssertionError(f"not everything was found: {stages}")
    return seconds


if __name__ == "__main__":
    took = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print(
        f"status of {took.parts} parts: {took.local_s:.1f} s in a folder, {took.s3_s:.1f} s on S3"
    )
