"""Tasks on a Ray cluster, or on this machine's cores or GPUs."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from stir_ray.execution.executor import (
    FOUND,
    Item,
    TaskFunction,
    TaskResult,
    WorkerStatus,
    log_retry,
)
from stir_ray.execution.ray_workers import Ended, Worker, WorkerPool, WorkerStarted
from stir_ray.execution.scheduler import PendingTask, Scheduler
from stir_ray.execution.task_attributes import TaskAttributes
from stir_ray.execution.worker_pool import Pool

_log = logging.getLogger(__name__)


class RayExecutor:
    """Long-lived workers that keep their model, fed from a bounded window.

    The driver holds tasks and outcomes, never tensors. What becomes of a task is decided by the
    `Schedule`, what becomes of a worker by the `WorkerPool`; here each is told of the other.
    """

    def __init__(
        self,
        make_worker: Callable[[int], TaskFunction],
        pool: Pool | None = None,
        nature: TaskAttributes | None = None,
    ) -> None:
        """Nothing starts before the first task.

        Args:
            make_worker: called in each worker's process with its number of CPU threads.
            pool: workers and their share of the machine.
            nature: of the tasks. An attempt that passes its time limit costs its worker.
        """
        self._crew = WorkerPool(make_worker, pool or Pool())
        self._nature: TaskAttributes = nature or TaskAttributes()

    @property
    def workers(self) -> int:
        """See `Executor.workers`; 0 before the first task."""
        return self._crew.size

    @property
    def status(self) -> WorkerStatus:
        """See `Executor.status`."""
        return self._crew.status

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """See `Executor.run`.

        Raises:
            InputError: if the workers do not fit on this machine.
            RunAborted: if workers die again and again before they are up.
        """
        schedule: Scheduler[Item, Worker] = Scheduler(tasks, self._nature)
        if schedule.is_over():
            return
        self._crew.assemble()
        for worker in self._crew.up:
            schedule.add(worker, worker.node)
        try:
            while not schedule.is_over():
                self._give(schedule)
                yield from self._outcomes(schedule)
        finally:
            # Whoever leaves early leaves nothing running behind which the next run would wait.
            self._crew.stop_work()

    def _give(self, schedule: Scheduler[Item, Worker]) -> None:
        now = time.monotonic()
        while given := schedule.give(now):
            self._call(*given)
        for worker in schedule.stragglers(now):
            # It may have ended while the driver was busy with something else.
            if not self._crew.has_ended(worker) and (given := schedule.launch_backup(worker, now)):
                _log.warning("a straggler is tried elsewhere too", extra=_place(worker))
                self._call(*given)

    def _call(self, worker: Worker, trial: PendingTask[Item]) -> None:
        self._crew.call(worker, trial.task, trial.attempt)

    def _outcomes(self, schedule: Scheduler[Item, Worker]) -> Iterator[TaskResult[Item]]:
        for news in self._news(schedule):
            match news:
                case WorkerStarted(worker):
                    _log.info("worker came", extra=_place(worker))
                    schedule.add(worker, worker.node)
                case Ended():
                    yield from self._outcome(schedule, news)
        for worker in schedule.release_beaten():
            self._crew.replace(worker)

    def _news(self, schedule: Scheduler[Item, Worker]) -> Iterator[WorkerStarted | Ended]:
        yield from self._crew.news(until=schedule.changes_at())
        for worker, failure in schedule.overdue(time.monotonic()):
            # It may have ended while the outcome of another was being looked at.
            if not self._crew.has_ended(worker):
                yield Ended(worker, failure, None, worker_alive=False)

    def _outcome(
        self, schedule: Scheduler[Item, Worker], ended: Ended
    ) -> Iterator[TaskResult[Item]]:
        worker, failure, now = ended.worker, ended.failure, time.monotonic()
        seconds = now - schedule.began(worker) if ended.seconds is None else ended.seconds
        task, has_duplicate = schedule.doing(worker).task, schedule.has_duplicate(worker)
        if ended.worker_alive or failure is None:
            worked_s = None if ended.metrics.get(FOUND) else ended.seconds
            trial = schedule.ended(worker, failure, now, worked_s=worked_s)
        else:
            _log.warning("worker lost: %s", failure.message, extra=_place(worker))
            trial = schedule.lost(worker, failure, now)
            self._crew.replace(worker)
        if failure and not trial and not has_duplicate:
            log_retry(task, failure)
        if trial:
            last = len(trial.failures) if failure else trial.attempt.number
            yield TaskResult(
                trial.task,
                failure,
                seconds,
                worker.host,
                last,
                trial.failures,
                ended.metrics,
                worker.device,
            )

    def __enter__(self) -> Self:
        """Nothing starts before the first task."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers, and Ray itself if it was started here."""
        self._crew.dismiss()


def _place(worker: Worker) -> dict[str, str]:
    """Where a worker is, as fields of a log line."""
    return {"host": worker.host, "node": worker.node}
