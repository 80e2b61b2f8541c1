"""The worker processes of Ray: start them, call them, wait for them, replace them."""

import logging
import os
import pickle
import queue
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from stir_ray.errors import InputError, RunAborted
from stir_ray.execution import ray_cluster
from stir_ray.execution.allocation import Allocation, PoolSpec
from stir_ray.execution.executor import (
    Attempt,
    AttemptResult,
    Metrics,
    TaskFunction,
    WorkerStatus,
    run_attempt,
)
from stir_ray.execution.retry import Failure, is_fatal_to_worker

# isort: split
# After `ray_cluster`, which sets what Ray reads when it is imported.
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

_POLL_S = 1.0
_SCALE_UP_S = 5.0
"""Interval at which missing workers are started and the cluster is checked for new nodes."""
_MAX_FAILED_STARTS, _MIN_FAILING_S = 10, 10.0
"""The run is aborted when so many workers died while starting, over so long, with none ready."""

_log = logging.getLogger(__name__)


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
class Worker:
    """A worker process on the cluster; names are empty until they are known.

    Attributes:
        actor: Ray's handle.
        reply: to the call that the worker is busy with; None if it is idle.
        node: id of its node.
        host: name of its machine.
        device: name of its hardware.
    """

    actor: Any
    reply: Future[Any] | None = None
    node: str = ""
    host: str = ""
    device: str = ""


class WorkerStarted(NamedTuple):
    """A worker is ready."""

    worker: Worker


class TaskFinished(NamedTuple):
    """The task of a worker ended, or the worker died, which leaves no `seconds`."""

    worker: Worker
    failure: Failure | None
    seconds: float | None
    worker_alive: bool
    metrics: Metrics


class WorkerPool:
    """The workers of one executor. It replaces lost ones, and grows with the cluster."""

    def __init__(self, make_worker: Callable[[int], TaskFunction], spec: PoolSpec) -> None:
        """Start nothing before `scale_up`."""
        self._make_worker, self._spec = make_worker, spec
        self._allocation: Allocation | None = None
        self._started_ray = False
        self.ready: list[Worker] = []
        self._starting: list[Worker] = []
        self._replies: queue.SimpleQueue[tuple[Worker, Future[Any]]] = queue.SimpleQueue()
        self._failed_starts = 0
        self._failing_since = self._next_scale_up = 0.0

    @property
    def size(self) -> int:
        """The number of workers that are ready or wanted."""
        return self._allocation.workers if self._allocation else 0

    @property
    def status(self) -> WorkerStatus:
        """See `Executor.status`."""
        ready = list(self.ready)
        running = sum(worker.reply is not None for worker in ready)
        return WorkerStatus(len(ready), self.size, running)

    def scale_up(self) -> None:
        """Start the workers that are missing, and Ray if it does not run.

        Raises:
            InputError: if the workers do not fit on this machine.
        """
        if self._allocation is None:
            self._allocation = self._first_allocation()
        elif ray_cluster.on_cluster():
            spec = replace(self._spec, threads=self._allocation.threads)
            now = spec.allocate(ray_cluster.resources(), on_cluster=True)
            # While all nodes with GPUs are away, there seem to be cores for many workers.
            if now.gpus == self._allocation.gpus and now.workers > self._allocation.workers:
                self._allocation = self._allocation._replace(workers=now.workers)
        while len(self.ready) + len(self._starting) < self._allocation.workers:
            self._start()
        self._next_scale_up = time.monotonic() + _SCALE_UP_S

    def call(self, worker: Worker, task: Any, attempt: Attempt) -> None:
        """Give a task to a worker that is ready and idle."""
        # Ray's pickler takes ten times as long, since it also takes what cannot be imported.
        self._await(worker, worker.actor.run.remote(pickle.dumps((task, attempt))))

    def poll(self, until: float) -> Iterator[WorkerStarted | TaskFinished]:
        """Yield what happened; wait for it, at most a second and not past a time.

        Raises:
            RunAborted: if workers die while starting, again and again.
        """
        now = time.monotonic()
        if now >= self._next_scale_up:
            self.scale_up()
        timeout_s = max(0.0, min(_POLL_S, until - now))
        while True:
            try:
                worker, reply = self._replies.get(timeout=timeout_s)
            except queue.Empty:
                return
            timeout_s = 0.0
            if worker.reply is not reply:
                continue  # The worker was killed meanwhile.
            worker.reply = None
            if worker in self._starting:
                yield from self._started(worker, reply)
            else:
                yield _finished(worker, reply)

    def replace(self, worker: Worker) -> None:
        """Kill a worker and start a new one, on another node if one has room."""
        self._kill(worker)
        self._start(avoid_node=worker.node)

    def cancel_running(self) -> None:
        """Kill the workers that are busy; `scale_up` replaces them."""
        for worker in [worker for worker in self.ready if worker.reply]:
            self._kill(worker)

    def shutdown(self) -> None:
        """End all workers, and Ray itself if it was started here."""
        workers = [*self.ready, *self._starting]
        self.ready, self._starting, self._allocation = [], [], None
        try:
            for worker in workers:
                worker.reply = None
                ray.kill(worker.actor)
        finally:
            if self._started_ray:
                ray.shutdown()
                self._started_ray = False

    def _first_allocation(self) -> Allocation:
        if not ray.is_initialized():
            ray_cluster.connect()
            self._started_ray = True
        nodes, on_cluster = ray_cluster.resources(), ray_cluster.on_cluster()
        allocation = self._spec.allocate(nodes, on_cluster=on_cluster)
        capacity = allocation.capacity(nodes)
        if capacity >= allocation.workers:
            return allocation
        # Ray waits for room, on one machine for ever.
        if not on_cluster:
            raise InputError(
                f"`execution`: {allocation.workers} workers with {allocation} each do not fit; "
                f"this machine has room for {capacity}"
            )
        text = "the cluster has room for %d of %d workers; the others wait for nodes with %s"
        _log.warning(text, capacity, allocation.workers, allocation)
        return allocation

    def _start(self, *, avoid_node: str = "") -> None:
        _, threads, gpus = self._allocation or Allocation(0, 1, 0)
        options: dict[str, Any] = {"num_cpus": threads, "num_gpus": gpus}
        if avoid_node:
            options["scheduling_strategy"] = NodeLabelSchedulingStrategy(
                hard={}, soft={"ray.io/node-id": NotIn(avoid_node)}
            )
        worker = Worker(_Actor.options(**options).remote(self._make_worker, threads))
        self._starting.append(worker)
        self._await(worker, worker.actor.location.remote())

    def _await(self, worker: Worker, reference: Any) -> None:
        reply = worker.reply = reference.future()
        reply.add_done_callback(lambda reply: self._replies.put((worker, reply)))

    def _kill(self, worker: Worker) -> None:
        # It may be alive and unreachable, and would keep its share of the machine.
        ray.kill(worker.actor)
        worker.reply = None
        self.ready.remove(worker)
        if not self.ready:
            self._failed_starts = 0

    def _started(self, worker: Worker, reply: Future[Any]) -> Iterator[WorkerStarted]:
        self._starting.remove(worker)
        try:
            worker.node, worker.host = reply.result()
        except RayError as error:
            ray.kill(worker.actor)
            self._start_failed(error)
            return
        self.ready.append(worker)
        self._failed_starts = 0
        yield WorkerStarted(worker)

    def _start_failed(self, error: RayError) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since if self._failed_starts else now
        self._failed_starts += 1
        # One dying node takes many workers with it, so the number alone says little.
        is_long = now - self._failing_since >= _MIN_FAILING_S
        if not self.ready and is_long and self._failed_starts >= _MAX_FAILED_STARTS:
            # The report of an actor's death ends with its cause; other reports begin with it.
            line = -1 if isinstance(error, RayActorError) else 0
            reason = str(error).strip().splitlines()[line].strip()
            raise RunAborted(
                f"no worker starts: {self._failed_starts} died while starting, the last one of "
                f"`{reason}`; check that the nodes have the same code and packages as the driver"
            )
        self._next_scale_up = min(self._next_scale_up, now + 0.1 * self._failed_starts)


def _finished(worker: Worker, reply: Future[Any]) -> TaskFinished:
    try:
        failure, seconds, metrics, device = reply.result()
    except RayTaskError as error:
        # Raised outside the task function: its arguments or result could not be pickled.
        return TaskFinished(worker, Failure.from_exception(error), 0.0, True, {})
    except RayError as error:
        # A dead or unreachable actor, a lost object, a node out of memory.
        return TaskFinished(worker, Failure.from_worker_death(error), None, False, {})
    worker.device = device or worker.device
    worker_alive = failure is None or not is_fatal_to_worker(failure)
    return TaskFinished(worker, failure, seconds, worker_alive, metrics)
