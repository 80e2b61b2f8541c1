"""The printer of all verbs: a value as tables and lines, or as JSON."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console, RenderableType

from stir_ray.cli.arguments import TOTAL, SelectedJob
from stir_ray.errors import StirRayError
from stir_ray.report.text import render

_PIPED_COLUMNS = 140
"""Where no terminal gives a width; 80, which is usual, cuts numbers off."""
_ANY_WIDTH = 100_000


def show(value: object, *, as_json: bool = False) -> None:
    """Print a value as tables and lines, or as JSON."""
    if as_json:
        print(json.dumps(_plain(value), indent=2))
        return
    _print(*render(value), columns=None if sys.stdout.isatty() else _PIPED_COLUMNS)


def show_wide(*parts: RenderableType) -> None:
    """Print tables and lines as wide as they are: a terminal wraps them, and a pager scrolls."""
    console = Console(width=_ANY_WIDTH)
    _print(*parts, columns=max(1, *(console.measure(part).maximum for part in parts)))


def show_each(
    jobs: Sequence[SelectedJob],
    answer: Callable[[SelectedJob], object],
    *,
    as_json: bool = False,
    total: Callable[[], object] | None = None,
) -> None:
    """Print the answer of a verb for each of its jobs, and last what there is of all together.

    An error of one job of several is printed, and the next one follows. As JSON, the answers of
    several jobs are one object by their names, and that of a job with an error is
    `{"error": message}`.

    Raises:
        StirRayError: of a job that is alone; of several, as the first error, after all are shown.
    """
    if len(jobs) == 1:
        show(answer(jobs[0]), as_json=as_json)
        return
    answers: dict[str, Any] = {}
    errors: list[StirRayError] = []
    for job in jobs:
        if not as_json:
            print(f"{job.name}:", flush=True)
        try:
            value = answer(job)
        except StirRayError as error:
            errors.append(error)
            answers[job.name] = {"error": str(error)}
            if not as_json:
                print(f"{job.name}: {error}", file=sys.stderr)
            continue
        answers[job.name] = _plain(value) if as_json else show(value)
    if total and len(errors) < len(jobs):
        answers[TOTAL] = _plain(total()) if as_json else show(total())
    if as_json:
        print(json.dumps(answers, indent=2))
    if errors:
        where = "is in its `error`" if as_json else "is printed above"
        raise type(errors[0])(
            f"{len(errors)} of {len(jobs)} jobs failed; the message of each {where}"
        )


def _plain(value: object) -> Any:
    return json.loads(TypeAdapter(type(value)).dump_json(value))


def _print(*parts: RenderableType, columns: int | None) -> None:
    if parts:
        Console(highlight=False, soft_wrap=True, width=columns).print(*parts, sep="\n")
