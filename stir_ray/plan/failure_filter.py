"""Tasks that failed, and which of them a person means."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from stir_ray.errors import InputError
from stir_ray.plan.formatting import spelled
from stir_ray.plan.tasks import Task

SHORTEST_PREFIX = 6
"""Digits of an id that are enough to name a task, if no other failed task's begins with them."""


@dataclass(frozen=True)
class FailedTask:
    """A task that is not done, and the record of its last failure.

    Attributes:
        task: as it is planned.
        id: of the task.
        failure_class: decides what can be done about it.
        fingerprint: equal for failures of one kind at one place of the code.
        message: what the exception said, on one line.
        traceback: its last lines.
        node: where it ran.
        attempt: number of the last one, from 1.
        seconds: that it took.
        time: when it failed.
    """

    task: Task
    id: str
    failure_class: str
    fingerprint: str
    message: str
    traceback: str
    node: str
    attempt: int
    seconds: float
    time: datetime


@dataclass(frozen=True)
class FailureFilter:
    """Some of the failed tasks: those that have one of the values in everything that is asked.

    An empty set asks nothing. A task that has no value of a kind, as a training has no layer, is
    not chosen by a choice of that kind.

    Attributes:
        classes: of failures.
        fingerprints: of failures.
        epochs: as in the results: of the compared model, which the pretrained one is not.
        seeds: of noise starts.
        layers: that are inverted.
        tasks: beginnings of ids.
    """

    classes: frozenset[str] = frozenset()
    fingerprints: frozenset[str] = frozenset()
    epochs: frozenset[int] = frozenset()
    seeds: frozenset[int] = frozenset()
    layers: frozenset[int] = frozenset()
    tasks: frozenset[str] = frozenset()

    def matches(self, failed: FailedTask) -> bool:
        """Whether a failed task is meant."""
        return (
            _asks_for(self.classes, {failed.failure_class})
            and _asks_for(self.fingerprints, {failed.fingerprint})
            and _asks_for(self.epochs, failed.task.epochs)
            and _asks_for(self.seeds, failed.task.seeds)
            and _asks_for(self.layers, failed.task.layers)
            and (not self.tasks or failed.id.startswith(tuple(self.tasks)))
        )


def _asks_for(wanted: frozenset, has: Iterable) -> bool:
    return not wanted or not wanted.isdisjoint(has)


def chosen(failed: Iterable[FailedTask], choice: FailureFilter) -> tuple[FailedTask, ...]:
    """The failed tasks that are meant.

    Raises:
        InputError: if there are none, or the beginning of an id names several or none of them.
    """
    everyone = tuple(failed)
    for prefix in sorted(choice.tasks):
        _names_one(prefix, everyone)
    found = tuple(one for one in everyone if choice.matches(one))
    if not found:
        raise InputError(f"no failed task matches; there are {_what_there_is(everyone)}")
    return found


def _names_one(prefix: str, failed: tuple[FailedTask, ...]) -> None:
    if len(prefix) < SHORTEST_PREFIX:
        raise InputError(f"--task {prefix}: give at least {SHORTEST_PREFIX} digits of the id")
    named = [one for one in failed if one.id.startswith(prefix)]
    if not named:
        raise InputError(
            f"--task {prefix}: no failed task has this id; `stir-ray failures --json` lists them"
        )
    if len(named) > 1:
        ids = ", ".join(one.id for one in named)
        raise InputError(f"--task {prefix}: begins the ids of {len(named)} failed tasks: {ids}")


def _what_there_is(failed: tuple[FailedTask, ...]) -> str:
    kinds = {
        "classes": {one.failure_class for one in failed},
        "fingerprints": {one.fingerprint for one in failed},
        "epochs": {epoch for one in failed for epoch in one.task.epochs},
        "seeds": {seed for one in failed for seed in one.task.seeds},
        "layers": {layer for one in failed for layer in one.task.layers},
    }
    said = [f"{name} {spelled(values)}" for name, values in kinds.items() if values]
    return f"{len(failed)} failed, of {'; '.join(said)}"
