"""Work for executors to do: importable by Ray's workers, and counted on disk."""

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
    """A task: what it does, and a number to tell it from others."""

    number: int
    kind: str = "count"


@dataclass(frozen=True)
class CountingWorker:
    """Notes every execution as a line of a file, with the node and process that did it."""

    ledger: Path
    threads: int
    device: str = "abacus"

    def __call__(self, chore: Chore, attempt: Attempt) -> Metrics | None:
        """Do the chore."""
        # Ray starts one raylet per node, also where many nodes are one machine.
        node = os.environ.get("RAY_RAYLET_PID", "0")
        words = (chore.number, attempt.number, attempt.out_of_memory, os.getpid(), node)
        with self.ledger.open("a") as file:
            print(*words, file=file)
        if chore.kind == "lag" and executions(self.ledger)[chore.number] == 1:
            time.sleep(600)
        _take_time(chore, attempt)
        _fail(chore, attempt)
        return {"tenfold": np.float64(chore.number * 10)} if chore.kind == "measure" else None


def _take_time(chore: Chore, attempt: Attempt) -> None:
    match chore.kind:
        case "slow":
            time.sleep(0.2)
        case "die once":
            # What was said of the chore before must be out, or it dies with the process.
            time.sleep(0.5)
        case "second":
            time.sleep(1)
        case "hang":
            time.sleep(600)
        case "hang once" if attempt.number == 1:
            time.sleep(600)


def _fail(chore: Chore, attempt: Attempt) -> None:
    match chore.kind:
        case "fail":
            raise ValueError(f"chore {chore.number} cannot be done")
        case "name gpus":
            raise ValueError(f"visible: {os.environ.get('CUDA_VISIBLE_DEVICES')!r}")
        case "mend":
            raise JobError("mend the job")
        case "storage twice" if attempt.number <= 2:
            raise ConnectionError("storage is away")
        case "storage is away":
            raise StorageUnavailable("storage is away")
        case "large" if attempt.out_of_memory < 2:
            raise MemoryError("too much at once")
        case "poison once" if attempt.number == 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case "die once" if attempt.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class WorkerMaker:
    """Makes counting workers in whatever process it is called."""

    def __init__(self, ledger: Path) -> None:
        """All workers write to one ledger."""
        self._ledger = ledger

    def __call__(self, threads: int) -> CountingWorker:
        """A worker with this number of CPU threads."""
        return CountingWorker(self._ledger, threads)


class Unloadable(WorkerMaker):
    """Cannot be read where it arrives, as if the code there were another."""

    def __init__(self) -> None:
        """Needs no ledger."""
        super().__init__(Path())

    def __reduce__(self) -> tuple:
        """Read back by a function that fails."""
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
    """Every execution, in the order in which they began."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [[int(word) for word in line.split()] for line in lines]
    return [
        Execution(number, Attempt(attempt, out_of_memory), process, node)
        for number, attempt, out_of_memory, process, node in rows
    ]


def executions(path: Path) -> Counter[int]:
    """How often each chore was begun."""
    return Counter(one.number for one in ledger_of(path))


def processes(path: Path) -> set[int]:
    """The processes that did chores."""
    return {one.process for one in ledger_of(path)}
