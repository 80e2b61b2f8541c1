"""What failed, in words: grouped by kind, each with an example and what to do about it."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC

from stir_ray.catalog.failures import Unfinished
from stir_ray.errors import CorruptPart
from stir_ray.plan.failure_filter import FailedTask
from stir_ray.plan.formatting import pluralize

_MEND = {
    "worker_lost": "a machine or worker was lost, time after time; see to the cluster, then",
    "storage": "the place did not answer for minutes; once it does,",
    "out_of_memory": "lower `execution.batch_size`, or take larger devices, then",
    "timeout": "raise `execution.time_limits_s` if it only needs longer, then",
    "upstream_failed": "it waits for tasks that failed; they are run first, and it follows with",
    "user_error": "mend what the message names, then",
    "permanent": "it fails alike each time; mend code, data or settings, then",
}
"""By class of failure, what leads to the command."""
_DAMAGED = f"{CorruptPart.__name__}-"
"""Begins the fingerprint of a task that read a damaged part."""


def groups(failed: Iterable[FailedTask]) -> list[list[FailedTask]]:
    """Failures of one class and fingerprint together; the most frequent first."""
    by_kind: dict[tuple[str, str], list[FailedTask]] = defaultdict(list)
    for one in failed:
        by_kind[one.failure_class, one.fingerprint].append(one)
    return sorted(by_kind.values(), key=lambda group: -len(group))


def command(verb: str, job: Sequence[str], *chosen: str) -> str:
    """The line for a shell; `job` is the job file as it was given, with its overrides."""
    return shlex.join(["stir-ray", verb, *job, *chosen])


def failure_lines(
    failed: Iterable[FailedTask], job: Sequence[str], *, traceback: bool
) -> Iterator[str]:
    """For a person: every kind of failure, an example of it, and what to do.

    Args:
        failed: tasks that are not done.
        job: the words of a command line that name the job.
        traceback: whether the example's is shown.
    """
    for group in groups(failed):
        example = group[0]
        yield f"{len(group)} x {example.failure_class} ({example.fingerprint})"
        yield f"  e.g. {example.task.label}: {example.message}"
        when = example.time.astimezone(UTC).isoformat(timespec="seconds")
        yield f"       on {example.node}, attempt {example.attempt}, {when}, task {example.id}"
        if traceback:
            yield from (f"       | {line}" for line in example.traceback.splitlines())
        yield f"  {_what_to_do(example, job)}"


def tally_line(left: Unfinished, job: Sequence[str]) -> str:
    """How many tasks failed, and how many were never tried, with the command that tries them."""
    count = len(left.failed)
    failed = f"{pluralize(count, 'task')} failed" if count else "No task of this job failed"
    if not left.untried:
        return f"{failed}."
    untried = pluralize(left.untried, "other" if count else "task")
    return f"{failed}, {untried} not tried yet: {command('run', job)}"


def _what_to_do(example: FailedTask, job: Sequence[str]) -> str:
    kind, mark = example.failure_class, example.fingerprint
    mend = _MEND.get(kind)
    if mark.startswith(_DAMAGED):
        mend = f"a part that it reads is damaged; {command('verify', job, '--repair')}, then"
    match kind:
        case "user_error":
            # It stopped the run, so most of what is missing never failed.
            line = command("run", job)
        case _ if mark.startswith(_DAMAGED):
            # What is removed never failed, so only a run makes it again.
            line = command("run", job)
        case "upstream_failed":
            line = command("retry", job)
        case _:
            line = command("retry", job, "--class", kind, "--fingerprint", mark)
    return f"{mend}: {line}" if mend else line


def failures_json(failed: Iterable[FailedTask], job: Sequence[str]) -> str:
    """For scripts: a list with an object per failed task."""
    return json.dumps([failure_json(one, job) for one in failed], indent=2)


def failure_json(one: FailedTask, job: Sequence[str]) -> dict[str, object]:
    """One failed task, and the command that runs it again."""
    return {
        "task": one.id,
        "stage": one.task.stage,
        "label": one.task.label,
        "failure_class": one.failure_class,
        "fingerprint": one.fingerprint,
        "message": one.message,
        "traceback": one.traceback,
        "node": one.node,
        "attempt": one.attempt,
        "seconds": one.seconds,
        "time": one.time.isoformat(),
        "retry": command("retry", job, "--task", one.id),
    }
