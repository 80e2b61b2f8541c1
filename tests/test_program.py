"""A driver by itself ends as the command line does: with one line and an exit code."""

import signal
from pathlib import Path

from tests.broken import job_file
from tests.execution.alone import alone
from tests.small_job import small_job

WAITING = """
import sys, time
from stir_ray.worker import inspect
from workflows import invariance
from workflows.runtime import as_program

def collect_images(*_):
    print("begun", file=sys.stderr, flush=True)
    time.sleep(600)

inspect.collect_images = collect_images
as_program(lambda grid: invariance.run_all(grid, serial=True))
"""


def test_a_driver_that_is_ended_says_how_to_go_on(tmp_path: Path) -> None:
    path = job_file(small_job(tmp_path / "lake"), tmp_path)
    with alone("-c", WAITING, str(path)) as process:
        assert process.stderr
        while "begun" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == "stir-ray: interrupted; run again to go on"


def test_a_driver_that_cannot_begin_says_why_on_one_line(tmp_path: Path) -> None:
    with alone("-m", "workflows.finetune", str(tmp_path / "none.yaml")) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    (line,) = said.strip().splitlines()
    assert line.startswith(f"stir-ray: {tmp_path}/none.yaml: ")
