"""Read job files: YAML, overrides, and errors that say what, where, expected and remedy."""

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from stir_ray.errors import JobError
from stir_ray.job import options, spec, study_inputs
from stir_ray.job.fields import UNPRINTABLE
from stir_ray.job.grid import GRID, Grid, JobFile, Point, combinations, pin_value, set_at
from stir_ray.job.spec import Job
from stir_ray.redaction import without_secrets

_LONGEST_SHOWN = 60


class _StrictLoader(yaml.SafeLoader):
    # Refuses a repeated key, of which the second would win silently.
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key `{without_secrets(str(key))}` stands there twice",
                    problem_mark=node.value[index][0].start_mark,
                )
        return super().construct_mapping(node, deep=deep)


def read_job(path: str | Path, overrides: Iterable[str] = ()) -> Job:
    """Return the validated job of a file that has a single one.

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
    for job, pins in combinations(content, str(path)):
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
        position = _position(text, getattr(error, "problem_mark", None))
        raise JobError(f"{where}:{position} {problem}; expected YAML") from None
    except ValueError as error:  # such as the date 2024-13-45
        raise JobError(f"{where}: {error}; put text in quotes") from None


def _position(text: str, mark: yaml.Mark | None) -> str:
    if mark is None:
        return ""
    position = f" line {mark.line + 1}, column {mark.column + 1}"
    line = "".join(text.splitlines()[mark.line : mark.line + 1]).strip()
    # The mark lies after the end where the text ends too early.
    shown = f"`{_shorten(without_secrets(line))}`" if line else "after the end"
    return f"{position}, {shown}:"


def _override(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    where = f"--set {without_secrets(override)}"
    if not equals or not all(path.split(".")):
        raise JobError(f"{where}: expected a.b.c=value")
    if path.startswith(f"{GRID}."):
        raise JobError(f"{where}: leave out `{GRID}.`, which chooses a value of the grid")
    value = _parse(text, where)
    axes = content[GRID] if isinstance(content.get(GRID), dict) else {}
    whole = [str(axis) for axis in axes if path.startswith(f"{axis}.")]
    if whole:
        raise JobError(f"{where}: the grid gives all of `{whole[0]}`; set that instead")
    if isinstance(axes.get(path), list):
        axes[path] = [pin_value(axes[path], text, value, where)]
    elif not set_at(content, path, value):
        raise JobError(f"{where}: `{path.rpartition('.')[0]}` holds a value, not further keys")


def _explain(error: Any) -> str:
    # Union members stand in the location as their tag, which no job file contains.
    location = [part for part in error["loc"] if not str(part).startswith("<")]
    key = without_secrets(".".join(str(part) for part in location)) or "the file"
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        models = [Job] if len(location) == 1 else _models()
        keys = {GRID, *(name for model in models for name in model.model_fields)}
        close = difflib.get_close_matches(str(location[-1]), keys, n=1)
        remedy = f"did you mean `{close[0]}`?" if close else "`stir-ray schema` lists the keys"
        return f"unknown key `{key}`; {remedy}"
    if kind == "missing":
        return f"the key `{key}` is missing; `stir-ray schema` says what it takes"
    if kind == UNPRINTABLE:
        return f"`{key}`: {message}"
    if kind == "model_type":
        message = _expected_keys(error["ctx"]["class_name"])
    message = message.removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not location:
        return message
    # Shortened last: half a secret would not be recognized.
    value = _shorten(without_secrets(json.dumps(error["input"], default=str, ensure_ascii=False)))
    return f"`{key}: {value}`: {message}"


def _expected_keys(class_name: str) -> str:
    named = (model.model_fields for model in _models() if model.__name__ == class_name)
    keys = ", ".join(f"`{name}`" for name in next(named, ()))
    return f"expected `key: value` lines with any of the keys {keys}"


def _models() -> list[type[BaseModel]]:
    values = (value for module in (study_inputs, options, spec) for value in vars(module).values())
    return [value for value in values if isinstance(value, type) and issubclass(value, BaseModel)]


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
