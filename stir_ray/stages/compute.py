"""Compute what is missing: planned minus stored, run, and failures put on record."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from stir_ray.errors import InputError, RunStopped, StirRayError
from stir_ray.execution.executor import Executor, Outcome
from stir_ray.execution.policy import Failure, FailureClass, should_stop
from stir_ray.identity import content_id
from stir_ray.lake.schemas import FAILURES, PART_TABLES
from stir_ray.lake.tables import Lake, build
from stir_ray.plan.tasks import Task, is_done, remaining


class Stored(dict[str, frozenset[str]]):
    """Ids in the lake by table; a table is listed when it is first asked for, and once."""

    def __init__(self, lake: Lake) -> None:
        """Nothing is listed yet."""
        super().__init__()
        self._lake = lake
        self._schemas = {schema.name: schema for schema in PART_TABLES}

    def __missing__(self, table: str) -> frozenset[str]:
        """List the table."""
        self[table] = self._lake.stored(self._schemas[table])
        return self[table]


class Watcher(Protocol):
    """Is told how a stage goes on."""

    def begin(self, stage: str, *, planned: int, done: int) -> None:
        """A stage begins; `done` of its `planned` tasks are in the lake."""
        ...

    def ended(self, outcome: Outcome[Task]) -> None:
        """A task ended."""
        ...

    def end(self) -> None:
        """The stage is over."""
        ...


@dataclass
class Tally:
    """What a run came to, over all its stages."""

    ran: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failures: list[Failure] = field(default_factory=list)

    @property
    def tasks(self) -> int:
        """Tasks that ran, whether they succeeded or not."""
        return sum(self.ran.values())

    def nothing_failed(self, otherwise: type[StirRayError]) -> None:
        """Go on only if no task failed: what follows builds on all of them.

        Raises:
            StirRayError: of the class `otherwise`, saying what the last failure said.
        """
        if self.failures:
            raise otherwise(self.failures[-1].message)


class Computation:
    """Runs the missing tasks of stage after stage."""

    def __init__(
        self, lake: Lake, executor: Executor, watcher: Watcher, *, stop_after_alike: int
    ) -> None:
        """On a lake, with an executor, telling a watcher.

        Args:
            lake: where parts are looked for and failures are recorded.
            executor: that runs the tasks.
            watcher: that is told.
            stop_after_alike: the first tasks of a stage that must fail alike to stop the run.
        """
        self._lake, self._executor, self._watcher = lake, executor, watcher
        self._stop_after_alike = stop_after_alike
        self.tally = Tally()

    def run(self, stage: str, tasks: Callable[[], Iterable[Task]]) -> None:
        """Run those of a stage's tasks that miss a part.

        Args:
            stage: its name, for people.
            tasks: makes the tasks in plan order; called twice, to count and to run.

        Raises:
            InputError: as soon as a task finds something that the person must mend.
            RunStopped: when too many tasks have failed alike.
        """
        stored = Stored(self._lake)
        first_ended: list[Failure | None] = []
        states = [is_done(task, stored) for task in tasks()]
        self._watcher.begin(stage, planned=len(states), done=sum(states))
        try:
            for outcome in self._executor.run(remaining(tasks(), stored)):
                self.tally.ran[outcome.task.stage] += 1
                self._watcher.ended(outcome)
                if len(first_ended) < self._stop_after_alike:
                    first_ended.append(outcome.failure)
                if outcome.failure:
                    self._failed(outcome, outcome.failure)
                    self._stop_if_hopeless(first_ended, outcome)
        finally:
            self._watcher.end()

    def _failed(self, outcome: Outcome[Task], failure: Failure) -> None:
        if failure.failure_class is FailureClass.SETUP:
            raise InputError(failure.message)
        record_failure(self._lake, outcome, failure)
        self.tally.failures.append(failure)

    def _stop_if_hopeless(self, first_ended: list[Failure | None], outcome: Outcome[Task]) -> None:
        if should_stop(first_ended, self._stop_after_alike) and outcome.failure:
            raise RunStopped(
                f"the first {self._stop_after_alike} tasks failed alike, one of them: "
                f"{outcome.task.label}: {outcome.failure.message}; mend the cause and run again"
            )


def failure_id(task: Task) -> str:
    """Names the record of a task's failure. It counts only while the task is not done."""
    return content_id("failures", recipe=1, parts=[part.id for part in task.outputs])


def record_failure(lake: Lake, outcome: Outcome[Task], failure: Failure) -> None:
    """Put a task's last failure into the lake."""
    task_id = failure_id(outcome.task)
    table = build(
        FAILURES,
        {
            "task": task_id,
            "stage": outcome.task.stage,
            "label": outcome.task.label,
            "failure_class": failure.failure_class.value,
            "fingerprint": failure.fingerprint,
            "message": failure.message,
            "traceback": failure.traceback,
            "node": outcome.node,
            "attempt": outcome.attempt,
            "time": datetime.now(UTC),
        },
    )
    lake.write(FAILURES, task_id, table)


def failed(tasks: Iterable[Task], lake: Lake) -> Iterator[dict]:
    """The failure records of those tasks that are still not done, as rows."""
    recorded = lake.stored(FAILURES)
    ids = (failure_id(task) for task in tasks)
    for task_id in ids:
        if task_id in recorded:
            yield lake.read(FAILURES, task_id).to_pylist()[0]
