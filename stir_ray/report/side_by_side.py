"""Curves by layer of several jobs, or of a job and what others published, in the same panels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stir_ray.plan.checkpoints import FINETUNED
from stir_ray.report import style
from stir_ray.report.curves import chance_note
from stir_ray.report.matrices import Panel, heatmaps, matrix_note
from stir_ray.report.published import Chosen
from stir_ray.report.readings import (
    Curve,
    Matrix,
    Numbers,
    last_epochs,
    matrix,
    metric_curve,
    sample_note,
)

_PANELS = {
    "learning": "Learning",
    "forgetting": "Forgetting",
    "cka_divergence": "CKA divergence",
}


_MOST_NAMED = 20
"""Jobs in a legend: of more the first and the last are named."""


@dataclass(frozen=True)
class Measured:
    """A job that has results.

    Attributes:
        name: in the legend.
        results: as `open_results` gives them.
        depth: blocks of its pretrained model. A point of a curve is a layer of that and the one of
            equal number in the compared model, whose depth may be another.
    """

    name: str
    results: xr.Dataset
    depth: int


@dataclass(frozen=True)
class _Line:
    """A line through the layers of a model, in each panel of which there is a curve.

    Attributes:
        label: in the legend.
        depth: blocks of the pretrained model.
        curves: by metric.
        look: of the line.
    """

    label: str
    depth: int
    curves: Mapping[str, Curve]
    look: Mapping[str, Any]


def figures_beside(
    measured: Measured, published: Chosen
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """File stem and maker of each figure of a job beside what others published."""
    if published.curves:
        make = partial(beside_published_figure, measured, published)
        yield "15-curves-beside-published", make
    for model, epoch in last_epochs(measured.results).items() if published.flow else ():
        place = {"model": model, "epoch": epoch}
        make = partial(flow_beside_published_figure, measured.results, published, **place)
        yield f"16-flow-beside-published-{model.replace('_', '-')}", make


@style.paper
def beside_published_figure(
    measured: Measured, published: Chosen, *, estimator: str = "biased"
) -> Figure:
    """Learning, forgetting and CKA divergence of a job, and dashed what others published.

    By biased CKA, as what it is held against.
    """
    results, last = measured.results, last_epochs(measured.results)
    lines = [
        _Line(
            style.model_at(model, epoch),
            measured.depth,
            _curves(results, model=model, epoch=epoch, estimator=estimator),
            style.model_line(model),
        )
        for model, epoch in last.items()
    ]
    first = next(iter(last.items()))
    return _by_layer(
        "Beside what was published",
        [*lines, *_published(published)],
        note=" ".join(
            [
                sample_note(results, [curve for one in lines for curve in one.curves.values()]),
                chance_note(results, model=first[0], epoch=first[1], estimator=estimator),
                f"Dashed: {published.source}.",
            ]
        ),
        estimator=estimator,
    )


@style.paper
def jobs_figure(
    jobs: Sequence[Measured], *, published: Chosen | None = None, estimator: str = "unbiased"
) -> Figure:
    """The last checkpoint of several jobs, a line each (Figs. 1, 2, 6 and 15 of the paper).

    Args:
        jobs: two or more; of each its finetuned model, or else the one it has.
        published: drawn dashed; None for nothing.
        estimator: biased or unbiased.
    """
    lines, notes = [], []
    for place, job in enumerate(jobs):
        model, epoch = next(iter(last_epochs(job.results).items()))
        curves = _curves(job.results, model=model, epoch=epoch, estimator=estimator)
        label = f"{job.name}, epoch {epoch}"
        label += "" if model == FINETUNED else f" ({style.MODEL_NAMES[model]})"
        if len(jobs) > _MOST_NAMED and 0 < place < len(jobs) - 1:
            label = "_"  # matplotlib leaves it out of the legend
        lines.append(_Line(label, job.depth, curves, _job_line(place, len(jobs))))
        notes.append(sample_note(job.results, list(curves.values())))
    said = _samples(jobs, notes)
    if published:
        said = f"{said} Dashed: {published.source}."
    return _by_layer(
        "What training has learned and forgotten, job by job",
        [*lines, *(_published(published) if published else ())],
        note=f"0: no change. {said}",
        estimator=estimator,
    )


def _samples(jobs: Sequence[Measured], notes: Sequence[str]) -> str:
    """Of what images and seeds the jobs are: notes that differ, those that are alike once."""
    is_one = len(set(notes)) == 1
    if len(jobs) > _MOST_NAMED:
        said = notes[0] if is_one else "Images, seeds or gaps differ."
        return f"{len(jobs)} jobs in their order, from dark to light; the table names them. {said}"
    if is_one:
        return notes[0]
    named: dict[str, list[str]] = {}
    for job, note in zip(jobs, notes, strict=True):
        named.setdefault(note, []).append(job.name)
    return " ".join(f"{', '.join(names)}: {note}" for note, names in named.items())


@style.paper
def flow_beside_published_figure(
    results: xr.Dataset, published: Chosen, *, model: str, epoch: int, estimator: str = "biased"
) -> Figure:
    """Invariance flow, and what others published of it, on one scale; by biased CKA, as theirs."""
    own = matrix(results, "flow", model=model, epoch=epoch, estimator=estimator)
    name = style.MODEL_NAMES[model]
    panels = [Panel(style.model_at(model, epoch).capitalize(), own, f"{name} layer $j$")]
    for series, values in published.flow.items():
        layers = list(range(1, len(values) + 1))
        title = f"{series.replace('_', ' ')}, published"
        panels.append(Panel(title, Matrix(layers, layers, values), "finetuned layer $j$"))
    note = matrix_note(results, "flow", model=model, epoch=epoch, estimator=estimator)
    return heatmaps(
        "Where invariances went, beside what was published",
        panels,
        rows="pretrained layer $i$",
        scale=f"difference of STIR ({estimator} CKA)",
        triangles=True,
        note=f"{note} The diagonal is 0 by definition. Published: {published.source}.",
    )


def _curves(results: xr.Dataset, *, model: str, epoch: int, estimator: str) -> dict[str, Curve]:
    place = {"model": model, "epoch": epoch, "estimator": estimator}
    return {metric: metric_curve(results, metric, **place) for metric in _PANELS}


def _published(published: Chosen) -> Iterator[_Line]:
    for place, (series, by_metric) in enumerate(published.curves.items()):
        curves = {metric: _given(values) for metric, values in by_metric.items()}
        depth = max(len(curve.layers) for curve in curves.values())
        label = f"{series.group}: {series.name}, published".replace("_", " ")
        yield _Line(label, depth, curves, style.published_line(place))


def _given(values: Numbers) -> Curve:
    return Curve(list(range(1, len(values) + 1)), values, np.full(len(values), np.nan), 0)


def _job_line(place: int, count: int) -> dict[str, Any]:
    """Colours that can be told apart while there are, and else from dark to light in their order.

    With more, a grid's values in a row look like that.
    """
    markers = "os^Dvp*hX<>P"
    colours = style.LINE_COLOURS
    if count <= len(colours):
        colour = colours[place]
    else:
        colour = mpl.colormaps["viridis"](0.92 * place / (count - 1))
    return {"color": colour, "marker": markers[place % len(markers)]}


def _by_layer(title: str, lines: Sequence[_Line], *, note: str, estimator: str) -> Figure:
    named = [one.label for one in lines if one.label != "_"]
    longest = max(len(label) for label in named)
    columns = 3 if longest <= 30 else 2 if longest <= 50 else 1
    legend = 0.14 * -(-len(named) // columns)
    figure = Figure(figsize=(style.PAGE, 2.9 + legend), layout="constrained")
    style.title(figure, title)
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    is_relative = len({one.depth for one in lines}) > 1
    for axes, (metric, name) in zip(panels, _PANELS.items(), strict=True):
        axes.set_title(name)
        layers = set()
        for line in lines:
            if metric in line.curves:
                _draw(axes, line, line.curves[metric], is_relative=is_relative)
                layers |= set(line.curves[metric].layers)
        if is_relative:
            axes.set_xlim(-0.02, 1.04)
            axes.set_xlabel("layer / layers of pretrained model")
        else:
            style.by_layer(axes, sorted(layers) or [1])
        style.zero_line(axes)
    panels[0].set_ylabel(f"difference of STIR or CKA\n({estimator} CKA)")
    if is_relative:
        depths = ", ".join(str(depth) for depth in sorted({one.depth for one in lines}))
        note = f"Pretrained models of {depths} layers, over their relative depth. {note}"
    style.legend_below(figure, panels, note=note, ncols=columns)
    return figure


def _draw(axes: Axes, line: _Line, curve: Curve, *, is_relative: bool) -> None:
    x = np.array(curve.layers) / (line.depth if is_relative else 1)
    axes.plot(x, curve.mean, label=line.label, **line.look)
    if np.isfinite(curve.std).any():
        low, high = curve.mean - curve.std, curve.mean + curve.std
        look: dict[str, Any] = {"alpha": style.BAND_ALPHA, "linewidth": 0}
        axes.fill_between(x, low, high, color=line.look["color"], **look)
