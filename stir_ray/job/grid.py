"""Many jobs from one file: every combination of the values that it gives for some of its keys."""

import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pydantic import Field

from stir_ray.errors import JobError
from stir_ray.identity import content_id
from stir_ray.job.axes import Axis, AxisValue, axes_of
from stir_ray.job.grammar import Value
from stir_ray.job.spec import LONGEST_NAME, Job

GRID = "grid"
MOST_POINTS = 10_000
_DIGEST_DIGITS = 12


class Labelled(Value):
    """A value of an axis that goes by another name than itself."""

    label: str
    """Stands for the value in the names of jobs and behind `--set`."""
    value: Any


class JobFile(Job):
    """One study, or with `grid` as many as there are combinations of its values."""

    grid: dict[str, list[Labelled | Any]] | None = Field(default=None, min_length=1)
    """Lists of values by the dotted path of a key, such as `finetuned.train.learning_rate`: a job
    for every combination. A long value can be given as `{label: short, value: …}`."""


@dataclass(frozen=True)
class Point:
    """One job of a grid.

    Attributes:
        job: as if it stood in a file of its own.
        pins: `path=value` each, which choose it among all jobs of its file.
    """

    job: Job
    pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """The jobs of one file, at least one: they share their lake and their machines.

    Attributes:
        name: of the file; the names of its jobs begin with it.
        points: the jobs, in the order of their values, those of the last key changing first.
    """

    name: str
    points: tuple[Point, ...]

    @classmethod
    def of(cls, job: Job) -> Self:
        """A job by itself."""
        return cls(job.name, (Point(job),))

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All of them."""
        return tuple(point.job for point in self.points)

    @property
    def shared(self) -> Job:
        """A job with the file's own name, to ask for the lake and the machines of all."""
        return self.jobs[0].model_copy(update={"name": self.name})


def combinations(
    said: Mapping[str, Any], path: str
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """What a file says of each of its jobs, not validated yet, and what chooses it.

    Args:
        said: content of the file.
        path: of the file, for errors.

    Raises:
        JobError: if the grid is none.
    """
    base = {key: value for key, value in said.items() if key != GRID}
    if said.get(GRID) is None:
        yield base, ()
        return
    axes = axes_of(said[GRID], f"{path}: {GRID}")
    _not_too_many(axes, path)
    for values in itertools.product(*(axis.values for axis in axes)):
        yield (
            _with_values(base, axes, values, path),
            tuple(f"{axis.path}={value.label}" for axis, value in zip(axes, values, strict=True)),
        )


def _with_values(
    base: Mapping[str, Any], axes: tuple[Axis, ...], values: tuple[AxisValue, ...], path: str
) -> dict[str, Any]:
    job = copy.deepcopy(dict(base))
    for axis, value in zip(axes, values, strict=True):
        if not set_at(job, axis.path, copy.deepcopy(value.value)):
            raise JobError(f"{path}: {GRID}: `{axis.path}` lies inside a value, not a mapping")
    if isinstance(base.get("name"), str):
        job["name"] = point_name(base["name"], axes, values)
    return job


def point_name(base: str, axes: tuple[Axis, ...], values: tuple[AxisValue, ...]) -> str:
    """Of a job of a grid: it depends on its own values, never on which others there are.

    One that would be too long ends with a digest in place of its end.
    """
    chosen = [f"{axis.name}={value.label}" for axis, value in zip(axes, values, strict=True)]
    name = "-".join((base, *chosen))
    if len(name) <= LONGEST_NAME:
        return name
    digest = content_id("point", recipe=1, name=name)[:_DIGEST_DIGITS]
    return f"{name[: LONGEST_NAME - _DIGEST_DIGITS - 1]}-{digest}"


def set_at(said: dict[str, Any], path: str, value: Any) -> bool:
    """Put a value at a dotted path; missing levels are made. False if one of them is a value."""
    *parents, last = path.split(".")
    level = said
    for key in parents:
        # An empty level, as in `finetuned:` alone on its line, is none.
        if level.get(key) is None:
            level[key] = {}
        if not isinstance(level[key], dict):
            return False
        level = level[key]
    level[last] = value
    return True


def _not_too_many(axes: tuple[Axis, ...], path: str) -> None:
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST_POINTS:
        product = " x ".join(str(len(axis.values)) for axis in axes)
        raise JobError(
            f"{path}: {GRID}: {product} = {count} jobs; expected at most {MOST_POINTS}; "
            "leave values out, or make several files"
        )
