"""Read job files: YAML, overrides, grids, and errors that say what, where, expected and remedy."""

import copy
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError

from stir_ray.errors import JobError
from stir_ray.formatting import format_list, without_secrets
from stir_ray.identity import content_id
from stir_ray.job.fields import UNPRINTABLE, Value
from stir_ray.job.spec import LONGEST_NAME, Job

MOST_POINTS = 10_000
_COMMON_KEYS = ("name", "lake", "execution", "schema_version", "grid")
"""Keys that all jobs of a file have in common; each job gets its name from its values."""
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LABEL = re.compile(r"-?[A-Za-z0-9][A-Za-z0-9._-]*")
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", re.ASCII)
"""A number such as 1e-3, which YAML reads as text."""
_LONGEST_LABEL, _LONGEST_SHOWN = 40, 60


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
    """One job of a grid, and the `path=value` pins that choose it among all jobs of its file."""

    job: Job
    pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """The jobs of one file, at least one, which share their lake and their machines."""

    name: str  # of the file; the names of its jobs begin with it
    points: tuple[Point, ...]  # the values of the last key change first

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return a grid of one job."""
        return cls(job.name, (Point(job),))

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        return tuple(point.job for point in self.points)

    @property
    def shared(self) -> Job:
        """A job with the file's own name, whose lake and machines are those of all."""
        return self.jobs[0].model_copy(update={"name": self.name})


def read_job(path: str | Path, overrides: Iterable[str] = ()) -> Job:
    """Return the validated job of a file that has a single one; arguments as of `read_jobs`.

    Raises:
        JobError: as `read_jobs`, or if there are several jobs to choose from.
    """
    first, *others = read_jobs(path, overrides).points
    if others:
        choice = " ".join(f"--set {pin}" for pin in first.pins)
        raise JobError(
            f"{path}: is a grid of {len(others) + 1} jobs, and this is about one; choose it, e.g. "
            f"by `{choice}`"
        )
    return first.job


def read_jobs(path: str | Path, overrides: Iterable[str] = ()) -> Grid:
    """Return all validated jobs of a file: a single one, or those of its grid.

    Args:
        path: a YAML file.
        overrides: `a.b.c=value` each; the value is YAML, and missing levels are made. On a key that
            the grid varies, it chooses this one of its values.

    Raises:
        JobError: if the file is missing, is no YAML mapping, or describes no possible job, or a
            value is chosen that the grid does not have.
    """
    content = read_content(path, overrides)
    name, points = content.get("name"), []
    for job, pins in _combinations(content, str(path)):
        # In a file without a valid name, the values tell the jobs apart.
        which = f": {job.get('name') or ' '.join(pins)}" if pins else ""
        points.append(Point(validate_job(job, f"{path}{which}"), pins))
    return Grid(str(name), tuple(points))


def read_content(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content of a job file with overrides, not validated.

    Raises:
        JobError: if the file is missing or is no YAML mapping, or a value cannot be overridden.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise JobError(f"{path}: cannot be read ({reason}); give the path of a job file") from None
    content = _parse(text, str(path))
    if not isinstance(content, dict):
        raise JobError(f"{path}: expected `key: value` lines, got {type(content).__name__}")
    for override in overrides:
        _override(content, override)
    return content


def validate_job(content: Mapping[str, Any], path: str) -> Job:
    """Return the job that a mapping describes; `path` is named in the error."""
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one; its name is the better message.
        first, *others = sorted(
            error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden"
        )
        more = f" (and {len(others)} more)" if others else ""
        raise JobError(f"{path}: {_explain(first)}{more}") from None


def schema_text() -> str:
    """Return the JSON Schema of a job file, as it stands in `jobs/schema.json`."""
    schema = JobFile.model_json_schema()
    # Keys that the grid gives may be missing elsewhere.
    required = schema.pop("required")
    schema["if"] = {"required": ["grid"]}
    schema["then"] = {"required": ["schema_version", "name", "lake"]}
    schema["else"] = {"required": required}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


class _StrictLoader(yaml.SafeLoader):
    # Refuses a repeated key, of which the second would win silently.
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key `{without_secrets(str(key))}` is given twice",
                    problem_mark=node.value[index][0].start_mark,
                )
        return super().construct_mapping(node, deep=deep)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not YAML"
        position, mark = "", getattr(error, "problem_mark", None)
        if mark:
            line = "".join(text.splitlines()[mark.line : mark.line + 1]).strip()
            # The mark lies after the end where the text ends too early.
            shown = f"`{_shorten(without_secrets(line))}`" if line else "after the end"
            position = f" line {mark.line + 1}, column {mark.column + 1}, {shown}:"
        raise JobError(f"{where}:{position} {problem}; expected YAML") from None
    except ValueError as error:  # such as the date 2024-13-45
        raise JobError(f"{where}: {error}; put text in quotes") from None


def _override(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    where = f"--set {without_secrets(override)}"
    if not equals or not all(path.split(".")):
        raise JobError(f"{where}: expected a.b.c=value")
    if path.startswith("grid."):
        raise JobError(f"{where}: leave out `grid.`, which chooses a value of the grid")
    value = _parse(text, where)
    axes = content["grid"] if isinstance(content.get("grid"), dict) else {}
    for axis in axes:
        if path.startswith(f"{axis}."):
            raise JobError(f"{where}: the grid gives all of `{axis}`; set that instead")
    if isinstance(axes.get(path), list):
        axes[path] = [_choose(axes[path], text, value, where)]
    else:
        _set_at(content, path, value, where)


def _set_at(content: dict[str, Any], path: str, value: Any, where: str) -> None:
    *parents, last = path.split(".")
    level = content
    for key in parents:
        # An empty level, as in `finetuned:` alone on its line, is missing.
        if level.get(key) is None:
            level[key] = {}
        level = level[key]
        if not isinstance(level, dict):
            raise JobError(f"{where}: `{path}` lies inside a value, not a mapping")
    level[last] = value


def _explain(error: Any) -> str:
    # Union members stand in the location as their tag, which no job file contains.
    location = [part for part in error["loc"] if not str(part).startswith("<")]
    key = without_secrets(".".join(str(part) for part in location)) or "the file"
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        keys = {*_keys("JobFile")}.union(*map(_keys, _schema()["$defs"] if location[1:] else ()))
        close = difflib.get_close_matches(str(location[-1]), keys, n=1)
        remedy = f"did you mean `{close[0]}`?" if close else "`stir-ray schema` lists the keys"
        return f"unknown key `{key}`; {remedy}"
    if kind == "missing":
        return f"the key `{key}` is missing; `stir-ray schema` says what it takes"
    if kind == UNPRINTABLE:
        return f"`{key}`: {message}"
    if kind == "model_type":
        keys = ", ".join(f"`{name}`" for name in _keys(error["ctx"]["class_name"]))
        message = f"expected `key: value` lines with any of the keys {keys}"
    message = message.removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not location:
        return message
    # Shortened last: half a secret would not be recognized.
    value = _shorten(without_secrets(json.dumps(error["input"], default=str, ensure_ascii=False)))
    return f"`{key}: {value}`: {message}"


@cache
def _schema() -> dict[str, Any]:
    return JobFile.model_json_schema()


def _keys(class_name: str) -> Iterable[str]:
    schema = _schema()
    return schema["$defs"].get(class_name, schema).get("properties", ())


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _combinations(
    content: Mapping[str, Any], path: str
) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Yield the content of every job of a file, not validated yet, and the pins that choose it."""
    base = {key: value for key, value in content.items() if key != "grid"}
    if content.get("grid") is None:
        yield base, ()
        return
    where = f"{path}: grid"
    axes = _axes(content["grid"], where)
    counts = [len(values) for values in axes.values()]
    if math.prod(counts) > MOST_POINTS:
        raise JobError(
            f"{where}: {' x '.join(map(str, counts))} = {math.prod(counts)} jobs; expected "
            f"at most {MOST_POINTS}; leave values out, or make several files"
        )
    for labels in itertools.product(*axes.values()):
        job, chosen = copy.deepcopy(base), dict(zip(axes, labels, strict=True))
        for axis, label in chosen.items():
            _set_at(job, axis, copy.deepcopy(axes[axis][label]), where)
        if isinstance(base.get("name"), str):
            job["name"] = _job_name(base["name"], chosen)
        yield job, tuple(f"{axis}={label}" for axis, label in chosen.items())


def _axes(grid: Any, where: str) -> dict[str, dict[str, Any]]:
    """Return the values of every path by their labels."""
    if not isinstance(grid, Mapping) or not grid:
        raise JobError(f"{where}: expected `a.b.c: [value, value]` lines")
    grid = {str(path): values for path, values in grid.items()}
    for path in grid:
        if not _PATH.fullmatch(path):
            expected = "expected a dotted path such as finetuned.train.epochs"
            raise JobError(f"{where}: `{without_secrets(path)}`: {expected}")
        first = path.partition(".")[0]
        if first in _COMMON_KEYS:
            raise JobError(f"{where}: `{path}`: all jobs of a file share `{first}`; leave it out")
        for other in grid:
            if other.startswith(f"{path}."):
                raise JobError(f"{where}: `{other}` lies inside `{path}`; give one of them")
    return {path: _by_label(values, f"{where}: `{path}`") for path, values in grid.items()}


def _by_label(values: Any, where: str) -> dict[str, Any]:
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
            raise JobError(f"{where}: {label} is given twice")
        by_label[label] = value
    return by_label


def _job_name(base: str, chosen: Mapping[str, str]) -> str:
    # Depends on the job's own values, never on the others of the grid.
    values = (f"{_shortest_end(path, chosen)}={label}" for path, label in chosen.items())
    name = "-".join((base, *values))
    if len(name) <= LONGEST_NAME:
        return name
    digest = content_id("point", recipe=1, name=name)[:12]
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def _shortest_end(path: str, paths: Iterable[str]) -> str:
    """Return the shortest end of a path that is an end of no other path."""
    parts = path.split(".")
    ends = (".".join(parts[-count:]) for count in range(1, len(parts)))
    others = [f".{other}" for other in paths if other != path]
    return next((end for end in ends if not any(o.endswith(f".{end}") for o in others)), path)


def _choose(values: Sequence[Any], text: str, value: Any, where: str) -> Any:
    """Return the value of an axis that an override chooses, by its text or as YAML."""
    names = [_labelled(choice)[0] for choice in values]
    labels = [label_of(_labelled(choice)[1]) for choice in values]
    written, label = text.strip(), _labelled(value)[0]
    for name, among in ((written, names), (label, names), (label, labels)):
        if name in among:
            return values[among.index(name)]
    close = difflib.get_close_matches(written, names, n=1)
    remedy = f"did you mean `{close[0]}`?" if close else "to have its jobs, add it to the file"
    raise JobError(f"{where}: the grid has {format_list(names, 12)}; {remedy}")


def _labelled(value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping) and set(value) == {"label", "value"}:
        return str(value["label"]), value["value"]
    return label_of(value), value


def label_of(value: Any) -> str:
    """Return a value's label: itself if it is short and plain, else its end and a digest.

    Equal numbers have one label however they are written: 0.001 and 1e-3.
    """
    text = _text(value)
    if len(text) <= _LONGEST_LABEL and _LABEL.fullmatch(text):
        return text
    digest = content_id("label", recipe=1, value=text)[:8]
    if isinstance(value, Mapping | list):
        return digest
    # The last part of a path or URL is the most specific.
    last = without_secrets(text).rstrip("/").rpartition("/")[2]
    last = re.sub(r"[^A-Za-z0-9._-]+", "_", last).strip("._-")
    last = last[: _LONGEST_LABEL - len(digest) - 1]
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
            return "_".join(map(_text, value))
        case Mapping():
            return repr(sorted((str(key), _text(item)) for key, item in value.items()))
        case _:
            return str(value)
