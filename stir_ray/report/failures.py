"""What failed, and what to do about it."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field
from rich.console import RenderableType

from stir_ray.catalog.failures import FailedTask, Unfinished
from stir_ray.errors import CorruptArtifact
from stir_ray.formatting import pluralize
from stir_ray.report.text import FailureGroup, render

_REMEDIES = {
    "worker_lost": "a machine or worker was lost, time after time; see to the cluster, then",
    "storage": "the lake did not answer for minutes; once it does,",
    "out_of_memory": "lower `execution.batch_size`, or take larger devices, then",
    "timeout": "raise `execution.time_limits_s` if it only needs longer, then",
    "upstream_failed": "it waits for tasks that failed; they are run first, and it follows with",
    "user_error": "correct what the message names, then",
    "permanent": "it fails each time; correct code, data or settings, then",
}
"""By class of failure, what to do before the command."""


def command(verb: str, job: Sequence[str], *options: str) -> str:
    """Return the line for a shell; `job` is the job file as it was given, with its overrides."""
    return shlex.join(["stir-ray", verb, *job, *options])


@dataclass(frozen=True)
class TaskFailure:
    """One failed task, and the command that runs it again."""

    task: str
    stage: str
    label: str
    failure_class: str
    fingerprint: str
    message: str
    traceback: str
    node: str
    attempt: int
    seconds: float
    time: datetime
    retry: str


@dataclass(frozen=True)
class Failures:
    """The failed tasks of a job, in plan order, and how many others were not attempted.

    Attributes:
        failed: the tasks.
        not_attempted: number of tasks.
        job: words that select the job in a command; not in JSON.
        traceback: whether the traceback of each example is shown; not in JSON.
    """

    failed: tuple[TaskFailure, ...]
    not_attempted: int
    job: Annotated[tuple[str, ...], Field(exclude=True)]
    traceback: Annotated[bool, Field(exclude=True)] = False

    @property
    def by_kind(self) -> list[list[TaskFailure]]:
        """Failures of one class and fingerprint together, the most frequent first."""
        kinds: dict[tuple[str, str], list[TaskFailure]] = defaultdict(list)
        for failure in self.failed:
            kinds[failure.failure_class, failure.fingerprint].append(failure)
        return sorted(kinds.values(), key=len, reverse=True)

    @property
    def groups(self) -> tuple[FailureGroup, ...]:
        """A line per kind."""
        return tuple(
            FailureGroup(kind.failure_class, kind.fingerprint, len(group), kind.label, kind.message)
            for group in self.by_kind
            for kind in group[:1]
        )


def failures_of(tasks: Unfinished, job: tuple[str, ...], *, traceback: bool = False) -> Failures:
    """Return what failed of a job; arguments as of `Failures`."""
    failed = tuple(task_failure(task, job) for task in tasks.failed)
    return Failures(failed, tasks.not_attempted, job, traceback)


def task_failure(failed: FailedTask, job: Sequence[str]) -> TaskFailure:
    """Return a failed task of the job that these words select."""
    return TaskFailure(
        failed.id, failed.task.stage, failed.task.label,
        failed.failure_class, failed.fingerprint, failed.message, failed.traceback,
        failed.node, failed.attempt, failed.seconds, failed.time,
        command("retry", job, "--task", failed.id),
    )  # fmt: skip


@render.register
def _(failures: Failures) -> Iterator[RenderableType]:
    for group in failures.by_kind:
        example = group[0]
        yield f"{len(group)} x {example.failure_class} ({example.fingerprint})"
        yield f"  e.g. {example.label}: {example.message}"
        when = example.time.astimezone(UTC).isoformat(timespec="seconds")
        yield f"       on {example.node}, attempt {example.attempt}, {when}, task {example.task}"
        if failures.traceback:
            yield from (f"       | {line}" for line in example.traceback.splitlines())
        yield f"  {_what_to_do(example, failures.job)}"
    count, others = len(failures.failed), failures.not_attempted
    failed = f"{pluralize(count, 'task')} failed" if count else "No task of this job failed"
    if others:
        other_tasks = pluralize(others, "other" if count else "task")
        yield f"{failed}, {other_tasks} not tried yet: {command('run', failures.job)}"
    else:
        yield f"{failed}."


def _what_to_do(example: TaskFailure, job: Sequence[str]) -> str:
    kind, fingerprint = example.failure_class, example.fingerprint
    remedy = _REMEDIES.get(kind)
    # A user error stopped the run, so most of what is missing never failed; nor did the
    # damaged part that is removed. Only a run computes these.
    line = command("run", job)
    if fingerprint.startswith(f"{CorruptArtifact.__name__}-"):
        remedy = f"a part that it reads is damaged; {command('verify', job, '--repair')}, then"
    elif kind == "upstream_failed":
        line = command("retry", job)
    elif kind != "user_error":
        line = command("retry", job, "--class", kind, "--fingerprint", fingerprint)
    return f"{remedy}: {line}" if remedy else line
