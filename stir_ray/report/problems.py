"""What failed, what a number comes from or waits for, and the commands that help."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from stir_ray.catalog.failures import FailedTask, Unfinished
from stir_ray.catalog.status import Status
from stir_ray.errors import CorruptArtifact
from stir_ray.formatting import pluralize
from stir_ray.plan.tasks import Checkpoint
from stir_ray.report.text import status_text

if TYPE_CHECKING:
    from stir_ray.catalog.explain import ArtifactState, BlockingTask, Explanation

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
_NUMBERS = (
    *("stir_unbiased", "stir", "cka_unbiased", "cka", "noise_stir_unbiased", "noise_stir"),
    *("chance_stir_unbiased", "chance_stir_unbiased_q95", "chance_stir", "chance_stir_q95"),
    "residual_median",
)
_DIGITS = 12
"""Of a task's id in a command: enough to be the only one."""


def _command(verb: str, job: Sequence[str], *options: str) -> str:
    """Return the line for a shell; `job` as of `failures_text`."""
    return shlex.join(["stir-ray", verb, *job, *options])


def _by_kind(failed: Iterable[FailedTask]) -> list[list[FailedTask]]:
    """Return failures of one class and fingerprint together, the most frequent first."""
    kinds: dict[tuple[str, str], list[FailedTask]] = defaultdict(list)
    for task in failed:
        kinds[task.failure_class, task.fingerprint].append(task)
    return sorted(kinds.values(), key=len, reverse=True)


@dataclass(frozen=True)
class JobStatus:
    """How far a job is, and its failures by kind, the most frequent first."""

    status: Status
    failures: list[dict[str, Any]]


def job_status(status: Status, failed: Iterable[FailedTask]) -> JobStatus:
    """Return a status with an example of each kind of failure."""
    return JobStatus(
        status,
        [
            {
                "failure_class": group[0].failure_class,
                "fingerprint": group[0].fingerprint,
                "tasks": len(group),
                "example": group[0].task.label,
                "message": group[0].message,
            }
            for group in _by_kind(failed)
        ],
    )


def job_status_text(job: JobStatus) -> Iterator[RenderableType]:
    """Show how far a job is and what failed."""
    yield from status_text(job.status)
    text = "{tasks} failed, {failure_class} ({fingerprint}), e.g. {example}: {message}"
    yield from (text.format_map(kind) for kind in job.failures)


def failure_record(failed: FailedTask, job: Sequence[str]) -> dict[str, Any]:
    """Return a failed task as JSON has it, with the command that runs it again."""
    record = {name: value for name, value in vars(failed).items() if name not in {"id", "task"}}
    return {
        "task": failed.id,
        "stage": failed.task.stage,
        "label": failed.task.label,
        **record,
        "retry": _command("retry", job, "--task", failed.id),
    }


def failures_text(
    tasks: Unfinished, job: Sequence[str], *, traceback: bool = False
) -> Iterator[str]:
    """Show failures by kind with an example and its traceback, and what to do about each.

    The job is the file as it was given, with its overrides: the words that select it in a command.
    """
    for group in _by_kind(tasks.failed):
        failed = group[0]
        when = failed.time.astimezone(UTC).isoformat(timespec="seconds")
        yield f"{len(group)} x {failed.failure_class} ({failed.fingerprint})"
        yield f"  e.g. {failed.task.label}: {failed.message}"
        yield f"       on {failed.node}, attempt {failed.attempt}, {when}, task {failed.id}"
        if traceback:
            yield from (f"       | {line}" for line in failed.traceback.splitlines())
        yield f"  {_remedy(failed, job)}"
    count, waiting = len(tasks.failed), tasks.not_attempted
    text = f"{pluralize(count, 'task')} failed" if count else "No task of this job failed"
    others = pluralize(waiting, "other" if count else "task")
    run = f", {others} not tried yet: {_command('run', job)}"
    yield f"{text}{run if waiting else '.'}"


def _remedy(failed: FailedTask, job: Sequence[str]) -> str:
    kind, remedy = failed.failure_class, _REMEDIES.get(failed.failure_class)
    # A user error stopped the run, so most of what is missing never failed; nor did the damaged
    # artifact that is removed. Only a run computes these.
    line = _command("run", job)
    if failed.fingerprint.startswith(f"{CorruptArtifact.__name__}-"):
        remedy = f"a part that it reads is damaged; {_command('verify', job, '--repair')}, then"
    elif kind == "upstream_failed":
        line = _command("retry", job)
    elif kind != "user_error":
        line = _command("retry", job, "--class", kind, "--fingerprint", failed.fingerprint)
    return f"{remedy}: {line}" if remedy else line


def explanation_record(explained: "Explanation", job: Sequence[str]) -> dict[str, Any]:
    """Return where a number comes from as JSON has it; `job` as of `failures_text`."""
    reference, target = (
        {"label": model.label, "weights": model.weights, "location": model.location}
        if model.is_trained
        else {"label": model.label, "weights": None, "location": None}
        for model in (explained.reference, explained.target)
    )
    waits = [
        {
            "task": blocking.id,
            "label": blocking.task.label,
            "is_root_cause": blocking.is_root_cause,
            "failure": blocking.failure and failure_record(blocking.failure, job),
        }
        for blocking in explained.blocked_by
    ]
    return {
        "cell": explained.cell,
        "numbers": explained.numbers,
        "reference": reference,
        "target": target,
        "shares": explained.alias_of,
        "parts": explained.artifacts,
        "waits": waits,
        "do": list(_commands(explained, job)),
    }


def explanation_text(explained: "Explanation", job: Sequence[str]) -> Iterator[str]:
    """Show where a number comes from, or why it is missing and what computes it."""
    cell, numbers = explained.cell, explained.numbers
    yield " ".join(f"{name}={value}" for name, value in cell.items())
    if numbers:
        yield from (f"  {name:24} {numbers[name]:.6f}" for name in _NUMBERS)
    else:
        yield "  has no number"
    yield f"  inverted: layer {cell['reference_layer']} of {_model(explained.reference)}"
    yield f"  seen by:  layer {cell['target_layer']} of {_model(explained.target)}"
    if explained.alias_of:
        yield f"  {explained.alias_of}"
    for artifact in explained.artifacts:
        yield from _artifact(artifact)
    for task in explained.blocked_by:
        yield from _blocking(task)
    yield from (f"  do: {line}" for line in _commands(explained, job))


def _model(model: Checkpoint) -> str:
    if not model.is_trained:
        return f"{model.label}, not trained yet"
    return f"{model.label}, weights {model.weights}, {model.location or 'of no file yet'}"


def _artifact(artifact: "ArtifactState") -> Iterator[str]:
    if artifact.state == "unnamed":
        yield f"  {artifact.table}: named once the model is trained"
        return
    state = " ".join(filter(None, (artifact.key, artifact.state)))
    yield f"  {artifact.table}: {': '.join(filter(None, (state, artifact.problem)))}"
    if made := artifact.made:
        yield (
            f"    by job {made['job']}, `{made['task']}`, on {made['device']} ({made['host']}), "
            f"{made['created']}, {made['seconds']} s, "
            f"stir_ray {made['version']} (code {made['code'][:_DIGITS]})"
        )


def _blocking(blocking: "BlockingTask") -> Iterator[str]:
    task = f"task {blocking.id}" if blocking.id else "named once its model is trained"
    name, failed = f"{blocking.task.label} ({task})", blocking.failure
    if failed is None:
        yield f"  {'not tried yet' if blocking.is_root_cause else 'waits'}: {name}"
        return
    yield f"  failed: {name}"
    yield (
        f"    {failed.failure_class} ({failed.fingerprint}): {failed.message}; on {failed.node}, "
        f"attempt {failed.attempt}, {failed.time.isoformat(timespec='seconds')}"
    )


def _commands(explained: "Explanation", job: Sequence[str]) -> Iterator[str]:
    is_damaged = any(artifact.state == "damaged" for artifact in explained.artifacts)
    causes = [blocking for blocking in explained.blocked_by if blocking.is_root_cause]
    failed = [cause.id[:_DIGITS] for cause in causes if cause.failure]
    if is_damaged:
        yield _command("verify", job, "--repair")
    if failed:
        yield _command("retry", job, *(word for task in failed for word in ("--task", task)))
    if is_damaged or len(failed) < len(causes):
        yield _command("run", job)
