"""Tasks that compute nothing, so that all that is measured is what is around them."""

import time
from dataclasses import dataclass

from stir_ray.execution.executor import Attempt, TaskFunction


@dataclass(frozen=True)
class Idle:
    """A task that takes so many seconds and no core."""

    number: int
    seconds: float = 0.0
    locality_key: None = None


def idle(task: Idle, attempt: Attempt) -> None:
    """Be idle."""
    time.sleep(task.seconds)


def make_idle_worker(threads: int) -> TaskFunction[Idle]:
    """A worker that is idle."""
    return idle
