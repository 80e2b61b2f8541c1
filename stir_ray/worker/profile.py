"""Where the time of a run's workers went, stage by stage."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stir_ray.execution.executor import TaskResult
from stir_ray.plan.tasks import Task
from stir_ray.worker.phases import Phase


@dataclass(frozen=True)
class StageProfile:
    """What became of the workers' time in one stage.

    Attributes:
        stage: its name.
        tasks: that ended.
        start_s: until the first of them began: workers start, tasks are planned and looked for.
        wall_s: from then to the end of the last.
        workers: that there were at the end.
        task_s: that tasks took, summed over workers.
        phase_s: part of it that went to each phase.
    """

    stage: str
    tasks: int
    start_s: float
    wall_s: float
    workers: int
    task_s: float
    phase_s: Mapping[Phase, float]

    @property
    def worker_s(self) -> float:
        """Time of all workers together, from when the first task began."""
        return self.workers * self.wall_s

    @property
    def waiting_s(self) -> float:
        """The part of it in which they had no task: those that came late, or were done early."""
        return max(0.0, self.worker_s - self.task_s)

    @property
    def other_s(self) -> float:
        """The part of tasks that is of no phase."""
        return max(0.0, self.task_s - sum(self.phase_s.values()))


@dataclass
class _Going:
    stage: str
    began: float
    first_began: float | None = None
    last_ended: float = 0.0
    tasks: int = 0
    task_s: float = 0.0
    measures: Counter[str] = field(default_factory=Counter)


class Profile:
    """Watches a run."""

    def __init__(self, workers: Callable[[], int]) -> None:
        """Of so many workers as there are at the end of each stage."""
        self._workers = workers
        self._going = _Going("", 0.0)
        self.stages: list[StageProfile] = []

    def begin(self, stage: str, *, planned: int) -> None:  # noqa: ARG002
        """A stage begins."""
        self._going = _Going(stage, time.monotonic())

    def found(self) -> None:
        """Takes no worker's time."""

    def ended(self, outcome: TaskResult[Task]) -> None:
        """Count what the task took."""
        going, now = self._going, time.monotonic()
        if going.first_began is None:
            going.first_began = max(going.began, now - outcome.seconds)
        going.last_ended = now
        going.tasks += 1
        going.task_s += outcome.seconds
        going.measures.update({one.measure: outcome.metrics.get(one.measure, 0) for one in Phase})

    def end(self) -> None:
        """A stage in which nothing ran took no worker's time."""
        going = self._going
        if going.first_began is None:
            return
        phases = {one: float(going.measures[one.measure]) for one in Phase}
        self.stages.append(
            StageProfile(
                stage=going.stage,
                tasks=going.tasks,
                start_s=going.first_began - going.began,
                wall_s=going.last_ended - going.first_began,
                workers=self._workers(),
                task_s=going.task_s,
                phase_s={one: seconds for one, seconds in phases.items() if seconds},
            )
        )
