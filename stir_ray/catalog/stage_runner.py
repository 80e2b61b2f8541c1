"""Run the tasks of a stage that are not stored, and record those that fail."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stir_ray.catalog.failures import RetryFailed, is_own_failure, record_failure
from stir_ray.errors import InputError, RunAborted, StirRayError, TasksFailed
from stir_ray.execution.executor import Executor, TaskResult
from stir_ray.execution.retry import Failure, FailureClass, all_failed_alike
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.plan.tasks import Task, is_done


class Callback(Protocol):
    """Follows the progress of stages."""

    def on_stage_start(self, stage: str, *, planned: int) -> None:
        """Start a stage; how many of the `planned` tasks are stored is not known yet."""

    def on_task_skipped(self) -> None:
        """Count a task that is stored already."""

    def on_task_end(self, outcome: TaskResult[Task]) -> None:
        """Count a task that was executed."""

    def on_stage_end(self) -> None:
        """End the stage."""


@dataclass
class TaskCounts:
    """Tasks of all stages of a run; as small after a million tasks as after one."""

    # Executed tasks by stage, whether they succeeded or not.
    ran: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: int = 0
    last_failure: Failure | None = None  # all failures are recorded in the lake

    @property
    def tasks(self) -> int:
        """Number of executed tasks."""
        return sum(self.ran.values())

    def require_success(self, error_of: Callable[[Failure], StirRayError] | None = None) -> None:
        """Go on only if no task failed.

        Raises:
            StirRayError: that `error_of` makes of the last failure; by default TasksFailed.
        """
        if self.last_failure and error_of:
            raise error_of(self.last_failure)
        if self.last_failure:
            raise TasksFailed(self.last_failure.message)


class StageRunner:
    """Executes the missing tasks of stage after stage, and counts those of all stages."""

    def __init__(
        self,
        job: Job,
        lake: Lake,
        executor: Executor,
        callbacks: Sequence[Callback] = (),
        retry: RetryFailed | None = None,
    ) -> None:
        """Run tasks of a job, or of several that share `job`; `retry` selects missing ones."""
        self.tally = TaskCounts()
        self._job, self._lake = job, lake
        self._executor, self._callbacks, self._retry = executor, callbacks, retry
        self._max_identical = job.execution.max_identical_failures

    def run(self, stage: str, tasks: Callable[[], Iterable[Task]]) -> None:
        """Execute those of a stage's tasks that are not done.

        `tasks` makes them in plan order, and is called twice, to count and to run. Only a few are
        in memory at a time, and counting makes no ids: the first of a million starts in seconds.

        Raises:
            InputError: as soon as a task fails because of the job file or its files.
            RunAborted: if the first tasks all fail in the same way.
        """
        first: list[Failure | None] = []
        planned = sum(1 for _ in self._included(tasks))
        for callback in self._callbacks:
            callback.on_stage_start(stage, planned=planned)
        try:
            for result in self._executor.run(self._missing(tasks)):
                self.tally.ran[result.task.stage] += 1
                for callback in self._callbacks:
                    callback.on_task_end(result)
                if len(first) < self._max_identical:
                    first.append(None if is_own_failure(result) else result.failure)
                if result.failure:
                    self._record(result, result.failure, first)
                elif self._retry:
                    self._retry.succeeded(result.task)
        finally:
            for callback in self._callbacks:
                callback.on_stage_end()

    def _included(self, tasks: Callable[[], Iterable[Task]]) -> Iterable[Task]:
        return filter(self._retry.includes, tasks()) if self._retry else tasks()

    def _missing(self, tasks: Callable[[], Iterable[Task]]) -> Iterator[Task]:
        stored = StoredIds(self._lake)
        for task in self._included(tasks):
            if is_done(task, stored):
                for callback in self._callbacks:
                    callback.on_task_skipped()
            else:
                yield task

    def _record(
        self, result: TaskResult[Task], failure: Failure, first: Sequence[Failure | None]
    ) -> None:
        record_failure(self._lake, result, failure, job=self._job.name)
        if failure.failure_class is FailureClass.USER_ERROR:
            raise InputError(failure.message)
        self.tally.failed += 1
        self.tally.last_failure = failure
        if all_failed_alike(first, self._max_identical):
            raise RunAborted(
                f"the first {self._max_identical} tasks failed alike, one of them: "
                f"{result.task.label}: {failure.message}; fix the cause and run again"
            )
