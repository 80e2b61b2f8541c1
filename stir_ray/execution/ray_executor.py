"""Run tasks on a Ray cluster, or on this machine's cores or GPUs."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

from stir_ray.execution.allocation import PoolSpec
from stir_ray.execution.executor import Item, TaskFunction, TaskResult, WorkerStatus, log_retry
from stir_ray.execution.ray_workers import TaskFinished, Worker, WorkerPool, WorkerStarted
from stir_ray.execution.scheduler import Scheduler

_log = logging.getLogger(__name__)


class RayExecutor:
    """Runs tasks on long-lived workers that keep their model from task to task.

    The `Scheduler` decides about tasks and the `WorkerPool` about workers; the executor passes the
    events of each to the other. The driver holds tasks and results, never tensors.
    """

    def __init__(
        self,
        make_worker: Callable[[int], TaskFunction],
        spec: PoolSpec | None = None,
        timeout_s: Callable[[Any], float | None] | None = None,
    ) -> None:
        """Start nothing before the first task.

        Args:
            make_worker: called in each worker's process with its number of CPU threads.
            spec: number and size of the workers.
            timeout_s: time limit of a task, None for none; its worker is killed then.
        """
        self._pool = WorkerPool(make_worker, spec or PoolSpec())
        self._timeout_s = timeout_s

    @property
    def workers(self) -> int:
        """See `Executor.workers`; 0 before the first task."""
        return self._pool.size

    @property
    def status(self) -> WorkerStatus:
        """See `Executor.status`."""
        return self._pool.status

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """See `Executor.run`.

        Raises:
            InputError: if the workers do not fit on this machine.
            RunAborted: if workers die while starting, again and again.
        """
        scheduler: Scheduler[Item, Worker] = Scheduler(tasks, self._timeout_s)
        if scheduler.is_over():
            return
        self._pool.scale_up()
        for worker in self._pool.ready:
            scheduler.add(worker, worker.node)
        try:
            while not scheduler.is_over():
                while assigned := scheduler.assign(time.monotonic()):
                    worker, pending = assigned
                    self._pool.call(worker, pending.task, pending.attempt)
                for event in self._events(scheduler):
                    if isinstance(event, WorkerStarted):
                        _log.info("worker started", extra=_location(event.worker))
                        scheduler.add(event.worker, event.worker.node)
                    else:
                        yield from self._results(scheduler, event)
        finally:
            # If the caller leaves early, the next run need not wait for these tasks.
            self._pool.cancel_running()

    def _events(self, scheduler: Scheduler[Item, Worker]) -> Iterator[WorkerStarted | TaskFinished]:
        yield from self._pool.poll(until=scheduler.next_deadline())
        for worker, failure in scheduler.timed_out(time.monotonic()):
            # It may have finished while the driver handled another result.
            if worker.reply and not worker.reply.done():
                yield TaskFinished(worker, failure, None, worker_alive=False, metrics={})

    def _results(
        self, scheduler: Scheduler[Item, Worker], event: TaskFinished
    ) -> Iterator[TaskResult[Item]]:
        worker, failure, now = event.worker, event.failure, time.monotonic()
        running = scheduler.running_task(worker)
        if event.worker_alive or failure is None:
            over = scheduler.finished(worker, failure, now)
        else:
            _log.warning("worker lost: %s", failure.message, extra=_location(worker))
            over = scheduler.lost(worker, failure, now)
            self._pool.replace(worker)
        if over:
            yield TaskResult(
                over.task,
                failure,
                now - running.started if event.seconds is None else event.seconds,
                worker.host,
                running.pending.attempt.number,
                over.failures,
                event.metrics,
                worker.device,
            )
        elif failure:
            log_retry(running.pending.task, failure)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers, and Ray itself if it was started here."""
        self._pool.shutdown()


def _location(worker: Worker) -> dict[str, str]:
    return {"host": worker.host, "node": worker.node}
