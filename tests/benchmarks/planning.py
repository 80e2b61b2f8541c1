"""A job of a million tasks: how soon the first one starts, and how much memory planning takes.

`python -m tests.benchmarks.planning [TASKS]`
"""

import resource
import sys
import time
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from stir_ray.catalog.stage_runner import StageRunner
from stir_ray.execution.executor import Attempt, SerialExecutor
from stir_ray.lake.parquet import open_lake
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Task, deduplicate
from tests.plan.examples import SPEC, STUDY, checkpoint, job

LAYERS, SEEDS = 12, 3


@dataclass(frozen=True)
class Planned:
    tasks: int  # of the job
    first_s: float  # from the beginning of its stage to the beginning of its first task
    all_s: float  # until the last of them was drawn and done, which took no time
    peak_bytes: int  # of this process, above what it had when everything was imported


def measure(tasks: int) -> Planned:
    """Plan and do a job of so many inversions on an empty lake, serially and without any work."""
    begun: list[float] = []

    def work(task: Task, attempt: Attempt) -> None:
        if not begun:
            begun.append(time.perf_counter())

    study = study_of(tasks)
    imported = _peak_bytes()
    with TemporaryDirectory() as folder:
        lake = open_lake(folder)
        executor = SerialExecutor(lambda _: work)
        computation = StageRunner(job(), lake, executor)
        start = time.perf_counter()
        computation.run("invert", lambda: deduplicate([study.inversions()]))
        end = time.perf_counter()
    done = computation.tally.tasks
    return Planned(done, begun[0] - start, end - start, _peak_bytes() - imported)


def study_of(tasks: int) -> Study:
    """A study of at least so many inversions, of equally many checkpoints per seed and layer."""
    checkpoints = -(-tasks // (LAYERS * SEEDS)) - 1
    finetuned = tuple(checkpoint(f"{epoch:032x}", epoch=epoch) for epoch in range(checkpoints))
    spec = replace(SPEC, layers=tuple(range(1, LAYERS + 1)))
    return replace(STUDY, spec=spec, compared={"finetuned": finetuned}, seeds=tuple(range(SEEDS)))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    planned = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    print(
        f"{planned.tasks} tasks: the first began after {planned.first_s:.1f} s, all were planned "
        f"after {planned.all_s:.0f} s, {planned.peak_bytes / 1e6:.0f} MB above the imports"
    )
