"""Reading job files: YAML, overrides, and errors that say what, where, expected and remedy."""

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.job.axes import pinned
from stir_ray.job.grammar import UNPRINTABLE
from stir_ray.job.grid import GRID, Grid, JobFile, Point, combinations, set_at
from stir_ray.redaction import without_secrets


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key may stand once: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key `{without_secrets(str(key))}` stands there twice",
                    problem_mark=node.value[place][0].start_mark,
                )
        return super().construct_mapping(node, deep=deep)


def read_job(path: str | Path, overrides: Iterable[str] = ()) -> Job:
    """The validated job of a file that holds a single one.

    Args:
        path: a YAML file.
        overrides: as of `read_jobs`.

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
    """All validated jobs of a file: a single one, or those of its grid.

    Args:
        path: a YAML file.
        overrides: `a.b.c=value` each; the value is YAML, and missing levels are made. On a key that
            the grid varies, it chooses this one of its values.

    Raises:
        JobError: if the file is missing, is no YAML mapping, or says something that cannot be run,
            or a value is chosen that the grid does not have.
    """
    said = read_said(path, overrides)
    name, points = said.get("name"), []
    for job, pins in combinations(said, str(path)):
        # Of a file without a name, or with one that cannot be, the values say which job is meant.
        which = f": {job.get('name') or ' '.join(pins)}" if pins else ""
        points.append(Point(validated(job, f"{path}{which}"), pins))
    return Grid(str(name), tuple(points))


def read_said(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What a file says once its values are overridden, not validated: a job file itself.

    Raises:
        JobError: if the file is missing or is no YAML mapping, or a value cannot be overridden.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise JobError(f"{path}: cannot be read ({reason}); give the path of a job file") from None
    said = _parse(text, str(path))
    if not isinstance(said, dict):
        raise JobError(f"{path}: expected `key: value` lines, got {type(said).__name__}")
    for override in overrides:
        _override(said, override)
    return said


def validated(said: Mapping[str, Any], path: str) -> Job:
    """The job that a mapping describes; `path` is named in the error."""
    try:
        return Job.model_validate(said)
    except ValidationError as error:
        # A misspelt key is also a missing one, and only the first of the two says how to mend it.
        found = sorted(
            error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"
        )
        first, *others = found
        more = f" (and {len(others)} more)" if others else ""
        raise JobError(f"{path}: {_explained(first)}{more}") from None


def schema_text() -> str:
    """The JSON Schema of a job file, as it stands in `jobs/schema.json`."""
    schema = JobFile.model_json_schema()
    # What the grid gives may be missing everywhere else.
    required = schema.pop("required")
    schema["if"] = {"required": [GRID]}
    schema["then"] = {"required": ["schema_version", "name", "lake"]}
    schema["else"] = {"required": required}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not YAML"
        place = _placed(text, getattr(error, "problem_mark", None))
        raise JobError(f"{where}:{place} {problem}; expected YAML") from None
    except ValueError as error:  # such as the date 2024-13-45
        raise JobError(f"{where}: {error}; put text in quotes") from None


def _placed(text: str, mark: yaml.Mark | None) -> str:
    if mark is None:
        return ""
    place = f" line {mark.line + 1}, column {mark.column + 1}"
    # Where the text ends too early nothing stands at the mark.
    line = "".join(text.splitlines()[mark.line : mark.line + 1]).strip()
    return f"{place}, `{_cut(without_secrets(line))}`:" if line else f"{place}, after the end:"


def _override(said: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    told = without_secrets(override)
    if not equals or not all(path.split(".")):
        raise JobError(f"--set {told}: expected a.b.c=value")
    if path.startswith(f"{GRID}."):
        raise JobError(f"--set {told}: leave out `{GRID}.`, which chooses a value of the grid")
    value = _parse(text, f"--set {told}")
    axes = said[GRID] if isinstance(said.get(GRID), dict) else {}
    whole = [str(axis) for axis in axes if path.startswith(f"{axis}.")]
    if whole:
        raise JobError(f"--set {told}: the grid gives all of `{whole[0]}`; set that instead")
    if isinstance(axes.get(path), list):
        axes[path] = [pinned(axes[path], text, value, f"--set {told}")]
    elif not set_at(said, path, value):
        raise JobError(f"--set {told}: `{path.rpartition('.')[0]}` holds a value, not further keys")


def _explained(error: Any) -> str:
    """One pydantic error as: key, value, what was expected, what to do."""
    # Union members stand in the location as their tag, which no job file contains.
    place = [part for part in error["loc"] if not str(part).startswith("<")]
    key = without_secrets(".".join(str(part) for part in place)) or "the file"
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        return f"unknown key `{key}`{_did_you_mean(str(place[-1]), is_outermost=len(place) == 1)}"
    if kind == "missing":
        return f"the key `{key}` is missing; `stir-ray schema` says what it takes"
    if kind == UNPRINTABLE:
        return f"`{key}`: {message}"
    if kind == "model_type":
        message = _expected_keys(error["ctx"]["class_name"])
    message = message.removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not place:
        return message
    return f"`{key}: {_shortened(error['input'])}`: {message}"


def _expected_keys(class_name: str) -> str:
    named = (model.model_fields for model in _models() if model.__name__ == class_name)
    keys = ", ".join(f"`{name}`" for name in next(named, ()))
    return f"expected `key: value` lines with any of the keys {keys}"


def _did_you_mean(key: str, *, is_outermost: bool) -> str:
    models = [Job] if is_outermost else _models()
    known = {GRID, *(name for model in models for name in model.model_fields)}
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else "; `stir-ray schema` lists the keys"


def _models() -> list[type[BaseModel]]:
    from stir_ray import job

    values = vars(job).values()
    return [item for item in values if isinstance(item, type) and issubclass(item, BaseModel)]


def _shortened(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    # Cut short before, half a secret would no longer be known for one.
    return _cut(without_secrets(text))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
