"""The axes of a grid: a key of a job file, its values, and the words that they go by."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stir_ray.errors import JobError
from stir_ray.identity import content_id
from stir_ray.redaction import without_secrets

_SHARED = ("name", "lake", "execution", "schema_version", "grid")
"""Keys that all jobs of a file have in common; each job gets its name from its values."""
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LABEL = re.compile(r"-?[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_LABEL = 40
_MOST_TOLD = 12
_DIGEST_DIGITS = 8
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", re.ASCII)
"""A number such as 1e-3, which YAML takes for text."""


@dataclass(frozen=True)
class AxisValue:
    """One of the values of a key.

    Attributes:
        label: short; no two values of an axis share it.
        value: as a job file says it.
    """

    label: str
    value: Any


@dataclass(frozen=True)
class Axis:
    """A key that takes several values.

    Attributes:
        path: of the key, with dots.
        name: the end of the path that no other axis has.
        values: in the order of the file.
    """

    path: str
    name: str
    values: tuple[AxisValue, ...]


def axes_of(grid: Any, where: str) -> tuple[Axis, ...]:
    """The axes that a file gives.

    Args:
        grid: what the file says.
        where: file and key, for errors.

    Raises:
        JobError: if it is no mapping from dotted paths to lists of different values.
    """
    if not isinstance(grid, Mapping) or not grid:
        raise JobError(f"{where}: expected `a.b.c: [value, value]` lines")
    paths = [str(path) for path in grid]
    for path in paths:
        _may_vary(path, paths, where)
    return tuple(
        Axis(path, _name(path, paths), _values(grid[path], f"{where}: `{path}`")) for path in grid
    )


def pinned(said: Sequence[Any], text: str, value: Any, where: str) -> Any:
    """What an axis says of the one of its values that a person chose.

    Args:
        said: all that the axis says.
        text: what the person wrote.
        value: the same, as YAML.
        where: key or option, for errors.

    Raises:
        JobError: if the axis does not have it: a slip would silently ask for other jobs.
    """
    of_axis = [(axis_value(one).label, one) for one in said]
    wanted = (text.strip(), axis_value(value).label)
    by_word = (one for word in wanted for label, one in of_axis if label == word)
    by_content = (one for _, one in of_axis if label_of(axis_value(one).value) == wanted[1])
    for found in (*by_word, *by_content):
        return found
    raise JobError(f"{where}: {_what_there_is([label for label, _ in of_axis], text)}")


def _what_there_is(labels: Sequence[str], text: str) -> str:
    more = f" and {len(labels) - _MOST_TOLD} more" if len(labels) > _MOST_TOLD else ""
    close = difflib.get_close_matches(text.strip(), labels, n=1)
    remedy = f"did you mean `{close[0]}`?" if close else "to have its jobs, add it to the file"
    return f"the grid has {', '.join(labels[:_MOST_TOLD])}{more}; {remedy}"


def axis_value(said: Any) -> AxisValue:
    """A value with its label, which may be given as `{label: …, value: …}`."""
    if isinstance(said, Mapping) and set(said) == {"label", "value"}:
        return AxisValue(str(said["label"]), said["value"])
    return AxisValue(label_of(said), said)


def label_of(value: Any) -> str:
    """The value itself where it is short and plain, or else what is left of it and a digest.

    Equal numbers have one label however they are written: 0.001 and 1e-3.
    """
    text = _text(value)
    if len(text) <= _LONGEST_LABEL and _LABEL.fullmatch(text):
        return text
    digest = content_id("label", recipe=1, value=text)[:_DIGEST_DIGITS]
    if isinstance(value, Mapping | list):
        return digest
    # Of a path or URL its last part says most.
    last = without_secrets(text).rstrip("/").rpartition("/")[2]
    last = re.sub(r"[^A-Za-z0-9._-]+", "_", last)
    kept = last.strip("._-")[: _LONGEST_LABEL - _DIGEST_DIGITS - 1]
    return f"{kept}_{digest}" if kept else digest


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case str() if _EXPONENT.fullmatch(value):
            return _text(float(value))
        case float():
            return repr(value).removesuffix(".0").replace("e+", "e")
        case list():
            return "_".join(_text(one) for one in value)
        case Mapping():
            return repr(sorted((str(key), _text(one)) for key, one in value.items()))
        case _:
            return str(value)


def _may_vary(path: str, paths: Sequence[str], where: str) -> None:
    if not _PATH.fullmatch(path):
        told = without_secrets(path)
        raise JobError(f"{where}: `{told}`: expected a dotted path such as finetuned.train.epochs")
    first = path.partition(".")[0]
    if first in _SHARED:
        raise JobError(f"{where}: `{path}`: all jobs of a file share `{first}`; leave it out")
    inside = [other for other in paths if other.startswith(f"{path}.")]
    if inside:
        raise JobError(f"{where}: `{inside[0]}` lies inside `{path}`; give one of them")


def _name(path: str, paths: Sequence[str]) -> str:
    """The shortest end of a path that is an end of no other."""
    parts = path.split(".")
    ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    others = [other for other in paths if other != path]
    return next(
        (end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), path
    )


def _values(said: Any, where: str) -> tuple[AxisValue, ...]:
    if not isinstance(said, list) or not said:
        raise JobError(f"{where}: expected a list of values such as [0.001, 0.01]")
    values = tuple(axis_value(one) for one in said)
    labels = [value.label for value in values]
    for label in labels:
        if not _LABEL.fullmatch(label) or len(label) > _LONGEST_LABEL:
            told = without_secrets(label)
            raise JobError(
                f"{where}: label `{told}`: expected at most {_LONGEST_LABEL} letters, digits, "
                "and any of . _ -"
            )
        if labels.count(label) > 1:
            raise JobError(f"{where}: {label} stands there twice")
    return values
