"""Compute what is missing: planned minus stored, run, and failures put on record."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stir_ray.catalog.failures import is_of_its_own, record_failure
from stir_ray.errors import InputError, RunAborted, StirRayError
from stir_ray.execution.executor import Executor, TaskResult
from stir_ray.execution.retry import Failure, FailureClass, all_failed_alike
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.plan.tasks import Task, is_done


class Callback(Protocol):
    """Is told how a stage goes on."""

    def begin(self, stage: str, *, planned: int) -> None:
        """A stage of `planned` tasks begins; which of them are in the lake shows on the way."""
        ...

    def found(self) -> None:
        """A task is in the lake already."""
        ...

    def ended(self, outcome: TaskResult[Task]) -> None:
        """A task ended."""
        ...

    def end(self) -> None:
        """The stage is over."""
        ...


class Callbacks:
    """Tells each of them, in their order."""

    def __init__(self, *each: Callback) -> None:
        """These."""
        self._each = each

    def begin(self, stage: str, *, planned: int) -> None:
        """A stage begins."""
        for watcher in self._each:
            watcher.begin(stage, planned=planned)

    def found(self) -> None:
        """A task is in the lake already."""
        for watcher in self._each:
            watcher.found()

    def ended(self, outcome: TaskResult[Task]) -> None:
        """A task ended."""
        for watcher in self._each:
            watcher.ended(outcome)

    def end(self) -> None:
        """The stage is over."""
        for watcher in self._each:
            watcher.end()


@dataclass
class TaskCounts:
    """What a run came to, over all its stages; as small after a million tasks as after one.

    Attributes:
        ran: tasks that ended, well or not, by stage.
        failed: of them.
        last_failure: of the task that failed last; why the others did is in the lake.
    """

    ran: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: int = 0
    last_failure: Failure | None = None

    @property
    def tasks(self) -> int:
        """Tasks that ran, whether they succeeded or not."""
        return sum(self.ran.values())

    def nothing_failed(self, otherwise: Callable[[Failure], StirRayError]) -> None:
        """Go on only if no task failed: what follows builds on all of them.

        Raises:
            StirRayError: that `otherwise` makes of the last failure.
        """
        if self.last_failure:
            raise otherwise(self.last_failure)


class Wanted(Protocol):
    """Which of the missing tasks are run: asked stage by stage, and told of successes."""

    def includes(self, task: Task) -> bool:
        """Whether the task is run if it misses a part."""
        ...

    def succeeded(self, task: Task) -> None:
        """A task was run and is done."""
        ...


class AllTasks:
    """All of them."""

    def includes(self, task: Task) -> bool:  # noqa: ARG002
        """Yes."""
        return True

    def succeeded(self, task: Task) -> None:
        """Changes nothing."""


class Computation:
    """Runs the missing tasks of stage after stage."""

    def __init__(
        self, job: Job, lake: Lake, executor: Executor, watcher: Callback, wanted: Wanted
    ) -> None:
        """On a lake, with an executor, telling a watcher.

        Args:
            job: that the tasks are of, or what several share.
            lake: where parts are looked for and failures are recorded.
            executor: that runs the tasks.
            watcher: that is told.
            wanted: which of the missing tasks are run.
        """
        self._job, self._lake = job, lake
        self._executor, self._watcher, self._wanted = executor, watcher, wanted
        self._stop_after_alike = job.execution.max_identical_failures
        self.tally = TaskCounts()

    def run(self, stage: str, tasks: Callable[[], Iterable[Task]]) -> None:
        """Run those of a stage's tasks that miss a part.

        Args:
            stage: its name, for people.
            tasks: makes the tasks in plan order; called twice, to count and to run. Neither holds
                more than a few of them, and counting makes no ids: the first task of a million
                begins in seconds.

        Raises:
            InputError: as soon as a task finds something that the person must mend.
            RunAborted: when too many tasks have failed alike.
        """
        first_ended: list[Failure | None] = []
        self._watcher.begin(stage, planned=sum(1 for _ in self._of(tasks)))
        try:
            for outcome in self._executor.run(self._missing(self._of(tasks))):
                self.tally.ran[outcome.task.stage] += 1
                self._watcher.ended(outcome)
                if len(first_ended) < self._stop_after_alike:
                    first_ended.append(None if is_of_its_own(outcome) else outcome.failure)
                if outcome.failure:
                    self._failed(outcome, outcome.failure)
                    self._stop_if_hopeless(first_ended, outcome)
                else:
                    self._wanted.succeeded(outcome.task)
        finally:
            self._watcher.end()

    def _missing(self, tasks: Iterable[Task]) -> Iterator[Task]:
        stored = StoredIds(self._lake)
        for task in tasks:
            if is_done(task, stored):
                self._watcher.found()
            else:
                yield task

    def _of(self, tasks: Callable[[], Iterable[Task]]) -> Iterator[Task]:
        return (task for task in tasks() if self._wanted.includes(task))

    def _failed(self, outcome: TaskResult[Task], failure: Failure) -> None:
        record_failure(self._lake, outcome, failure, job=self._job.name)
        if failure.failure_class is FailureClass.USER_ERROR:
            raise InputError(failure.message)
        self.tally.failed += 1
        self.tally.last_failure = failure

    def _stop_if_hopeless(
        self, first_ended: list[Failure | None], outcome: TaskResult[Task]
    ) -> None:
        if all_failed_alike(first_ended, self._stop_after_alike) and outcome.failure:
            raise RunAborted(
                f"the first {self._stop_after_alike} tasks failed alike, one of them: "
                f"{outcome.task.label}: {outcome.failure.message}; mend the cause and run again"
            )
