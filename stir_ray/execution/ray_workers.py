"""Worker processes of Ray: started, called, waited for, replaced."""

import logging
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from stir_ray.errors import InputError, RunAborted
from stir_ray.execution import ray_cluster
from stir_ray.execution.executor import (
    Attempt,
    AttemptResult,
    Metrics,
    TaskFunction,
    WorkerStatus,
    once,
)
from stir_ray.execution.retry import Failure, is_fatal_to_worker
from stir_ray.execution.worker_pool import Allocation, Pool

# isort: split
# After `ray_cluster`, which sets what Ray reads when it is imported.
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

_POLL_S = 1.0
_LOOK_S = 5.0
"""Between two looks at whether the cluster has grown."""
_FAILED_STARTS = 10
"""Workers that die on their way up, while none is up, before the run gives up..."""
_FAILING_S = 10.0
"""...and how long they must have done so: one dying node takes many with it."""
_ALONE_S = 60.0
"""Without any worker, before the person is told what is waited for."""

_log = logging.getLogger(__name__)


@ray.remote(max_restarts=0, max_task_retries=0)
class _Actor:
    """A worker process. It keeps what `make_worker` made from task to task."""

    def __init__(self, make_worker: Callable[[int], TaskFunction], threads: int) -> None:
        if not ray.get_gpu_ids():
            # Who is given none takes none: libraries may see GPUs that Ray has not handed out.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self._make_worker, self._threads = make_worker, threads
        self._work: TaskFunction | None = None
        self._is_spoiled = False

    def place(self) -> tuple[str, str]:
        """Its node and its machine. That it answers means that it is up."""
        return ray.get_runtime_context().get_node_id(), socket.gethostname()

    def run(self, call: bytes) -> AttemptResult:
        task, attempt = pickle.loads(call)  # noqa: S301 - of our own driver
        if self._is_spoiled:
            # The task behind the one that spoiled this process. The driver takes it back unread.
            raise RuntimeError("not begun: this worker is about to be replaced")
        if self._work is None:
            try:
                self._work = self._make_worker(self._threads)
            except Exception as error:  # noqa: BLE001 - a worker that cannot start is an outcome
                return AttemptResult(Failure.from_exception(error), 0.0, {}, "")
        tried = once(self._work, task, attempt)
        self._is_spoiled = tried.failure is not None and is_fatal_to_worker(tried.failure)
        return tried


@dataclass(eq=False)
class Worker:
    """A process somewhere on the cluster.

    Attributes:
        actor: Ray's handle on it.
        node: id of its node; empty until it is up.
        host: name of its machine; empty until it is up.
        device: that it computes on; empty until it ended a task.
        calls: what it was given and has not ended, in that order.
    """

    actor: Any
    node: str = ""
    host: str = ""
    device: str = ""
    calls: deque[ray.ObjectRef] = field(default_factory=deque)


@dataclass(frozen=True)
class WorkerStarted:
    """A worker is up."""

    worker: Worker


@dataclass(frozen=True)
class Ended:
    """The first task of a worker ended, or the worker with it.

    Attributes:
        worker: that had the task.
        failure: None if it succeeded.
        seconds: that the task took; None if nobody is left to say.
        is_fit: whether the worker can go on.
        metrics: of the task.
    """

    worker: Worker
    failure: Failure | None
    seconds: float | None
    worker_alive: bool
    metrics: Metrics = field(default_factory=dict)


class WorkerPool:
    """The workers of a pool. Ray never restarts one: they are replaced here.

    So there is one place where attempts are counted and classified, and it is not in here either.
    """

    def __init__(self, make_worker: Callable[[int], TaskFunction], pool: Pool) -> None:
        """Nothing starts before `assemble`."""
        self._make_worker, self._pool = make_worker, pool
        self._shares: Allocation | None = None
        self._started_ray = False
        self.up: list[Worker] = []
        self._starting: dict[ray.ObjectRef, Worker] = {}
        self._starts_due: list[float] = []
        # A worker ends its tasks in the order in which it got them: only its first can be next.
        self._first_calls: dict[ray.ObjectRef, Worker] = {}
        self._failed_starts = 0
        self._alone_since = self._look_at = 0.0
        self._has_warned = False
        self._hosts: dict[str, str] = {}

    @property
    def size(self) -> int:
        """Workers that are up or on their way."""
        return len(self.up) + len(self._starting) + len(self._starts_due)

    @property
    def status(self) -> WorkerStatus:
        """See `Executor.status`."""
        return WorkerStatus(len(self.up), self.size, len(self._first_calls))

    def assemble(self) -> None:
        """Start the workers that the pool has and the crew has not, and Ray if need be.

        Raises:
            InputError: if they do not fit on this machine.
        """
        if self._shares is None:
            self._shares = self._first_shares()
            self._failed_starts, self._alone_since = 0, time.monotonic()
        elif ray_cluster.on_cluster():
            self._shares = self._grown(self._shares)
        while self.size < self._shares.workers:
            self._start(self._shares)
        self._look_at = time.monotonic() + _LOOK_S
        self._tell_nodes()

    def call(self, worker: Worker, task: Any, attempt: Attempt) -> None:
        """Give a task to a worker that is up."""
        # Ray would pickle them with a pickler that takes ten times as long, since it also knows
        # classes that cannot be imported.
        call = worker.actor.run.remote(pickle.dumps((task, attempt)))
        if not worker.calls:
            self._first_calls[call] = worker
        worker.calls.append(call)

    def news(self, until: float) -> Iterator[WorkerStarted | Ended]:
        """What happened; waits for something to happen, but not for long, nor past a time.

        Raises:
            RunAborted: if workers die again and again before they are up.
        """
        now = time.monotonic()
        self._tend(now)
        timeout = max(0.0, min(_POLL_S, until - now))
        refs = [*self._first_calls, *self._starting]
        if not refs:
            time.sleep(timeout)
            return
        done, _ = ray.wait(refs, num_returns=1, timeout=timeout, fetch_local=False)
        if done and len(refs) > 1:
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in done:
            if ref in self._starting:
                yield from self._came(ref)
            else:
                yield self._ended(ref)

    def has_ended(self, worker: Worker) -> bool:
        """Whether there is news of the first task of a worker."""
        done, _ = ray.wait([worker.calls[0]], timeout=0, fetch_local=False)
        return bool(done)

    def replace(self, worker: Worker) -> None:
        """Put a new worker in place of one, on another node if one has room."""
        self._let_go(worker)
        if self._shares:
            self._start(self._shares, elsewhere_than=worker.node)

    def stop_work(self) -> None:
        """Let those workers go that have something to do; `assemble` replaces them."""
        for worker in [worker for worker in self.up if worker.calls]:
            self._let_go(worker)

    def dismiss(self) -> None:
        """End all workers, and Ray itself if it was started here."""
        everybody = [*self.up, *self._starting.values()]
        self.up, self._starting, self._starts_due, self._first_calls = [], {}, [], {}
        self._shares = None
        try:
            for worker in everybody:
                ray.kill(worker.actor)
        finally:
            if self._started_ray:
                ray.shutdown()
                self._started_ray = False

    def _first_shares(self) -> Allocation:
        if not ray.is_initialized():
            ray_cluster.connect()
            self._started_ray = True
        nodes = ray_cluster.nodes()
        shares = self._pool.shares(nodes, grows=ray_cluster.on_cluster())
        if not ray_cluster.on_cluster() and shares.room(nodes) < shares.workers:
            # Without room a worker would be waited for for ever.
            raise InputError(
                f"`execution`: {shares.workers} workers with {shares} each do not fit; "
                f"this machine has room for {shares.room(nodes)}"
            )
        return shares

    def _grown(self, shares: Allocation) -> Allocation:
        """The shares with as many workers as there is room for now, never fewer."""
        pool = replace(self._pool, threads=shares.threads)
        now = pool.shares(ray_cluster.nodes(), grows=True)
        # While all nodes with GPUs are away, there seem to be cores for many.
        workers = now.workers if now.gpus == shares.gpus else 0
        return shares._replace(workers=max(shares.workers, workers))

    def _start(self, shares: Allocation, *, elsewhere_than: str = "") -> None:
        options: dict[str, Any] = {"num_cpus": shares.threads, "num_gpus": shares.gpus}
        if elsewhere_than:
            other = NotIn(elsewhere_than)
            options["scheduling_strategy"] = NodeLabelSchedulingStrategy(
                hard={}, soft={"ray.io/node-id": other}
            )
        actor = _Actor.options(**options).remote(self._make_worker, shares.threads)
        self._starting[actor.place.remote()] = Worker(actor)

    def _let_go(self, worker: Worker) -> None:
        # Perhaps it only cannot be reached; alive, it would keep its share of the machine.
        ray.kill(worker.actor)
        self.up.remove(worker)
        if worker.calls:
            del self._first_calls[worker.calls[0]]
        if not self.up:
            self._failed_starts, self._alone_since = 0, time.monotonic()

    def _tend(self, now: float) -> None:
        """Start what is due, see whether there is room for more, and do not wait in silence."""
        due = [at for at in self._starts_due if at <= now]
        self._starts_due = [at for at in self._starts_due if at > now]
        if due or now >= self._look_at:
            self.assemble()
        if not self.up and now - self._alone_since >= _ALONE_S and not self._has_warned:
            _log.warning("no worker is up; a node with room for %s is waited for", self._shares)
            self._has_warned = True

    def _tell_nodes(self) -> None:
        before, self._hosts = self._hosts, ray_cluster.node_hosts()
        for node in self._hosts.keys() - before.keys():
            _log.info("node came", extra={"host": self._hosts[node], "node": node})
        for node in before.keys() - self._hosts.keys():
            _log.warning("node lost", extra={"host": before[node], "node": node})

    def _came(self, ref: ray.ObjectRef) -> Iterator[WorkerStarted]:
        worker = self._starting.pop(ref)
        try:
            worker.node, worker.host = ray.get(ref)
        except RayError as error:
            ray.kill(worker.actor)
            self._start_failed(error)
            return
        self.up.append(worker)
        self._failed_starts, self._has_warned = 0, False
        yield WorkerStarted(worker)

    def _start_failed(self, error: RayError) -> None:
        now = time.monotonic()
        self._failed_starts += 1
        long = now - self._alone_since >= _FAILING_S
        if not self.up and long and self._failed_starts >= _FAILED_STARTS:
            # An actor's death ends with its cause; what ends a process from outside begins with it.
            place = -1 if isinstance(error, RayActorError) else 0
            reason = str(error).strip().splitlines()[place].strip()
            raise RunAborted(
                f"no worker comes up: {self._failed_starts} died while starting, the last one of "
                f"`{reason}`; see that the nodes have the same code and packages as the driver"
            )
        self._starts_due.append(now + min(0.1 * self._failed_starts, 30.0))

    def _ended(self, ref: ray.ObjectRef) -> Ended:
        worker = self._first_calls.pop(ref)
        worker.calls.popleft()
        if worker.calls:
            self._first_calls[worker.calls[0]] = worker
        try:
            failure, seconds, metrics, device = ray.get(ref)
        except RayTaskError as error:
            # Raised outside the task's own code: its arguments or result could not be pickled.
            failure, seconds, metrics, device = AttemptResult(
                Failure.from_exception(error), 0.0, {}, ""
            )
        except RayError as error:
            # A dead or unreachable actor, a lost object, a node out of memory: all the same to us.
            return Ended(worker, Failure.from_worker_death(error), None, worker_alive=False)
        worker_alive = failure is None or not is_fatal_to_worker(failure)
        worker.device = device or worker.device
        return Ended(worker, failure, seconds, worker_alive, metrics)
