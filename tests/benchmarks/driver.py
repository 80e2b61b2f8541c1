"""What the driver costs: seconds per task that does nothing.

`python -m tests.benchmarks.driver [TASKS]`
"""

import resource
import sys
import time
from dataclasses import dataclass

from stir_ray.execution import ray_executor
from stir_ray.execution.executor import Attempt, PoolSpec, TaskFunction
from stir_ray.execution.ray_executor import RayExecutor


@dataclass(frozen=True)
class Idle:
    """A task that takes so many seconds and no core."""

    number: int
    seconds: float = 0.0
    locality_key: None = None


def _idle(task: Idle, _: Attempt) -> None:
    time.sleep(task.seconds)


def make_idle_worker(_: int) -> TaskFunction[Idle]:
    return _idle


@dataclass(frozen=True)
class Driven:
    """How a run went."""

    tasks: int  # that were done
    wall_s: float  # from the first to the last outcome
    driver_s: float  # of CPU that the driver's process took, all its threads together
    growth_bytes: int  # of the driver's memory meanwhile


def drive(tasks: int, *, workers: int) -> Driven:
    """Do so many idle tasks on so many workers, which are up before the clock starts."""
    with RayExecutor(make_idle_worker, PoolSpec(workers=workers, threads=1, gpus=0)) as executor:
        while executor.status.ready < workers:
            list(executor.run([Idle(number, 0.02) for number in range(4 * workers)]))
        before, cpu, start = _peak_bytes(), time.process_time(), time.perf_counter()
        outcomes = executor.run(Idle(number) for number in range(tasks))
        done = sum(outcome.failure is None for outcome in outcomes)
        wall_s, driver_s = time.perf_counter() - start, time.process_time() - cpu
    return Driven(done, wall_s, driver_s, _peak_bytes() - before)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    ray_executor.connect(cores=2)
    driven = drive(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, workers=2)
    print(
        f"{driven.tasks} tasks on 2 workers: {driven.wall_s / driven.tasks * 1e3:.2f} ms per task, "
        f"of which {driven.driver_s / driven.tasks * 1e3:.2f} ms of CPU in the driver; its memory "
        f"grew by {driven.growth_bytes / 1e6:.0f} MB"
    )
