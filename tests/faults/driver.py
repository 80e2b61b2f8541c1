"""Run `stir-ray` in a process of its own that writes every execution of a task to a ledger."""

import functools
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

# Imported once, before processes are forked: each of these costs seconds.
import stir_ray.worker.context  # noqa: F401
from stir_ray import cli
from stir_ray.execution.executor import Attempt, Metrics, TaskFunction
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.tasks import Task
from stir_ray.report import summary
from stir_ray.report.write_report import Report
from stir_ray.worker import dispatch
from workflows import runtime


@dataclass(frozen=True)
class Command:
    """A command line, and the fault that it meets."""

    arguments: Sequence[str]  # of `stir-ray`
    ledger: Path  # file of executions
    output: Path  # file of everything that is printed
    environment: Mapping[str, str]  # all of it: the process that is forked may be older
    die_before_put: int  # number of the artifact that is encoded and never stored; 0 for none
    held_at: str  # "begin" or "end" of an inversion, at which a worker blocks; "" for none
    nodes: int  # of a cluster, of which the last dies at SIGUSR1; 0 for no cluster


def main(command: Command) -> None:
    """Run the command line in this process."""
    os.environ.clear()
    os.environ.update(command.environment)
    with command.output.open("w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    # Drawing takes seconds, and no test looks at it.
    summary.write_report = lambda *_: Report("nowhere", "nowhere")
    runtime.make_worker = functools.partial(make_worker, command.ledger, command.held_at)
    runtime.make_worker_process = runtime.make_worker
    if command.die_before_put:
        _die_before_put(command.die_before_put)
    sys.argv = ["stir-ray", *command.arguments]
    with _cluster(command) if command.nodes else nullcontext():
        cli.main()


def killed_node(folder: Path) -> Path:
    """Return a file that exists once a node has been killed."""
    return folder / "killed node"


def held_worker(folder: Path) -> Path:
    """Return a file with the process id of the blocked worker, once one is."""
    return folder / "held worker"


@contextmanager
def _cluster(command: Command) -> Iterator[None]:
    # Inside the function: a process that has imported Ray is not to be forked.
    from tests.execution.on_cluster import machines

    with machines() as here:
        names = [f"node {number}" for number in range(command.nodes)]
        for name in names:
            here.add(name)

        def kill() -> None:
            here.kill(names[-1])
            killed_node(command.ledger.parent).touch()

        signal.signal(signal.SIGUSR1, lambda *_: Thread(target=kill).start())
        yield


def make_worker(
    ledger: Path, held_at: str, settings: dispatch.WorkerSettings, threads: int
) -> TaskFunction:
    """Make the worker of the real run, with its executions written to the ledger."""
    return functools.partial(_run, ledger, held_at, dispatch.make_worker(settings, threads))


def _run(
    ledger: Path, held_at: str, do: TaskFunction, task: Task, attempt: Attempt
) -> Metrics | None:
    _write(ledger, task, "begin")
    if held_at == "begin":
        _hold_first(ledger, task)
    measures = do(task, attempt)
    _write(ledger, task, "end")
    if held_at == "end":
        _hold_first(ledger, task)
    return measures


def _hold_first(ledger: Path, task: Task) -> None:
    """Block until this process is killed, if it is the first that gets here."""
    held = held_worker(ledger.parent)
    if not task.label.startswith("invert"):
        return
    with suppress(FileExistsError), held.open("x") as file:
        file.write(str(os.getpid()))
        file.flush()
        Event().wait()


def _write(ledger: Path, task: Task, event: str) -> None:
    line = json.dumps({"event": event, "task": task.label, "pid": os.getpid()}) + "\n"
    # One write of a short line: several processes append to the same file.
    with ledger.open("a") as file:
        file.write(line)


def _die_before_put(number: int) -> None:
    """SIGKILL this process with an artifact encoded and not yet stored."""
    really, puts = ObjectStore.put, 0

    def put(self: ObjectStore, key: str, content: bytes) -> None:
        nonlocal puts
        puts += key.startswith(("artifacts/", "checkpoints/"))
        if puts == number:
            os.kill(os.getpid(), signal.SIGKILL)
        really(self, key, content)

    ObjectStore.put = put
