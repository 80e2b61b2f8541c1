"""What the driver costs: seconds per task that does nothing, and how busy it keeps many workers.

`python -m tests.benchmarks.driver [TASKS]` and `python -m tests.benchmarks.driver busy [WORKERS]`
"""

import resource
import sys
import time
from dataclasses import dataclass

from stir_ray.execution import ray_executor
from stir_ray.execution.executor import PoolSpec
from stir_ray.execution.ray_executor import RayExecutor
from tests.benchmarks.idle import Idle, make_idle_worker


@dataclass(frozen=True)
class Driven:
    """How a run went.

    Attributes:
        tasks: that were done.
        workers: that did them.
        wall_s: from the first to the last outcome.
        driver_s: of CPU that the driver's process took, all its threads together.
        task_s: that each task took in its worker.
        growth_bytes: of the driver's memory meanwhile.
    """

    tasks: int
    workers: int
    wall_s: float
    driver_s: float
    task_s: float
    growth_bytes: int

    @property
    def busy(self) -> float:
        """The share of their time that workers spent on tasks."""
        return self.tasks * self.task_s / (self.workers * self.wall_s)


def drive(tasks: int, *, workers: int, task_s: float = 0.0) -> Driven:
    """Do so many idle tasks on so many workers, which are up before the clock starts."""
    with RayExecutor(make_idle_worker, PoolSpec(workers=workers, threads=1, gpus=0)) as executor:
        while executor.status.ready < workers:
            list(executor.run([Idle(number, 0.02) for number in range(4 * workers)]))
        before, cpu, start = _peak_bytes(), time.process_time(), time.perf_counter()
        done = sum(
            outcome.failure is None
            for outcome in executor.run(Idle(number, task_s) for number in range(tasks))
        )
        wall_s, driver_s = time.perf_counter() - start, time.process_time() - cpu
    return Driven(done, workers, wall_s, driver_s, task_s, _peak_bytes() - before)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(words: list[str]) -> None:
    """Measure and say so."""
    busy = words[:1] == ["busy"]
    number = int(words[-1]) if words and words[-1].isdigit() else 64 if busy else 100_000
    ray_executor.connect(cores=number if busy else 2)
    if busy:
        driven = drive(20 * number, workers=number, task_s=1.0)
        print(
            f"{driven.workers} workers with tasks of 1 s: {driven.busy:.1%} busy over "
            f"{driven.tasks} tasks; driver {driven.driver_s / driven.wall_s:.0%} of a core"
        )
        return
    driven = drive(number, workers=2)
    print(
        f"{driven.tasks} tasks on {driven.workers} workers: {driven.wall_s / number * 1e3:.2f} ms "
        f"per task, of which {driven.driver_s / number * 1e3:.2f} ms of CPU in the driver; its "
        f"memory grew by {driven.growth_bytes / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
