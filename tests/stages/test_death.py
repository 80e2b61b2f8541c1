"""SIGKILL at any moment leaves whole parts, and the next run computes what is missing."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stir_ray.lake.layout import result_key
from stir_ray.lake.schemas import RESULTS
from stir_ray.lake.tables import open_lake
from stir_ray.stages.verify import Finding, verify
from tests.small_job import small_job
from workflows import invariance

_RUN = """
import sys
from tests.small_job import small_job
from workflows import invariance
invariance.run(small_job(sys.argv[1]), serial=True)
"""
_DEATHS = 4


def test_a_killed_driver_leaves_whole_parts_and_the_next_run_ends_the_same(
    finished: Path, tmp_path: Path
) -> None:
    lake = open_lake(str(tmp_path))
    moments = random.Random(7)  # noqa: S311 - moments, not secrets
    for deaths in range(1, _DEATHS + 1):
        with subprocess.Popen(
            [sys.executable, "-c", _RUN, str(tmp_path)], stderr=subprocess.DEVNULL
        ) as run:
            # Once there is something new to lose, at some moment soon after.
            enough = deaths * 11
            while run.poll() is None and len(lake.objects.sizes("parts")) < enough:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.3))
            os.kill(run.pid, signal.SIGKILL)
        assert not [seen for seen in verify(lake) if isinstance(seen, Finding)]
    stored = len(lake.objects.sizes("parts"))
    assert stored >= _DEATHS * 11
    summary = invariance.run(small_job(tmp_path), serial=True)
    assert 0 < summary.tally.tasks < stored
    key = result_key("small", RESULTS.name)
    undisturbed = open_lake(str(finished)).read_object(RESULTS, key)
    assert lake.read_object(RESULTS, key).equals(undisturbed)


@pytest.mark.parametrize(
    ("stop", "options"),
    [(signal.SIGINT, ["--serial"]), (signal.SIGTERM, ["--serial"]), (signal.SIGTERM, [])],
)
def test_an_interrupted_run_says_so_and_can_go_on(
    tmp_path: Path, stop: signal.Signals, options: list[str]
) -> None:
    job_file = tmp_path / "small.yaml"
    job_file.write_text(small_job(tmp_path / "lake").model_dump_json(exclude_none=True))
    lake = open_lake(str(tmp_path / "lake"))
    command = [sys.executable, "-m", "stir_ray.cli", "run", str(job_file), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None and len(lake.objects.sizes("parts")) < 7:
            time.sleep(0.01)
        run.send_signal(stop)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.splitlines()[-1] == "stir-ray: interrupted; run again to go on"
    assert not [seen for seen in verify(lake) if isinstance(seen, Finding)]
