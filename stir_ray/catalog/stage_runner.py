"""Run the tasks of a stage that are not stored, and record those that fail."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stir_ray.catalog.failures import is_own_failure, record_failure
from stir_ray.errors import InputError, RunAborted, StirRayError
from stir_ray.execution.executor import Executor, TaskResult
from stir_ray.execution.retry import Failure, FailureClass, all_failed_alike
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.plan.tasks import Task, is_done


class Callback(Protocol):
    """Is called as a stage proceeds."""

    def begin(self, stage: str, *, planned: int) -> None:
        """Start a stage; how many of the `planned` tasks are stored is not known yet."""
        ...

    def found(self) -> None:
        """Count a task that is stored already."""
        ...

    def ended(self, outcome: TaskResult[Task]) -> None:
        """Count a task that was executed."""
        ...

    def end(self) -> None:
        """End the stage."""
        ...


class Callbacks:
    """Calls several callbacks in order."""

    def __init__(self, *callbacks: Callback) -> None:
        self._callbacks = callbacks

    def begin(self, stage: str, *, planned: int) -> None:
        for callback in self._callbacks:
            callback.begin(stage, planned=planned)

    def found(self) -> None:
        for callback in self._callbacks:
            callback.found()

    def ended(self, outcome: TaskResult[Task]) -> None:
        for callback in self._callbacks:
            callback.ended(outcome)

    def end(self) -> None:
        for callback in self._callbacks:
            callback.end()


@dataclass
class TaskCounts:
    """Tasks of all stages of a run; as small after a million tasks as after one.

    Attributes:
        ran: executed tasks by stage, whether they succeeded or not.
        failed: of them.
        last_failure: of the task that failed last; all failures are recorded in the lake.
    """

    ran: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: int = 0
    last_failure: Failure | None = None

    @property
    def tasks(self) -> int:
        """Number of executed tasks."""
        return sum(self.ran.values())

    def require_success(self, error_of: Callable[[Failure], StirRayError]) -> None:
        """Go on only if no task failed.

        Raises:
            StirRayError: that `error_of` makes of the last failure.
        """
        if self.last_failure:
            raise error_of(self.last_failure)


class TaskFilter(Protocol):
    """Decides which of the missing tasks are executed."""

    def includes(self, task: Task) -> bool:
        """Return whether the task is executed if it is not done."""
        ...

    def succeeded(self, task: Task) -> None:
        """Record that a task was executed and is done."""
        ...


class AllTasks:
    """Every task is executed."""

    def includes(self, task: Task) -> bool:  # noqa: ARG002
        return True

    def succeeded(self, task: Task) -> None:
        pass


class StageRunner:
    """Executes the missing tasks of stage after stage.

    Attributes:
        tally: of the tasks of all stages.
    """

    def __init__(
        self, job: Job, lake: Lake, executor: Executor, callback: Callback, tasks: TaskFilter
    ) -> None:
        """Run on a lake.

        Args:
            job: that the tasks belong to, or what several jobs share.
            lake: where artifacts are looked for and failures are recorded.
            executor: of the tasks.
            callback: called as stages proceed.
            tasks: which of the missing tasks are executed.
        """
        self._job, self._lake = job, lake
        self._executor, self._callback, self._filter = executor, callback, tasks
        self._max_identical = job.execution.max_identical_failures
        self.tally = TaskCounts()

    def run(self, stage: str, tasks: Callable[[], Iterable[Task]]) -> None:
        """Execute those of a stage's tasks that are not done.

        Args:
            stage: its name, for people.
            tasks: makes the tasks in plan order; called twice, to count and to run. Only a few of
                them are in memory at a time, and counting makes no ids: the first task of a million
                starts within seconds.

        Raises:
            InputError: as soon as a task fails because of the job file or its files.
            RunAborted: if the first tasks all fail in the same way.
        """
        first: list[Failure | None] = []
        self._callback.begin(stage, planned=sum(1 for _ in self._included(tasks)))
        try:
            for result in self._executor.run(self._missing(self._included(tasks))):
                self.tally.ran[result.task.stage] += 1
                self._callback.ended(result)
                if len(first) < self._max_identical:
                    first.append(None if is_own_failure(result) else result.failure)
                if result.failure:
                    self._record(result, result.failure)
                    self._abort_if_hopeless(first, result.task, result.failure)
                else:
                    self._filter.succeeded(result.task)
        finally:
            self._callback.end()

    def _missing(self, tasks: Iterable[Task]) -> Iterator[Task]:
        stored = StoredIds(self._lake)
        for task in tasks:
            if is_done(task, stored):
                self._callback.found()
            else:
                yield task

    def _included(self, tasks: Callable[[], Iterable[Task]]) -> Iterator[Task]:
        return (task for task in tasks() if self._filter.includes(task))

    def _record(self, result: TaskResult[Task], failure: Failure) -> None:
        record_failure(self._lake, result, failure, job=self._job.name)
        if failure.failure_class is FailureClass.USER_ERROR:
            raise InputError(failure.message)
        self.tally.failed += 1
        self.tally.last_failure = failure

    def _abort_if_hopeless(self, first: list[Failure | None], task: Task, failure: Failure) -> None:
        if all_failed_alike(first, self._max_identical):
            raise RunAborted(
                f"the first {self._max_identical} tasks failed alike, one of them: "
                f"{task.label}: {failure.message}; mend the cause and run again"
            )
