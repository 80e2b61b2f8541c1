"""Where one number of the results comes from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import RenderableType

from stir_ray.catalog.explain import DAMAGED, UNNAMED, ArtifactState, Explanation
from stir_ray.plan.tasks import Checkpoint
from stir_ray.report.failures import TaskFailure, command, task_failure
from stir_ray.report.text import render

_NUMBERS = (
    *("stir_unbiased", "stir", "cka_unbiased", "cka", "noise_stir_unbiased", "noise_stir"),
    *("chance_stir_unbiased", "chance_stir_unbiased_q95", "chance_stir", "chance_stir_q95"),
    "residual_median",
)
_DIGITS = 12
"""Of a task's id in a command: enough to be the only one."""


@dataclass(frozen=True)
class ModelState:
    """A model: its weights and where they are; None before it is trained."""

    label: str
    weights: str | None
    location: str | None

    def __str__(self) -> str:
        if self.weights is None:
            return f"{self.label}, not trained yet"
        return f"{self.label}, weights {self.weights}, {self.location or 'of no file yet'}"


@dataclass(frozen=True)
class MissingTask:
    """A task between a number and the cause that it is missing; no id before models are trained."""

    task: str
    label: str
    is_root_cause: bool
    failure: TaskFailure | None


@dataclass(frozen=True)
class NumberOrigin:
    """Where one number comes from, or why it is missing and what computes it.

    Attributes:
        cell: columns of the results that say which number it is.
        numbers: its other columns; None if it is missing.
        reference: the inverted model.
        target: the model that sees the inverted images.
        shares: whose parts it uses, if equal weights make it the same number as another.
        parts: what it comes from.
        waits: tasks that it waits for, causes first.
        do: commands that compute it.
    """

    cell: Mapping[str, str | int]
    numbers: Mapping[str, float] | None
    reference: ModelState
    target: ModelState
    shares: str
    parts: tuple[ArtifactState, ...]
    waits: tuple[MissingTask, ...]
    do: tuple[str, ...]

    @classmethod
    def from_explanation(cls, explained: Explanation, job: Sequence[str]) -> "NumberOrigin":
        """Return the origin of an explained number of the job that these words select."""
        return cls(
            explained.cell,
            explained.numbers,
            _model_state(explained.reference),
            _model_state(explained.target),
            explained.alias_of,
            explained.artifacts,
            tuple(
                MissingTask(
                    waiting.id,
                    waiting.task.label,
                    waiting.is_root_cause,
                    task_failure(waiting.failure, job) if waiting.failure else None,
                )
                for waiting in explained.blocked_by
            ),
            tuple(_commands(explained, job)),
        )


def _commands(explained: Explanation, job: Sequence[str]) -> Iterator[str]:
    is_damaged = any(part.state == DAMAGED for part in explained.artifacts)
    causes = [waiting for waiting in explained.blocked_by if waiting.is_root_cause]
    failed = [cause.id[:_DIGITS] for cause in causes if cause.failure]
    if is_damaged:
        yield command("verify", job, "--repair")
    if failed:
        yield command("retry", job, *(word for task in failed for word in ("--task", task)))
    if is_damaged or len(failed) < len(causes):
        yield command("run", job)


@render.register
def _(number: NumberOrigin) -> Iterator[RenderableType]:
    yield " ".join(f"{name}={value}" for name, value in number.cell.items())
    if number.numbers:
        yield from (f"  {name:24} {number.numbers[name]:.6f}" for name in _NUMBERS)
    else:
        yield "  has no number"
    yield f"  inverted: layer {number.cell['reference_layer']} of {number.reference}"
    yield f"  seen by:  layer {number.cell['target_layer']} of {number.target}"
    if number.shares:
        yield f"  {number.shares}"
    for part in number.parts:
        yield from _part(part)
    for task in number.waits:
        yield from _missing(task)
    yield from (f"  do: {line}" for line in number.do)


def _model_state(model: Checkpoint) -> ModelState:
    if not model.is_trained:
        return ModelState(model.label, None, None)
    return ModelState(model.label, model.weights, model.location)


def _part(part: ArtifactState) -> Iterable[str]:
    if part.state == UNNAMED:
        yield f"  {part.table}: named once the model is trained"
        return
    problem = f": {part.problem}" if part.problem else ""
    yield f"  {part.table}: {' '.join(word for word in (part.key, part.state) if word)}{problem}"
    if part.made:
        made = {"code": "", "version": "", **part.made}
        yield (
            f"    by job {made['job']}, `{made['task']}`, on {made['device']} ({made['host']}), "
            f"{made['created']}, {made['seconds']} s, "
            f"stir_ray {made['version']} (code {made['code'][:_DIGITS]})"
        )


def _missing(task: MissingTask) -> Iterable[str]:
    name = (
        f"{task.label} ({f'task {task.task}' if task.task else 'named once its model is trained'})"
    )
    if task.failure is None:
        yield f"  {'not tried yet' if task.is_root_cause else 'waits'}: {name}"
        return
    failure = task.failure
    yield f"  failed: {name}"
    yield (
        f"    {failure.failure_class} ({failure.fingerprint}): {failure.message}; on "
        f"{failure.node}, attempt {failure.attempt}, {failure.time.isoformat(timespec='seconds')}"
    )
