"""Many jobs from one file: every combination of the values that it gives for some of its keys."""

import copy
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pydantic import Field

from stir_ray.errors import JobError
from stir_ray.identity import content_id
from stir_ray.job.fields import Value
from stir_ray.job.spec import LONGEST_NAME, Job
from stir_ray.redaction import without_secrets

GRID = "grid"
MOST_POINTS = 10_000
_COMMON_KEYS = ("name", "lake", "execution", "schema_version", GRID)
"""Keys that all jobs of a file have in common; each job gets its name from its values."""
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LABEL = re.compile(r"-?[A-Za-z0-9][A-Za-z0-9._-]*")
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", re.ASCII)
"""A number such as 1e-3, which YAML reads as text."""
_LONGEST_LABEL = 40
_MOST_LISTED = 12
_LABEL_DIGEST_DIGITS, _NAME_DIGEST_DIGITS = 8, 12


class Labelled(Value):
    """A value with a label of its own."""

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
    """The jobs of one file, at least one, which share their lake and their machines.

    Attributes:
        name: of the file; the names of its jobs begin with it.
        points: the jobs, in the order of their values, those of the last key changing first.
    """

    name: str
    points: tuple[Point, ...]

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return a grid of one job."""
        return cls(job.name, (Point(job),))

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs."""
        return tuple(point.job for point in self.points)

    @property
    def shared(self) -> Job:
        """A job with the file's own name, whose lake and machines are those of all."""
        return self.jobs[0].model_copy(update={"name": self.name})


@dataclass(frozen=True)
class _Axis:
    path: str
    name: str
    """The end of the path that no other axis has."""
    values: dict[str, Any]
    """By label."""


def combinations(
    content: Mapping[str, Any], path: str
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Yield the content of every job of a file, not validated yet, and the pins that choose it.

    Args:
        content: of the file.
        path: of the file, for errors.

    Raises:
        JobError: if the grid is no mapping from dotted paths to lists of different values.
    """
    base = {key: value for key, value in content.items() if key != GRID}
    if content.get(GRID) is None:
        yield base, ()
        return
    axes = _axes(content[GRID], f"{path}: {GRID}")
    counts = [len(axis.values) for axis in axes]
    if math.prod(counts) > MOST_POINTS:
        raise JobError(
            f"{path}: {GRID}: {' x '.join(map(str, counts))} = {math.prod(counts)} jobs; expected "
            f"at most {MOST_POINTS}; leave values out, or make several files"
        )
    for labels in itertools.product(*(axis.values for axis in axes)):
        job = copy.deepcopy(base)
        for axis, label in zip(axes, labels, strict=True):
            if not set_at(job, axis.path, copy.deepcopy(axis.values[label])):
                raise JobError(f"{path}: {GRID}: `{axis.path}` lies inside a value, not a mapping")
        if isinstance(base.get("name"), str):
            job["name"] = _job_name(base["name"], [axis.name for axis in axes], labels)
        yield job, tuple(f"{axis.path}={label}" for axis, label in zip(axes, labels, strict=True))


def set_at(content: dict[str, Any], path: str, value: Any) -> bool:
    """Put a value at a dotted path, making missing levels; return False if a level is a value."""
    *parents, last = path.split(".")
    level = content
    for key in parents:
        # An empty level, as in `finetuned:` alone on its line, is missing.
        if level.get(key) is None:
            level[key] = {}
        if not isinstance(level[key], dict):
            return False
        level = level[key]
    level[last] = value
    return True


def pin_value(values: Sequence[Any], text: str, value: Any, where: str) -> Any:
    """Return the value of an axis that a person chose.

    Args:
        values: all that the file gives for the axis.
        text: the choice as it was written.
        value: the choice as YAML.
        where: key or option, for errors.

    Raises:
        JobError: if the axis does not have it.
    """
    choices = [(_labelled(choice)[0], choice) for choice in values]
    written, label = text.strip(), _labelled(value)[0]
    for wanted in (written, label):
        for name, choice in choices:
            if name == wanted:
                return choice
    for _, choice in choices:
        if label_of(_labelled(choice)[1]) == label:
            return choice
    names = [name for name, _ in choices]
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    close = difflib.get_close_matches(written, names, n=1)
    remedy = f"did you mean `{close[0]}`?" if close else "to have its jobs, add it to the file"
    raise JobError(f"{where}: the grid has {', '.join(names[:_MOST_LISTED])}{more}; {remedy}")


def label_of(value: Any) -> str:
    """Return a value's label: itself if it is short and plain, else its end and a digest.

    Equal numbers have one label however they are written: 0.001 and 1e-3.
    """
    text = _text(value)
    if len(text) <= _LONGEST_LABEL and _LABEL.fullmatch(text):
        return text
    digest = content_id("label", recipe=1, value=text)[:_LABEL_DIGEST_DIGITS]
    if isinstance(value, Mapping | list):
        return digest
    # The last part of a path or URL is the most specific.
    last = without_secrets(text).rstrip("/").rpartition("/")[2]
    last = re.sub(r"[^A-Za-z0-9._-]+", "_", last).strip("._-")
    last = last[: _LONGEST_LABEL - _LABEL_DIGEST_DIGITS - 1]
    return f"{last}_{digest}" if last else digest


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case str() if _EXPONENT.fullmatch(value):
            return _text(float(value))
        case float():
            return repr(value).removesuffix(".0").replace("e+", "e")
        case list():
            return "_".join(_text(item) for item in value)
        case Mapping():
            return repr(sorted((str(key), _text(item)) for key, item in value.items()))
        case _:
            return str(value)


def _labelled(value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping) and set(value) == {"label", "value"}:
        return str(value["label"]), value["value"]
    return label_of(value), value


def _job_name(base: str, axes: Sequence[str], labels: Sequence[str]) -> str:
    # Depends on the job's own values, never on the others of the grid.
    chosen = [f"{axis}={label}" for axis, label in zip(axes, labels, strict=True)]
    name = "-".join((base, *chosen))
    if len(name) <= LONGEST_NAME:
        return name
    digest = content_id("point", recipe=1, name=name)[:_NAME_DIGEST_DIGITS]
    return f"{name[: LONGEST_NAME - _NAME_DIGEST_DIGITS - 1]}-{digest}"


def _axes(grid: Any, where: str) -> tuple[_Axis, ...]:
    if not isinstance(grid, Mapping) or not grid:
        raise JobError(f"{where}: expected `a.b.c: [value, value]` lines")
    paths = [str(path) for path in grid]
    for path in paths:
        _check_path(path, paths, where)
    return tuple(
        _Axis(path, _axis_name(path, paths), _axis_values(grid[path], f"{where}: `{path}`"))
        for path in grid
    )


def _check_path(path: str, paths: Sequence[str], where: str) -> None:
    if not _PATH.fullmatch(path):
        shown = without_secrets(path)
        raise JobError(f"{where}: `{shown}`: expected a dotted path such as finetuned.train.epochs")
    first = path.partition(".")[0]
    if first in _COMMON_KEYS:
        raise JobError(f"{where}: `{path}`: all jobs of a file share `{first}`; leave it out")
    inside = [other for other in paths if other.startswith(f"{path}.")]
    if inside:
        raise JobError(f"{where}: `{inside[0]}` lies inside `{path}`; give one of them")


def _axis_name(path: str, paths: Sequence[str]) -> str:
    # The shortest end of a path that is an end of no other.
    parts = path.split(".")
    ends = (".".join(parts[-count:]) for count in range(1, len(parts)))
    others = [f".{other}" for other in paths if other != path]
    return next((end for end in ends if not any(o.endswith(f".{end}") for o in others)), path)


def _axis_values(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, list) or not values:
        raise JobError(f"{where}: expected a list of values such as [0.001, 0.01]")
    by_label: dict[str, Any] = {}
    for label, value in map(_labelled, values):
        if not _LABEL.fullmatch(label) or len(label) > _LONGEST_LABEL:
            raise JobError(
                f"{where}: label `{without_secrets(label)}`: expected at most {_LONGEST_LABEL} "
                "letters, digits, and any of . _ -"
            )
        if label in by_label:
            raise JobError(f"{where}: {label} stands there twice")
        by_label[label] = value
    return by_label
