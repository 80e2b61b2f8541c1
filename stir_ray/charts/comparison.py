"""Several jobs in the same panels, or a job beside numbers that others published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import Chart, Rows
from stir_ray.charts.curves import METRICS, chance_note, metric_panel, metric_rows
from stir_ray.charts.heatmaps import MatrixPanel, matrix_chart
from stir_ray.charts.lines import EPOCH, LAYER, doubt, line_chart, line_rows
from stir_ray.charts.readings import (
    ComparedModel,
    Numbers,
    Values,
    compared_model,
    compared_models,
    sample,
    sample_note,
)
from stir_ray.charts.style import (
    ESTIMATORS,
    FINETUNED,
    MODELS,
    PALETTE,
    SHAPES,
    Look,
    depth_colours,
    model_at,
    model_name,
    published_look,
)

_RELATIVE = "layer / layers of the pretrained model"
_MEAN = "mean of the layers"


class NamedResults(NamedTuple):
    """The results of a job."""

    name: str  # in the legend
    results: xr.Dataset  # as `stir_ray.open_results` gives them
    depth: int  # blocks of its pretrained model


@dataclass(frozen=True)
class PublishedNumbers:
    """Numbers that others published; NaN where one is not known."""

    source: str  # whose they are
    curves: Mapping[str, Mapping[str, Numbers]]  # by name and metric, a value per layer
    flow: Mapping[str, Numbers]  # by name, (pretrained layer, compared layer)


def compare_jobs(
    jobs: Sequence[NamedResults],
    *,
    published: PublishedNumbers | None = None,
    estimator: str = "unbiased",
) -> Chart:
    """Draw learning, forgetting and CKA divergence of several jobs by layer, a line per job.

    Args:
        jobs: of each its finetuned model at the last epoch, or else the model it has.
        published: of others, dashed.
        estimator: of CKA, shown first.

    Figures 1, 2, 6 and 15 of Merlin et al. 2023.
    """
    looks, notes = _job_looks(jobs), {}
    lines = [
        (job, compared_model(job.results), line) for job, line in zip(jobs, looks, strict=True)
    ]
    for job, compared, line in lines:
        rows = [row for metric in METRICS for row in metric_rows(compared, metric, line)]
        notes.setdefault(sample_note(job.results, rows, has_band=True), []).append(job.name)
    note = " ".join(notes)
    if len(notes) > 1:
        note = " ".join(f"{', '.join(names)}: {text}" for text, names in notes.items())
    title = "What training has learned and forgotten, job by job"
    return _by_layer(
        title, f"0: no change. {note}", looks, lines, published=published, estimator=estimator
    )


def beside_published(
    job: NamedResults, published: PublishedNumbers, *, estimator: str = "biased"
) -> Chart:
    """Draw learning, forgetting and CKA divergence of a job beside published numbers, dashed.

    Arguments as in `compare_jobs`.
    """
    lines = [
        (job, compared, model_at(compared.model, compared.epochs[-1], job.results))
        for compared in compared_models(job.results)
    ]
    rows = [row for _, model, line in lines for m in METRICS for row in metric_rows(model, m, line)]
    note = f"{sample_note(job.results, rows, has_band=True)} {chance_note(job.results)}"
    looks = {line: MODELS[compared.model] for _, compared, line in lines}
    return _by_layer(
        "Beside published numbers", note, looks, lines, published=published, estimator=estimator
    )


def _by_layer(
    title: str,
    note: str,
    looks: dict[str, Look],
    lines: Sequence[tuple[NamedResults, ComparedModel, str]],
    *,
    published: PublishedNumbers | None,
    estimator: str,
) -> Chart:
    curves = published.curves if published else {}
    depth_of = {name: max(map(len, by_metric.values())) for name, by_metric in curves.items()}
    # Models of other depths are drawn over relative depth.
    is_relative = len({*depth_of.values(), *(job.depth for job, _, _ in lines)}) > 1
    panels = []
    for metric in METRICS:
        rows: Rows = []
        for job, compared, line in lines:
            depth = job.depth if is_relative else 1
            for row in metric_rows(compared, metric, line):
                rows.append({**row, "x": round(row["x"] / depth, 3)} if is_relative else row)
        for name, by_metric in curves.items():
            values = by_metric.get(metric, np.empty(0))
            layers = np.arange(1, len(values) + 1) / (depth_of[name] if is_relative else 1)
            rows += line_rows(f"{name}, published", layers, values)
        panels.append(metric_panel(metric, _RELATIVE if is_relative else LAYER, rows))
    if published:
        note = f"{note} Dashed: {published.source}."
    looks |= {f"{name}, published": published_look(n) for n, name in enumerate(curves)}
    return line_chart(title, note, looks, panels, estimator=estimator, shared_y=True)


def _job_looks(jobs: Sequence[NamedResults]) -> dict[str, Look]:
    """Return a look per line; the colours go from dark to light where there are too few."""
    colours = PALETTE if len(jobs) <= len(PALETTE) else depth_colours(len(jobs))
    looks = {}
    for n, job in enumerate(jobs):
        compared = compared_model(job.results)
        other = "" if compared.model == FINETUNED else f" ({model_name(compared.model)})"
        looks[f"{job.name}, epoch {compared.epochs[-1]}{other}"] = Look(colours[n], SHAPES[n % 6])
    return looks


def compare_jobs_over_epochs(jobs: Sequence[NamedResults], *, estimator: str = "unbiased") -> Chart:
    """Draw the metrics of several jobs over the epochs: a layer at a time, or the mean of all.

    Arguments as in `compare_jobs`.
    """
    looks = _job_looks(jobs)
    models = [compared_model(job.results) for job in jobs]
    panels = []
    for metric in METRICS:
        rows: Rows = []
        for compared, line in zip(models, looks, strict=True):
            for by in ESTIMATORS:
                values = compared.curve(metric, by)
                # NaN where a layer is missing: the mean of fewer is another quantity.
                mean, moving = values.mean.mean(axis=1), np.any(values.moving, axis=1)
                rows += line_rows(line, values.epochs, mean, by=by, state=map(doubt, moving),
                                  which=[_MEAN] * len(mean))  # fmt: skip
                for n, layer in enumerate(values.layers):
                    rows += line_rows(
                        line, values.epochs, values.mean[:, n], by=by, std=values.std[:, n],
                        seeds=values.most_seeds,
                        state=map(doubt, values.moving[:, n]),
                        which=[f"layer {layer}"] * len(mean),
                    )  # fmt: skip
        panels.append(metric_panel(metric, EPOCH, rows))
    layers = sorted({layer for compared in models for layer in compared.shared_layers})
    return line_chart(
        "Epoch by epoch, job by job",
        "0: as in the pretrained model.",
        looks,
        panels,
        estimator=estimator,
        which=("Layers", [_MEAN, *(f"layer {n}" for n in layers)]),
        bands=False,
    )


def flow_beside_published(
    results: xr.Dataset, published: PublishedNumbers, *, model: str, estimator: str = "biased"
) -> Chart:
    """Draw the invariance flow after the last epoch beside published ones, on one scale.

    Args:
        results: as `stir_ray.open_results` gives them.
        published: of others.
        model: `finetuned` or `from_scratch`.
        estimator: of CKA.
    """
    compared = compared_model(results, model)
    epoch = compared.epochs[-1]
    flow = compared.metric("flow", estimator).at(epoch)
    columns = f"{model_name(model, results)} layer j"
    panels = [MatrixPanel(model_at(model, epoch, results), "", columns, {estimator: flow})]
    for series, values in published.flow.items():
        layers, mean = list(range(1, len(values) + 1)), values[None]
        none = np.zeros(mean.shape, int)
        other = Values([epoch], layers, layers, mean, mean * np.nan, none, none > 0)
        title = f"{series.replace('_', ' ')}, published"
        panels.append(MatrixPanel(title, "", "finetuned layer j", {estimator: other}))
    note = sample(results, flow.most_seeds)
    return matrix_chart(
        "Invariance flow beside published numbers",
        f"{note} Published: {published.source}.",
        panels,
        rows="pretrained layer i",
        scale="difference of STIR",
        estimator=estimator,
    )
