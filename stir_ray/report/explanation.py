"""Where a number comes from, in words."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stir_ray.catalog.explain import DAMAGED, UNNAMED, Explanation, PartState, Waiting
from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.report.failures import command, failure_json

_SHOWN = (
    *("stir_unbiased", "stir", "cka_unbiased", "cka", "noise_stir_unbiased", "noise_stir"),
    *("chance_stir_unbiased", "chance_stir_unbiased_q95", "chance_stir", "chance_stir_q95"),
    "residual_median",
)
_DIGITS = 12
"""Of a task's id in a command: enough to be the only one."""


def explanation_lines(explained: Explanation, job: Sequence[str]) -> Iterator[str]:
    """For a person.

    Args:
        explained: a number.
        job: the words of a command line that name the job.
    """
    yield " ".join(f"{name}={value}" for name, value in explained.place.items())
    if explained.numbers:
        yield from (f"  {name:24} {explained.numbers[name]:.6f}" for name in _SHOWN)
    else:
        yield "  has no number"
    layers = explained.place["reference_layer"], explained.place["target_layer"]
    yield f"  inverted: layer {layers[0]} of {_model(explained.reference)}"
    yield f"  looks:    layer {layers[1]} of {_model(explained.target)}"
    if explained.shares:
        yield f"  {explained.shares}"
    for part in explained.parts:
        yield from _part(part)
    for waiting in explained.waits:
        yield from _waiting(waiting)
    for line in to_do(explained, job):
        yield f"  do: {line}"


def explanation_json(explained: Explanation, job: Sequence[str]) -> str:
    """For scripts: the same as one object."""
    return json.dumps(
        {
            "place": dict(explained.place),
            "numbers": dict(explained.numbers) if explained.numbers else None,
            "reference": _model_json(explained.reference),
            "target": _model_json(explained.target),
            "shares": explained.shares,
            "parts": [asdict(part) for part in explained.parts],
            "waits": [
                {
                    "task": waiting.id,
                    "label": waiting.task.label,
                    "is_cause": waiting.is_cause,
                    "failure": failure_json(waiting.failure, job) if waiting.failure else None,
                }
                for waiting in explained.waits
            ],
            "do": to_do(explained, job),
        },
        indent=2,
    )


def to_do(explained: Explanation, job: Sequence[str]) -> list[str]:
    """The commands that lead to a number, if it is missing or comes from something damaged."""
    is_damaged = any(part.state == DAMAGED for part in explained.parts)
    causes = [waiting for waiting in explained.waits if waiting.is_cause]
    failed = [cause.id[:_DIGITS] for cause in causes if cause.failure]
    commands = [command("verify", job, "--repair")] if is_damaged else []
    if failed:
        commands.append(command("retry", job, *(w for one in failed for w in ("--task", one))))
    if is_damaged or len(failed) < len(causes):
        commands.append(command("run", job))
    return commands


def _model(model: Checkpoint) -> str:
    if not model.is_trained:
        return f"{model.label}, not trained yet"
    return f"{model.label}, weights {model.weights}, {model.location or 'of no file yet'}"


def _model_json(model: Checkpoint) -> dict[str, Any]:
    trained = model.is_trained
    return {
        "label": model.label,
        "weights": model.weights if trained else None,
        "location": model.location if trained else None,
    }


def _part(part: PartState) -> Iterator[str]:
    if part.state == UNNAMED:
        yield f"  {part.table}: named once the model is trained"
        return
    problem = f": {part.problem}" if part.problem else ""
    yield f"  {part.table}: {' '.join(word for word in (part.key, part.state) if word)}{problem}"
    if part.made:
        yield f"    {_made(part.made)}"


def _made(made: Mapping[str, Any]) -> str:
    said = {"code": "", "version": "", **made}
    return (
        f"by job {said['job']}, `{said['task']}`, on {said['device']} ({said['host']}), "
        f"{said['created']}, {said['seconds']} s, "
        f"stir_ray {said['version']} (code {said['code'][:_DIGITS]})"
    )


def _waiting(waiting: Waiting) -> Iterator[str]:
    known_as = f"task {waiting.id}" if waiting.id else "named once its model is trained"
    name = f"{waiting.task.label} ({known_as})"
    if waiting.failure is None:
        yield f"  {'not tried yet' if waiting.is_cause else 'waits'}: {name}"
        return
    failure = waiting.failure
    when = failure.time.isoformat(timespec="seconds")
    yield f"  failed: {name}"
    yield (
        f"    {failure.failure_class} ({failure.fingerprint}): {failure.message}; "
        f"on {failure.node}, attempt {failure.attempt}, {when}"
    )
