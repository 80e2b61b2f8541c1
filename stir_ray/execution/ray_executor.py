"""Tasks on a Ray cluster, or on this machine's cores or GPUs. The one module that knows Ray."""

import heapq
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self

# Ray reads these on import or start. Under `uv run` Ray would start every worker through uv and
# upload the working directory, lakes and all.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Without it Ray hides the GPUs from workers that ask for none of them, and warns that it does.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
if not os.environ.get("RAY_ADDRESS"):
    # A Ray of this machine alone: nothing of it listens on the network, and its token is said for
    # explicitly, since Ray would use one anyway and warn about it.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray.exceptions import RayError, RayTaskError

from stir_ray.errors import InputError
from stir_ray.execution.executor import Attempt, Item, Outcome, Work, once
from stir_ray.execution.policy import Failure, describe, retry_delay, worker_died

_AHEAD = 2
"""Tasks given to a worker at once: the next one is there when it ends the last."""
_MEMORY_PER_WORKER = 2 * 2**30
"""Bytes of host memory that a worker on a CPU needs for torch, a small model and its images."""
_POLL_S = 1.0


@dataclass(frozen=True)
class Pool:
    """How many workers, and what each gets.

    Attributes:
        workers: processes; None for one per GPU share, or else one per core.
        threads: CPU threads of each; None for the cores divided among the workers.
        gpus: GPUs of each, where the cluster has GPUs.
    """

    workers: int | None = None
    threads: int | None = None
    gpus: float = 1.0

    def shares(self, resources: Mapping[str, float]) -> tuple[int, int, float]:
        """Workers, CPU threads of each, GPUs of each."""
        cores, gpus = max(1, int(resources.get("CPU", 1))), resources.get("GPU", 0.0)
        on_gpu = gpus > 0 and self.gpus > 0
        if self.workers:
            workers = self.workers
        elif on_gpu:
            workers = max(1, int(gpus / self.gpus))
        else:
            memory = resources.get("memory", cores * _MEMORY_PER_WORKER)
            fitting = int(memory // _MEMORY_PER_WORKER)
            workers = max(1, min(cores // (self.threads or 1), fitting))
        threads = self.threads or max(1, cores // workers)
        return workers, threads, self.gpus if on_gpu else 0.0


class _Actor:
    """A worker process. It keeps what `make_worker` made from task to task."""

    def __init__(self, make_worker: Callable[[int], Work], threads: int) -> None:
        self._make_worker, self._threads = make_worker, threads
        self._work: Work | None = None

    def run(self, task: Any, attempt: Attempt) -> tuple[Failure | None, float, str]:
        if self._work is None:
            try:
                self._work = self._make_worker(self._threads)
            except Exception as error:  # noqa: BLE001 - a worker that cannot start is an outcome
                return describe(error), 0.0, ""
        return once(self._work, task, attempt)


@dataclass(eq=False)
class _Worker:
    """A handle on an actor and how many tasks it has."""

    handle: Any
    load: int = 0


@dataclass(order=True)
class _Waiting(Generic[Item]):
    """A task that waits for another attempt."""

    due: float
    order: int
    failures: tuple[Failure, ...] = field(compare=False)
    task: Item = field(compare=False)


@dataclass(frozen=True)
class _Running(Generic[Item]):
    """A task that a worker has."""

    task: Item
    failures: tuple[Failure, ...]
    worker: _Worker


class RayExecutor:
    """Long-lived actors that keep their model, fed from a bounded window.

    The driver holds tasks and outcomes, never tensors. Actors are never restarted by Ray: this
    loop replaces them, so that attempts are counted and classified in one place.
    """

    def __init__(self, make_worker: Callable[[int], Work], pool: Pool | None = None) -> None:
        """Nothing starts before the first task.

        Args:
            make_worker: called in each worker's process with its number of CPU threads.
            pool: workers and their share of the machine.
        """
        self._make_worker = make_worker
        self._pool = pool or Pool()
        self._workers: list[_Worker] = []
        self._started_ray = False

    @property
    def workers(self) -> int:
        """See `Executor.workers`; 0 before the first task."""
        return len(self._workers)

    def run(self, tasks: Iterable[Item]) -> Iterator[Outcome[Item]]:
        """See `Executor.run`."""
        fresh = iter(tasks)
        first = next(fresh, None)
        if first is None:
            return
        self._start()
        fresh = itertools.chain([first], fresh)
        waiting: list[_Waiting[Item]] = []
        running: dict[ray.ObjectRef, _Running[Item]] = {}
        order = itertools.count()
        while True:
            self._fill(fresh, waiting, running)
            if not running and not waiting:
                return
            for ref in self._ended(running, waiting):
                ended = running.pop(ref)
                ended.worker.load -= 1
                failure, seconds, node = self._result(ref, ended.worker)
                failures = ended.failures + ((failure,) if failure else ())
                delay = retry_delay(failures) if failure else None
                if delay is None:
                    number = Attempt.after(ended.failures).number
                    yield Outcome(ended.task, failure, seconds, node, number, failures)
                else:
                    due = time.monotonic() + delay
                    heapq.heappush(waiting, _Waiting(due, next(order), failures, ended.task))

    def _fill(
        self,
        fresh: Iterator[Item],
        waiting: list[_Waiting[Item]],
        running: dict[ray.ObjectRef, _Running[Item]],
    ) -> None:
        """Give tasks to the least loaded workers until the window is full."""
        while (worker := min(self._workers, key=lambda one: one.load)).load < _AHEAD:
            if waiting and waiting[0].due <= time.monotonic():
                again = heapq.heappop(waiting)
                task, failures = again.task, again.failures
            else:
                try:
                    task, failures = next(fresh), ()
                except StopIteration:
                    return
            worker.load += 1
            call = worker.handle.run.remote(task, Attempt.after(failures))
            running[call] = _Running(task, failures, worker)

    def _ended(
        self,
        running: dict[ray.ObjectRef, _Running[Item]],
        waiting: list[_Waiting[Item]],
    ) -> list[ray.ObjectRef]:
        """Calls that ended; waits a little if none has."""
        if not running:
            time.sleep(max(0.0, waiting[0].due - time.monotonic()))
            return []
        done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_S, fetch_local=False)
        if done and len(running) > 1:
            done, _ = ray.wait(
                list(running), num_returns=len(running), timeout=0, fetch_local=False
            )
        return done

    def _result(self, ref: ray.ObjectRef, worker: _Worker) -> tuple[Failure | None, float, str]:
        try:
            return ray.get(ref)
        except RayTaskError as error:
            # Raised outside the task's own code: its arguments or result could not be pickled.
            return describe(error), 0.0, ""
        except RayError as error:
            # A dead or unreachable actor, a lost object, a node out of memory: all the same to us.
            self._replace(worker)
            return worker_died(error), 0.0, ""

    def _replace(self, worker: _Worker) -> None:
        """A new worker in place of a dead one, once for all the calls that died with it."""
        if worker in self._workers:
            # Perhaps it only cannot be reached; alive, it would keep its share of the machine.
            ray.kill(worker.handle)
            self._workers[self._workers.index(worker)] = _Worker(self._actor())

    def _start(self) -> None:
        if self._workers:
            return
        if not ray.is_initialized():
            connect()
            self._started_ray = True
        self._count, self._threads, self._gpus = self._pool.shares(ray.cluster_resources())
        room = _fitting(self._threads, self._gpus)
        if room < self._count:
            # Without room an actor would wait for ever, and its tasks with it.
            raise InputError(
                f"`execution`: {self._count} workers with {self._threads} CPU threads and "
                f"{self._gpus:g} GPUs each do not fit; the cluster has room for {room}"
            )
        self._workers = [_Worker(self._actor()) for _ in range(self._count)]

    def _actor(self) -> Any:
        options: Any = ray.remote(_Actor)
        return options.options(
            num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
        ).remote(self._make_worker, self._threads)

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
        for worker in self._workers:
            ray.kill(worker.handle)
        self._workers = []
        if self._started_ray:
            ray.shutdown()
            self._started_ray = False


def _fitting(threads: int, gpus: float) -> int:
    """Workers of this share for which the nodes of the cluster have room."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def on_node(resources: Mapping[str, float]) -> int:
        by_cores = resources.get("CPU", 0.0) // threads
        return int(min(by_cores, resources.get("GPU", 0.0) // gpus) if gpus else by_cores)

    return sum(on_node(resources) for resources in alive)


def connect(cores: int | None = None) -> None:
    """To the cluster that `RAY_ADDRESS` names, as in a submitted job; else start one here.

    Args:
        cores: of this machine that a Ray started here may use; all of them if not given.
    """
    # Ray puts its own handler of SIGTERM in place of the caller's.
    handler = signal.getsignal(signal.SIGTERM)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    else:
        ray.init(
            num_cpus=cores,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)
