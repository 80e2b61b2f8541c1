"""Runs of the small job in processes of their own, what they executed, and how they ended."""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stir_ray.catalog.verify import Finding, verify
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.lake.schemas import RESULTS
from tests.faults import driver
from tests.small_job import small_job

_PATIENCE_S = 600.0
# A server that has imported everything, and forks: a run starts at once, and is a process all the
# same, with its own memory, threads and end.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([driver.__name__])


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, or minus the signal; and what it printed."""

    code: int
    said: str

    @property
    def last_line(self) -> str:
        """What a person reads last."""
        return self.said.strip().splitlines()[-1]


class Run:
    """A `stir-ray` at work."""

    def __init__(self, command: driver.Command) -> None:
        """Start it."""
        self._command = command
        self._process = _PROCESSES.Process(target=driver.main, args=(command,))
        self._process.start()

    def send(self, sent: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._process.pid or 0, sent)

    def until(self, is_so: Callable[[], bool], *, may_end: bool = False) -> None:
        """Wait until something is so, while it is at work; it must not end before."""
        end = time.monotonic() + _PATIENCE_S
        while self.is_alive() and not is_so():
            assert time.monotonic() < end, "nothing happens"
            time.sleep(0.005)
        assert may_end or self.is_alive(), f"it ended first: {self._said()}"

    def is_alive(self) -> bool:
        """Whether it is still at work."""
        return self._process.is_alive()

    def ended(self) -> Ended:
        """Wait for its end."""
        self._process.join(_PATIENCE_S)
        assert self._process.exitcode is not None, f"it does not end: {self._said()}"
        return Ended(self._process.exitcode, self._said())

    def close(self) -> None:
        """Let nothing of it stay."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _said(self) -> str:
        return self._command.said.read_text() if self._command.said.exists() else ""


@dataclass(frozen=True)
class Execution:
    """A task that a process began, and whether it ended it."""

    task: str
    pid: int
    ended: bool


@dataclass(frozen=True)
class Scene:
    """A lake, the small job on it, and the ledger of all that was executed for it."""

    folder: Path
    lake: str

    def open(self) -> Lake:
        """The lake."""
        return open_lake(self.lake)

    def job(self) -> Job:
        """The job as its drivers read it."""
        return small_job(self.lake)

    @contextmanager
    def started(
        self,
        *options: str,
        verb: str = "run",
        job: Job | None = None,
        die_before_put: int = 0,
        held_at: str = "",
        nodes: int = 0,
    ) -> Iterator[Run]:
        """A run at work; killed at the latest when the context ends."""
        number = len(list(self.folder.glob("said-*")))
        job_file = self.folder / f"job-{number}.yaml"
        job_file.write_text((job or self.job()).model_dump_json(exclude_none=True))
        said = self.folder / f"said-{number}"
        said.touch()
        run = Run(
            driver.Command(
                arguments=(verb, str(job_file), *options),
                ledger=self.folder / "ledger",
                said=said,
                environment=dict(os.environ),
                die_before_put=die_before_put,
                held_at=held_at,
                nodes=nodes,
            )
        )
        try:
            yield run
        finally:
            run.close()

    def run(
        self, *options: str, verb: str = "run", job: Job | None = None, die_before_put: int = 0
    ) -> Ended:
        """A command from its beginning to its end."""
        with self.started(*options, verb=verb, job=job, die_before_put=die_before_put) as run:
            return run.ended()

    def executions(self) -> list[Execution]:
        """Everything executed so far, in the order in which it began."""
        ledger = self.folder / "ledger"
        noted = (
            [json.loads(line) for line in ledger.read_text().splitlines()]
            if ledger.exists()
            else []
        )
        ends = Counter((note["task"], note["pid"]) for note in noted if note["event"] == "end")
        executions = []
        for note in noted:
            if note["event"] == "begin":
                which = note["task"], note["pid"]
                executions.append(Execution(*which, ended=ends[which] > 0))
                ends[which] -= 1
        return executions

    def times(self) -> Counter[str]:
        """How often each task was begun."""
        return Counter(execution.task for execution in self.executions())

    def cut_short(self) -> Counter[str]:
        """How often each task was begun and not ended."""
        return Counter(execution.task for execution in self.executions() if not execution.ended)

    def findings(self) -> list[Finding]:
        """What is wrong with the lake, which must hold something."""
        return [seen for seen in verify(self.open()) if isinstance(seen, Finding)]

    def is_as_undisturbed(self, undisturbed: Path) -> bool:
        """Whether the results are bitwise those of a lake that nothing befell."""
        key = result_key("small", RESULTS.name)
        expected = open_lake(str(undisturbed)).read_object(RESULTS, key)
        return self.open().read_object(RESULTS, key).equals(expected)
