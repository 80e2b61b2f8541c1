"""Tasks for executors: importable by Ray's workers, and counted on disk."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stir_ray.errors import JobError, StorageUnavailable
from stir_ray.execution.executor import Attempt, Metrics


@dataclass(frozen=True)
class Chore:
    """A task: its kind, and a number to tell it from others."""

    number: int
    kind: str = "count"
    locality_key: None = None


@dataclass(frozen=True)
class CountingWorker:
    """Writes every execution to a line of a file, with the node and process that ran it."""

    ledger: Path
    threads: int
    device: str = "abacus"

    def __call__(self, chore: Chore, attempt: Attempt) -> Metrics | None:
        # Ray starts one raylet per node, also where many nodes are one machine.
        node = os.environ.get("RAY_RAYLET_PID", "0")
        words = (chore.number, attempt.number, attempt.out_of_memory, os.getpid(), node)
        with self.ledger.open("a") as file:
            print(*words, file=file)
        error, last_attempt = _ERRORS.get(chore.kind, (None, 0))
        if error and attempt.number <= last_attempt:
            raise error
        match chore.kind:
            case "measure":
                return {"tenfold": np.float64(chore.number * 10)}
            case "slow":
                time.sleep(0.2)
            case "hang" | "sleep":
                time.sleep(600)
            case "hang once" if attempt.number == 1:
                time.sleep(600)
            case "die once" if attempt.number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            case "name gpus":
                raise ValueError(f"visible: {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
        return None


_ERRORS = {
    "fail": (ValueError("the chore cannot be done"), 99),
    "user error": (JobError("fix the job"), 99),
    "storage twice": (ConnectionError("storage is away"), 2),
    "storage is away": (StorageUnavailable("storage is away"), 99),
    "memory twice": (MemoryError("too much at once"), 2),
    "poison once": (RuntimeError("CUDA error: an illegal memory access was encountered"), 1),
}
"""What chores raise, and until which attempt."""


class WorkerMaker:
    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    def __call__(self, threads: int) -> CountingWorker:
        return CountingWorker(self._ledger, threads)


class Unloadable(WorkerMaker):
    """Cannot be unpickled, as if the machines had other code."""

    def __init__(self) -> None:
        super().__init__(Path())

    def __reduce__(self) -> tuple:
        return _no_module, ()


def _no_module() -> None:
    raise ModuleNotFoundError("no module for this worker")


@dataclass(frozen=True)
class Execution:
    """One line of the ledger."""

    number: int
    attempt: Attempt
    process: int
    node: int


def ledger_of(path: Path) -> list[Execution]:
    """Return every execution, in the order in which they began."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [[int(word) for word in line.split()] for line in lines]
    return [
        Execution(number, Attempt(attempt, out_of_memory), process, node)
        for number, attempt, out_of_memory, process, node in rows
    ]


def executions(path: Path) -> Counter[int]:
    """Return how often each chore was begun."""
    return Counter(execution.number for execution in ledger_of(path))


def processes(path: Path) -> set[int]:
    """Return the processes that did chores."""
    return {execution.process for execution in ledger_of(path)}
