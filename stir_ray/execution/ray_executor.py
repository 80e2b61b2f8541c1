"""Run tasks on a Ray cluster, or on this machine's cores or GPUs. Import this before ray."""

import logging
import os
import pickle
import queue
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from stir_ray.errors import InputError, RunAborted
from stir_ray.execution.executor import (
    Allocation,
    AttemptResult,
    Item,
    Node,
    PoolSpec,
    TaskFunction,
    TaskResult,
    WorkerStatus,
    log_retry,
    run_attempt,
)
from stir_ray.execution.retry import Failure, is_fatal_to_worker
from stir_ray.execution.scheduler import PendingTask, Scheduler

# Ray reads these on import or start. Under `uv run` Ray would start every worker through uv and
# upload the working directory, lakes included.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Without it Ray hides the GPUs from workers that request none, and warns that it does.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
if not os.environ.get("RAY_ADDRESS"):
    # A Ray of this machine alone does not listen on the network. Token mode is set explicitly,
    # since Ray would use a token anyway and warn about it.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")

# isort: split
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

_POLL_S = 1.0
_SCALE_UP_S = 5.0
"""Interval at which missing workers are started and the cluster is checked for new nodes."""
MAX_FAILED_STARTS, MIN_FAILING_S = 10, 10.0
"""The run is aborted when so many workers died while starting, over so long, with none ready."""
_log = logging.getLogger(__name__)


def connect(cores: int | None = None) -> None:
    """Connect to the cluster that `RAY_ADDRESS` names; without it start Ray on this machine.

    A Ray that is started here uses this many `cores`; all by default.
    """
    # Ray replaces the caller's handler of SIGTERM by its own.
    handler = signal.getsignal(signal.SIGTERM)
    # Without the address "local" Ray joins any other Ray that runs on this machine.
    local = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    options = {} if _on_cluster() else local
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)
    except SystemExit:
        # Raised by Ray's own handler of SIGTERM.
        raise KeyboardInterrupt from None
    except Exception as error:
        # Each layer of Ray raises its own type.
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if _on_cluster():
            raise InputError(
                f"the Ray cluster of RAY_ADDRESS={os.environ['RAY_ADDRESS']} cannot be reached "
                f"({reason}); give the head node's address as HOST:6379, or unset RAY_ADDRESS to "
                "run on this machine alone; if the cluster asks for a token, set "
                "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to that of the "
                "cluster"
            ) from error
        raise InputError(
            f"Ray cannot be started on this machine ({reason}); `--serial` runs without Ray, and "
            "RAY_ADDRESS names a cluster that is running"
        ) from error
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _on_cluster() -> bool:
    # Which may grow or replace lost nodes.
    return bool(os.environ.get("RAY_ADDRESS"))


def _nodes() -> list[Node]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


# Ray's own retries are off: `retry.py` alone decides.
@ray.remote(max_restarts=0, max_task_retries=0)
class _Actor:
    def __init__(self, make_worker: Callable[[int], TaskFunction], threads: int) -> None:
        if not ray.get_gpu_ids():
            # Libraries may see GPUs that Ray has not given to this worker.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._make_worker, self._threads = make_worker, threads
        self._function: TaskFunction | None = None

    def location(self) -> tuple[str, str]:
        return ray.get_runtime_context().get_node_id(), socket.gethostname()

    def run(self, call: bytes) -> AttemptResult:
        task, attempt = pickle.loads(call)  # noqa: S301 - from our own driver
        if self._function is None:
            try:
                self._function = self._make_worker(self._threads)
            except Exception as error:  # noqa: BLE001 - a worker that cannot start is a result
                return AttemptResult(Failure.from_exception(error), 0.0, {}, "")
        return run_attempt(self._function, task, attempt)


@dataclass(eq=False)
class _Worker:
    """A worker process on the cluster; names are empty until they are known."""

    actor: Any  # Ray's handle
    reply: Future[Any] | None = None  # to the call that it is busy with; None if it is idle
    pending: PendingTask[Any] | None = None  # the task of that call
    began: float = 0.0
    node: str = ""  # id of its node
    host: str = ""  # name of its machine
    device: str = ""  # name of its hardware

    @property
    def location(self) -> dict[str, str]:
        return {"host": self.host, "node": self.node}


class RayExecutor:
    """Runs tasks on long-lived workers that keep their model from task to task.

    The `Scheduler` decides which worker runs which task. Lost workers are replaced, and there are
    more of them as the cluster grows. The driver holds tasks and results, never tensors.
    """

    def __init__(
        self,
        make_worker: Callable[[int], TaskFunction],
        spec: PoolSpec | None = None,
        timeout_s: Callable[[Any], float | None] | None = None,
    ) -> None:
        """Start nothing before the first task.

        `make_worker` is called in each worker's process with its number of CPU threads. A worker
        is killed once its task exceeds its `timeout_s`; None for no limit.
        """
        self._make_worker, self._spec, self._timeout_s = make_worker, spec or PoolSpec(), timeout_s
        self._allocation: Allocation | None = None
        self._started_ray = False
        self._ready: list[_Worker] = []
        self._starting: list[_Worker] = []
        self._replies: queue.SimpleQueue[tuple[_Worker, Future[Any]]] = queue.SimpleQueue()
        self._failed_starts = 0
        self._failing_since = self._next_scale_up = 0.0

    @property
    def workers(self) -> int:
        """The number of workers that are ready or wanted; 0 before the first task."""
        return self._allocation.workers if self._allocation else 0

    @property
    def status(self) -> WorkerStatus:
        ready = list(self._ready)
        running = sum(worker.reply is not None for worker in ready)
        return WorkerStatus(len(ready), self.workers, running)

    def run(self, tasks: Iterable[Item]) -> Iterator[TaskResult[Item]]:
        """Run tasks as every executor does; raise RunAborted if workers die while starting."""
        scheduler: Scheduler[Item, _Worker] = Scheduler(tasks, self._timeout_s)
        if scheduler.is_over():
            return
        self._scale_up()
        for worker in self._ready:
            scheduler.add(worker, worker.node)
        try:
            while not scheduler.is_over():
                while assigned := scheduler.assign(time.monotonic()):
                    self._call(*assigned)
                for worker, result, worker_alive in self._ended(scheduler):
                    yield from self._finish(scheduler, worker, result, worker_alive)
        finally:
            # If the caller leaves early, the next run need not wait for these tasks.
            for worker in [worker for worker in self._ready if worker.reply]:
                self._kill(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers, and Ray itself if it was started here."""
        workers = [*self._ready, *self._starting]
        self._ready, self._starting, self._allocation = [], [], None
        try:
            for worker in workers:
                worker.reply = None
                ray.kill(worker.actor)
        finally:
            if self._started_ray:
                ray.shutdown()
                self._started_ray = False

    def _call(self, worker: _Worker, pending: PendingTask[Any]) -> None:
        worker.pending, worker.began = pending, time.monotonic()
        # Ray's pickler takes ten times as long, since it also takes what cannot be imported.
        call = pickle.dumps((pending.task, pending.attempt))
        self._await(worker, worker.actor.run.remote(call))

    def _await(self, worker: _Worker, reference: Any) -> None:
        reply = worker.reply = reference.future()
        reply.add_done_callback(lambda reply: self._replies.put((worker, reply)))

    def _ended(
        self, scheduler: Scheduler[Any, _Worker]
    ) -> Iterator[tuple[_Worker, AttemptResult, bool]]:
        # Calls that ended, and whether the worker is still alive; also takes up new workers. Waits
        # for the first, at most a second and not past what is due next.
        now = time.monotonic()
        if now >= self._next_scale_up:
            self._scale_up()
        wait_s = max(0.0, min(_POLL_S, scheduler.next_deadline() - now))
        with suppress(queue.Empty):
            while True:
                worker, reply = self._replies.get(timeout=wait_s)
                wait_s = 0.0
                if worker.reply is not reply:
                    continue  # The worker was killed meanwhile.
                worker.reply = None
                if worker not in self._starting:
                    yield worker, *_outcome(worker, reply)
                elif self._add(worker, reply):
                    scheduler.add(worker, worker.node)
        now = time.monotonic()
        for worker, failure in scheduler.timed_out(now):
            # It may have finished while the driver handled another result.
            if worker.reply and not worker.reply.done():
                yield worker, AttemptResult(failure, now - worker.began, {}, ""), False

    def _finish(
        self,
        scheduler: Scheduler[Item, _Worker],
        worker: _Worker,
        result: AttemptResult,
        worker_alive: bool,
    ) -> Iterator[TaskResult[Item]]:
        failure, seconds, metrics, _ = result
        pending: Any = worker.pending
        over = scheduler.finished(worker, failure, time.monotonic(), worker_alive=worker_alive)
        if failure and not worker_alive:
            _log.warning("worker lost: %s", failure.message, extra=worker.location)
            self._kill(worker)
            self._start(avoid_node=worker.node)
        if over:
            node, number = worker.host, pending.attempt.number
            yield TaskResult(
                over.task, failure, seconds, node, number, over.failures, metrics, worker.device
            )
        elif failure:
            log_retry(pending.task, failure)

    def _scale_up(self) -> None:
        # Starts the workers that are missing, and Ray if it does not run.
        if self._allocation is None:
            self._allocation = self._first_allocation()
        elif _on_cluster():
            spec = replace(self._spec, threads=self._allocation.threads)
            now = spec.allocate(_nodes(), on_cluster=True)
            # While all nodes with GPUs are away, there seem to be cores for many workers.
            if now.gpus == self._allocation.gpus and now.workers > self._allocation.workers:
                self._allocation = self._allocation._replace(workers=now.workers)
        while len(self._ready) + len(self._starting) < self._allocation.workers:
            self._start()
        self._next_scale_up = time.monotonic() + _SCALE_UP_S

    def _first_allocation(self) -> Allocation:
        if not ray.is_initialized():
            connect()
            self._started_ray = True
        nodes = _nodes()
        allocation = self._spec.allocate(nodes, on_cluster=_on_cluster())
        workers, threads, gpus = allocation
        capacity, size = allocation.capacity(nodes), f"{threads} CPU threads and {gpus:g} GPUs"
        if capacity >= workers:
            return allocation
        # Ray waits for room, on one machine for ever.
        if not _on_cluster():
            raise InputError(
                f"`execution`: {workers} workers with {size} each do not fit; "
                f"this machine has room for {capacity}"
            )
        text = "the cluster has room for %d of %d workers; the others wait for nodes with %s"
        _log.warning(text, capacity, workers, size)
        return allocation

    def _start(self, *, avoid_node: str = "") -> None:
        _, threads, gpus = self._allocation or Allocation(0, 1, 0)
        options: dict[str, Any] = {"num_cpus": threads, "num_gpus": gpus}
        if avoid_node:
            options["scheduling_strategy"] = NodeLabelSchedulingStrategy(
                hard={}, soft={"ray.io/node-id": NotIn(avoid_node)}
            )
        worker = _Worker(_Actor.options(**options).remote(self._make_worker, threads))
        self._starting.append(worker)
        self._await(worker, worker.actor.location.remote())

    def _add(self, worker: _Worker, reply: Future[Any]) -> bool:
        # Returns whether the worker is ready; else it died while it started.
        self._starting.remove(worker)
        try:
            worker.node, worker.host = reply.result()
        except RayError as error:
            ray.kill(worker.actor)
            self._count_failed_start(error)
            return False
        self._ready.append(worker)
        self._failed_starts = 0
        _log.info("worker started", extra=worker.location)
        return True

    def _count_failed_start(self, error: RayError) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since if self._failed_starts else now
        self._failed_starts += 1
        # One dying node takes many workers with it, so the number alone says little.
        is_long = now - self._failing_since >= MIN_FAILING_S
        if not self._ready and is_long and self._failed_starts >= MAX_FAILED_STARTS:
            # The report of an actor's death ends with its cause; other reports begin with it.
            line = -1 if isinstance(error, RayActorError) else 0
            reason = str(error).strip().splitlines()[line].strip()
            raise RunAborted(
                f"no worker starts: {self._failed_starts} died while starting, the last one of "
                f"`{reason}`; check that the nodes have the same code and packages as the driver"
            )
        self._next_scale_up = min(self._next_scale_up, now + 0.1 * self._failed_starts)

    def _kill(self, worker: _Worker) -> None:
        # It may be alive and unreachable, and would keep its share of the machine.
        ray.kill(worker.actor)
        worker.reply = None
        self._ready.remove(worker)
        if not self._ready:
            self._failed_starts = 0


def _outcome(worker: _Worker, reply: Future[Any]) -> tuple[AttemptResult, bool]:
    # The result of a call, and whether the worker can run another task.
    try:
        result: AttemptResult = reply.result()
    except RayTaskError as error:
        # Raised outside the task function: its arguments or result could not be pickled.
        return AttemptResult(Failure.from_exception(error), 0.0, {}, ""), True
    except RayError as error:
        # A dead or unreachable actor, a lost object, a node out of memory.
        seconds = time.monotonic() - worker.began
        return AttemptResult(Failure.from_worker_death(error), seconds, {}, ""), False
    worker.device = result.device or worker.device
    return result, not (result.failure and is_fatal_to_worker(result.failure))
