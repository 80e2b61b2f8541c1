"""Run the small job in processes of its own; record what they executed and how they ended."""

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
from typing import Any

from stir_ray.catalog.verify import Finding, verify
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.lake.schemas import RESULTS
from tests.faults import driver
from tests.small_job import small_job

TASKS = {"inspect": 2, "train": 3, "invert": 24, "compare": 6}
"""Of the small job, by stage."""
_TIMEOUT_S = 600.0
# A server that has imported everything forks each run, which so starts at once.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([driver.__name__])


@dataclass(frozen=True)
class Exit:
    """The end of a run: its exit code, or minus the signal; and what it printed."""

    code: int
    output: str

    @property
    def last_line(self) -> str:
        return self.output.strip().splitlines()[-1]


class Run:
    """A running `stir-ray`."""

    def __init__(self, command: driver.Command) -> None:
        self._output = command.output
        self._process = _PROCESSES.Process(target=driver.main, args=(command,))
        self._process.start()

    def send(self, sent: signal.Signals) -> None:
        os.kill(self._process.pid or 0, sent)

    def until(self, condition: Callable[[], bool], *, may_end: bool = False) -> None:
        """Wait until a condition holds; the run must not end before."""
        end = time.monotonic() + _TIMEOUT_S
        while self.is_alive() and not condition():
            assert time.monotonic() < end, "timed out"
            time.sleep(0.005)
        assert may_end or self.is_alive(), f"it ended first: {self._output.read_text()}"

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def wait(self) -> Exit:
        """Wait for the end of the run."""
        self._process.join(_TIMEOUT_S)
        output = self._output.read_text()
        assert self._process.exitcode is not None, f"it does not end: {output}"
        return Exit(self._process.exitcode, output)

    def close(self) -> None:
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


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
        return open_lake(self.lake)

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
        """Start a run; kill it at the latest when the context ends."""
        number = len(list(self.folder.glob("output-*")))
        job_file, output = self.folder / f"job-{number}.yaml", self.folder / f"output-{number}"
        job_file.write_text((job or small_job(self.lake)).model_dump_json(exclude_none=True))
        output.touch()
        arguments, ledger = (verb, str(job_file), *options), self.folder / "ledger"
        fault = (die_before_put, held_at, nodes)
        run = Run(driver.Command(arguments, ledger, output, dict(os.environ), *fault))
        try:
            yield run
        finally:
            run.close()

    def run(self, *options: str, **how: Any) -> Exit:
        """Run a command to its end; options as of `started`."""
        with self.started(*options, **how) as run:
            return run.wait()

    def executions(self) -> list[Execution]:
        """Return everything executed so far, in the order in which it began."""
        ledger = self.folder / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        entries = [json.loads(line) for line in lines]
        ends = Counter((e["task"], e["pid"]) for e in entries if e["event"] == "end")
        executions = []
        for entry in entries:
            if entry["event"] == "begin":
                key = entry["task"], entry["pid"]
                executions.append(Execution(*key, ended=ends[key] > 0))
                ends[key] -= 1
        return executions

    def times(self) -> Counter[str]:
        """Return how often each task was begun."""
        return Counter(execution.task for execution in self.executions())

    def cut_short(self) -> Counter[str]:
        """Return how often each task was begun and not ended."""
        return Counter(execution.task for execution in self.executions() if not execution.ended)

    def findings(self) -> list[Finding]:
        """Return what is wrong with the lake."""
        return [item for item in verify(self.open()) if isinstance(item, Finding)]

    def is_as_undisturbed(self, undisturbed: Path) -> bool:
        """Return whether the results are bitwise those of a run without faults."""
        key = result_key("small", RESULTS.name)
        expected = open_lake(str(undisturbed)).read_object(RESULTS, key)
        return self.open().read_object(RESULTS, key).equals(expected)


def nothing_lost(scene: Scene, undisturbed: Path, *, at_most: int, unheard: int = 0) -> None:
    """Assert that the lake and the results are those of a run without faults, and few tasks reran.

    Args:
        scene: whose job has been run to its end.
        undisturbed: a lake of the same job without faults.
        at_most: executions that may have been cut short.
        unheard: executions that may have ended in a worker that died before it could tell the
            driver; no other task may have run twice.
    """
    assert scene.is_as_undisturbed(undisturbed)
    assert not scene.findings()
    times, cut_short = scene.times(), scene.cut_short()
    assert len(times) == sum(TASKS.values())
    # A task that was killed after its last artifact was stored need not run again.
    again = times - Counter(list(times))
    assert (again - cut_short).total() <= unheard
    assert cut_short.total() <= at_most
