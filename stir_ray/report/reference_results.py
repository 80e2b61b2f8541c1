"""Published numbers of others, drawn beside those of a job: a JSON file.

    {
      "source": "whose numbers these are",
      "note": "how good they are",
      "imagenet_to_cifar10": {
        "forgetting_classify": [0.13, 0.08, …],
        "learning_classify": […],
        "cka_divergence_classify": […]
      },
      "flow": {"cifar10_classification": [[0.0, -0.03, …], …]},
      "prefix_hypothesis": "std of forgetting over layers 2-12",
      "prefix_epochs": [3, 4, …],
      "prefix_r_cifar10": [0.954, 0.927, …]
    }

Only `source` must be there, and some numbers. Groups of curves have any names, as many as one
likes, and figures say them; a curve is `<metric>_<series>`, a value per layer. Flow has a row per
pretrained layer, and a column per finetuned one. `prefix_r_<series>` is the r of Figure 14 after
each of `prefix_epochs`, of `prefix_hypothesis`.
Metrics are forgetting, learning and cka_divergence; layers are 1, 2, … up to the last; null is what
is not known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from stir_ray.charts.comparison import PublishedNumbers
from stir_ray.charts.robustness_study import Prefixes
from stir_ray.errors import DataError
from stir_ray.formatting import format_list
from stir_ray.identity import content_id
from stir_ray.lake.store import read_file

_Difference = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
"""Of two STIR or CKA, or a correlation: percents are a slip."""
_Values = Annotated[list[_Difference | None], Field(min_length=2)]
_Series = tuple[str, str]
"""Group and name; a person chooses it by its name."""
_METRICS = ("forgetting", "learning", "cka_divergence")
_PREFIX_R = "prefix_r_"


class _File(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, _Values] | _Values] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    source: Annotated[str, Field(min_length=1)]
    note: str = ""
    flow: dict[str, list[_Values]] = {}
    prefix_epochs: list[PositiveInt] = []
    prefix_hypothesis: str = ""


@dataclass(frozen=True)
class ReferenceResults:
    """The numbers of a file that are drawn."""

    numbers: PublishedNumbers  # curves and flow, by their names in legends
    prefixes: tuple[Prefixes, ...]  # r over the first epochs alone
    digest: str  # id of all numbers


def read_published(words: str) -> ReferenceResults:
    """Read the numbers of `FILE`, or of `FILE:SERIES` with one or several series, comma between.

    Without a series, the first of the curves, of the flows and of the prefixes. A series that
    several groups have is that of each of them.

    Raises:
        DataError: if there is no such file or series, or the file is not as it should be.
    """
    path, colon, names = words.rpartition(":")
    if not colon or "/" in names or not path:
        path, names = words, ""
    try:
        content = read_file(path)
        return _selected(content, [name.strip() for name in names.split(",") if name.strip()])
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; expected published numbers, as JSON") from None
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _selected(content: bytes, names: Sequence[str]) -> ReferenceResults:
    file = _File.model_validate_json(content)
    kinds = _curves(file), _flows(file), _prefixes(file)
    if not any(kinds):
        raise ValueError("no numbers; expected e.g. `curves: {forgetting_mine: [0.1, 0.2]}`")
    there = dict.fromkeys(name for kind in kinds for _, name in kind)
    for name in names:
        if name not in there:
            raise ValueError(f"no series `{name}`; there is {format_list([*there], most=12)}")

    def chosen(kind: Mapping[_Series, Any]) -> Iterator[tuple[_Series, Any]]:
        series = [key for name in names for key in kind if key[1] == name]
        return ((key, kind[key]) for key in (series if names else list(kind)[:1]))

    curves, flows, prefixes = map(chosen, kinds)
    return ReferenceResults(
        PublishedNumbers(
            file.source,
            {f"{group}: {name}".replace("_", " "): by for (group, name), by in curves},
            {name: rows for (_, name), rows in flows},
        ),
        tuple(
            Prefixes(name, file.prefix_epochs, r, file.source, file.prefix_hypothesis)
            for (_, name), r in prefixes
        ),
        content_id("published", recipe=3, content=content.decode(), names=list(names)),
    )


def _curves(file: _File) -> dict[_Series, dict[str, np.ndarray]]:
    """Return by series and metric a value per layer."""
    curves: dict[_Series, dict[str, np.ndarray]] = {}
    for group, values in file.__pydantic_extra__.items():
        for name, curve in values.items() if isinstance(values, dict) else ():
            metric = next((m for m in _METRICS if name.startswith(f"{m}_")), None)
            if metric is None:
                raise ValueError(
                    f"`{group}.{name}`: expected `<metric>_<series>`, the metric one of "
                    f"{', '.join(_METRICS)}"
                )
            series = curves.setdefault((group, name.removeprefix(f"{metric}_")), {})
            series[metric] = np.array(curve, dtype=float)
    for (group, name), by_metric in curves.items():
        lengths = {metric: len(values) for metric, values in by_metric.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"curves of `{group}.{name}`: unequal numbers of layers, {lengths}")
    return curves


def _flows(file: _File) -> dict[_Series, np.ndarray]:
    for name, rows in file.flow.items():
        if any(len(row) != len(rows) for row in rows):
            raise ValueError(f"flow `{name}`: expected as many columns as rows, {len(rows)}")
    return {("", name): np.array(rows, dtype=float) for name, rows in file.flow.items()}


def _prefixes(file: _File) -> dict[_Series, np.ndarray]:
    """Return by series the r of each of the first epochs alone."""
    prefixes = {}
    for key, r in file.__pydantic_extra__.items():
        if isinstance(r, dict):
            continue
        if not key.startswith(_PREFIX_R) or len(r) != len(file.prefix_epochs):
            raise ValueError(
                f"`{key}`: expected a list `{_PREFIX_R}<series>` with a value for each of the "
                f"{len(file.prefix_epochs)} `prefix_epochs`"
            )
        prefixes["", key.removeprefix(_PREFIX_R)] = np.array(r, dtype=float)
    return prefixes


def _first(error: ValidationError) -> str:
    # Of a union every branch complains: what went further is about what was meant.
    numbers = max(error.errors(), key=lambda item: len(item["loc"]))
    location = ".".join(
        str(item) for item in numbers["loc"] if not str(item).startswith(("dict[", "list["))
    )
    return f"`{location}`: {numbers['msg']}" if location else numbers["msg"]
