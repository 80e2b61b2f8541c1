"""Work for executors to do: importable by Ray's workers, and counted on disk."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from stir_ray.errors import JobError, LakeAway
from stir_ray.execution.executor import Attempt


@dataclass(frozen=True)
class Chore:
    """A task: what it does, and a number to tell it from others."""

    number: int
    kind: str = "count"


@dataclass(frozen=True)
class CountingWorker:
    """Notes every execution as a line of a file, with the process that did it."""

    ledger: Path
    threads: int

    def __call__(self, chore: Chore, attempt: Attempt) -> None:
        """Do the chore."""
        with self.ledger.open("a") as file:
            file.write(f"{chore.number} {os.getpid()} {attempt.number} {attempt.out_of_memory}\n")
        match chore.kind:
            case "fail":
                raise ValueError(f"chore {chore.number} cannot be done")
            case "mend":
                raise JobError("mend the job")
            case "storage twice" if attempt.number <= 2:
                raise ConnectionError("storage is away")
            case "storage is away":
                raise LakeAway("storage is away")
            case "large" if attempt.out_of_memory < 2:
                raise MemoryError("too much at once")
            case "die once" if attempt.number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            case "slow":
                time.sleep(0.2)


class WorkerMaker:
    """Makes counting workers in whatever process it is called."""

    def __init__(self, ledger: Path) -> None:
        """All workers write to one ledger."""
        self._ledger = ledger

    def __call__(self, threads: int) -> CountingWorker:
        """A worker with this number of CPU threads."""
        return CountingWorker(self._ledger, threads)


def executions(ledger: Path) -> Counter[int]:
    """How often each chore was begun."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return Counter(int(line.split()[0]) for line in lines)


def told(ledger: Path) -> list[tuple[int, Attempt]]:
    """Every chore begun and what it was told, in the order of beginning."""
    lines = [[int(word) for word in line.split()] for line in ledger.read_text().splitlines()]
    return [(number, Attempt(*attempt)) for number, _, *attempt in lines]


def processes(ledger: Path) -> set[int]:
    """The processes that did chores."""
    return {int(line.split()[1]) for line in ledger.read_text().splitlines()}
