"""Published numbers of others, drawn beside those of a job: a JSON file.

    {
      "source": "whose numbers these are",
      "note": "how good they are",
      "imagenet_to_cifar10": {
        "forgetting_classify": [0.13, 0.08, …],
        "learning_classify": […],
        "cka_div_classify": […]
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
Metrics are forgetting, learning and cka_div (or cka_divergence); layers are 1, 2, … up to the last;
null is what is not known. Flow may also be called
`flow_rows_pretrained_layer_columns_finetuned_layer`, and prefixes may begin with `figure14_`, as in
`jobs/paper/reference.json`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from stir_ray.charts.comparison import PublishedNumbers
from stir_ray.charts.readings import Numbers
from stir_ray.charts.study import Prefixes
from stir_ray.errors import DataError
from stir_ray.formatting import format_list
from stir_ray.identity import content_id
from stir_ray.lake.files import read_file

Difference = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
"""Of two STIR or CKA, or a correlation: percents are a slip."""
Values = Annotated[list[Difference | None], Field(min_length=2)]

_METRICS = {
    "forgetting": "forgetting",
    "learning": "learning",
    "cka_divergence": "cka_divergence",
    "cka_div": "cka_divergence",
}
"""As they may be called, and what they are."""
_PREFIX_R = ("prefix_r_", "figure14_prefix_r_")
_PREFIX_HYPOTHESIS = ("prefix_hypothesis", "figure14_prefix_hypothesis")
_FLOW = ("flow", "flow_rows_pretrained_layer_columns_finetuned_layer")


class Series(NamedTuple):
    """Curves that belong together.

    Attributes:
        group: that they stand in, which says of what they are.
        name: within the group.
    """

    group: str
    name: str


class Published(BaseModel):
    """The content of such a file."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, dict[str, Values] | Values] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    source: Annotated[str, Field(min_length=1)]
    """Whose numbers they are; figures say it."""
    note: str = ""
    """How good they are."""
    flow: Annotated[dict[str, list[Values]], Field(validation_alias=AliasChoices(*_FLOW))] = {}
    """Invariance flow by series: a row per pretrained layer, a column per finetuned one."""
    prefix_epochs: Annotated[
        list[PositiveInt],
        Field(validation_alias=AliasChoices("prefix_epochs", "figure14_prefix_epochs")),
    ] = []
    """The last epochs that the prefixes count."""
    prefix_hypothesis: Annotated[str, Field(validation_alias=AliasChoices(*_PREFIX_HYPOTHESIS))] = (
        ""
    )
    """What their r is of; empty where it is not known."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name, rows in self.flow.items():
            if any(len(row) != len(rows) for row in rows):
                raise ValueError(f"flow `{name}`: expected as many columns as rows, {len(rows)}")
        for series, by_metric in self.curves().items():
            lengths = {metric: len(values) for metric, values in by_metric.items()}
            if len(set(lengths.values())) > 1:
                raise ValueError(
                    f"curves of `{series.name}`: of unequal numbers of layers, {lengths}"
                )
        for name, r in self.prefixes().items():
            if len(r) != len(self.prefix_epochs):
                raise ValueError(
                    f"`prefix_r_{name}`: {len(r)} values for {len(self.prefix_epochs)} "
                    "`prefix_epochs`"
                )
        if not (self.curves() or self.flow or self.prefixes()):
            raise ValueError("no numbers; expected e.g. `curves: {forgetting_mine: [0.1, 0.2]}`")
        return self

    def curves(self) -> dict[Series, dict[str, Sequence[float | None]]]:
        """By series and metric, a value per layer."""
        numbers: dict[Series, dict[str, Sequence[float | None]]] = {}
        for group, values in self.__pydantic_extra__.items():
            if not isinstance(values, dict):
                continue
            for name, curve in values.items():
                metric, series = _metric_of(group, name)
                of_series = numbers.setdefault(Series(group, series), {})
                if metric in of_series:
                    raise ValueError(f"`{group}.{name}`: there is another {metric} of `{series}`")
                of_series[metric] = curve
        return numbers

    def prefixes(self) -> dict[str, Sequence[float | None]]:
        """By series, the r of each of the first epochs alone."""
        numbers = {}
        for key, values in self.__pydantic_extra__.items():
            if isinstance(values, dict):
                continue
            begin = next((item for item in _PREFIX_R if key.startswith(item)), None)
            if begin is None:
                raise ValueError(f"`{key}`: no such list; expected `prefix_r_<series>`")
            numbers[key.removeprefix(begin)] = values
        return numbers


def _metric_of(group: str, name: str) -> tuple[str, str]:
    for begin, metric in _METRICS.items():
        if name.startswith(f"{begin}_") and len(name) > len(begin) + 1:
            return metric, name[len(begin) + 1 :]
    raise ValueError(
        f"`{group}.{name}`: expected `<metric>_<series>`, the metric one of {', '.join(_METRICS)}"
    )


@dataclass(frozen=True)
class ReferenceResults:
    """The numbers of a file that are drawn.

    Attributes:
        numbers: curves and flow, by their names in legends.
        prefixes: r over the first epochs alone.
    """

    numbers: PublishedNumbers
    prefixes: tuple[Prefixes, ...]

    @property
    def digest(self) -> str:
        """Id of all numbers."""
        curves, flow = self.numbers.curves, self.numbers.flow
        content = [
            self.numbers.source,
            {
                name: {m: v.tolist() for m, v in series_curves.items()}
                for name, series_curves in curves.items()
            },
            {name: values.tolist() for name, values in flow.items()},
            [
                [series_curves.label, list(series_curves.epochs), series_curves.r.tolist()]
                for series_curves in self.prefixes
            ],
        ]
        return content_id("published", recipe=2, content=json.dumps(content))


def read_published(content: str) -> ReferenceResults:
    """The numbers of `FILE`, or of `FILE:SERIES` with one or several series, comma between them.

    Without a series, the first of the curves, of the flows and of the prefixes. A series that
    several groups have is that of each of them.

    Raises:
        DataError: if there is no such file or series, or the file is not as it should be.
    """
    path, colon, named = content.rpartition(":")
    if not colon or "/" in named or not path:
        path, named = content, ""
    file = _read(path)
    series = [name.strip() for name in named.split(",") if name.strip()]
    kinds: tuple[Mapping[Any, Any], ...] = (file.curves(), file.flow, file.prefixes())
    names = list(dict.fromkeys(_name(item) for kind in kinds for item in kind))
    for name in series:
        if name not in names:
            raise DataError(f"{path}: no series `{name}`; there is {format_list(names, most=12)}")
    curves, flow, prefixes = (dict(_some(kind, series)) for kind in kinds)
    numbers = PublishedNumbers(
        file.source,
        {
            f"{series_curves.group}: {series_curves.name}".replace("_", " "): {
                m: _array(v) for m, v in by.items()
            }
            for series_curves, by in curves.items()
        },
        {name: _array(rows) for name, rows in flow.items()},
    )
    hypothesis = file.prefix_hypothesis
    return ReferenceResults(
        numbers,
        tuple(
            Prefixes(name, file.prefix_epochs, _array(r), file.source, hypothesis)
            for name, r in prefixes.items()
        ),
    )


def _some(of_kind: Mapping[Any, Any], series: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    named = [item for name in series for item in of_kind if _name(item) == name]
    return ((item, of_kind[item]) for item in (named if series else list(of_kind)[:1]))


def _name(series: Series | str) -> str:
    """By which a person chooses it."""
    return series.name if isinstance(series, Series) else series


def _array(values: Sequence[Any]) -> Numbers:
    return np.array(values, dtype=float)


def _read(path: str) -> Published:
    try:
        content = read_file(path)
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: no such file; expected published numbers, as JSON") from None
    try:
        content = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping with `source` and curves")
    try:
        return Published.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    # Of a union every branch complains: what went further is about what was meant.
    numbers = max(error.errors(), key=lambda item: len(item["loc"]))
    location = ".".join(
        str(item) for item in numbers["loc"] if not str(item).startswith(("dict[", "list["))
    )
    message = " ".join(numbers["msg"].removeprefix("Value error, ").split())
    return f"`{location}`: {message}" if location else message
