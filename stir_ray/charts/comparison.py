"""Several jobs in the same panels, or a job beside numbers that others published."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import EPOCH, LAYER, Chart, Rows, Words, curve_rows, layer_rows
from stir_ray.charts.curves import METRICS, chance_note
from stir_ray.charts.heatmaps import MatrixPanel, matrix_chart
from stir_ray.charts.hypotheses import PUBLISHED_COLOURS
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.readings import (
    INVERTED_BY,
    ComparedModel,
    Numbers,
    Values,
    compared_model,
    compared_models,
    sample_note,
)
from stir_ray.charts.style import (
    DASHED,
    ESTIMATORS,
    FINETUNED,
    MODELS,
    PALETTE,
    SHAPES,
    Look,
    layer_colours,
    model_at,
    model_name,
)

_RELATIVE = "layer / layers of the pretrained model"
_MEAN = "mean of the layers"


@dataclass(frozen=True)
class NamedResults:
    """The results of a job.

    Attributes:
        name: in the legend.
        results: as `stir_ray.open_results` gives them.
        depth: blocks of its pretrained model.
    """

    name: str
    results: xr.Dataset
    depth: int


@dataclass(frozen=True)
class PublishedNumbers:
    """Numbers that others published; NaN where one is not known.

    Attributes:
        source: whose they are.
        curves: by name and metric, a value per layer.
        flow: by name, (pretrained layer, compared layer).
    """

    source: str
    curves: Mapping[str, Mapping[str, Numbers]]
    flow: Mapping[str, Numbers]


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
    looks, curves, notes = _job_looks(jobs), [], {}
    lines: dict[str, Rows] = {metric: [] for metric in METRICS}
    depths = {job.depth for job in jobs} | {depth for _, depth, _ in _published(published)}
    for job, line in zip(jobs, looks, strict=True):
        compared = compared_model(job.results)
        measured: list[Values] = []
        for metric in METRICS:
            scale = job.depth if len(depths) > 1 else 1
            lines[metric] += _last(compared, metric, line, measured, scale=scale)
        curves += measured
        notes.setdefault(sample_note(job.results, measured), []).append(job.name)
    note = next(iter(notes)) if len(notes) == 1 else " ".join(
        f"{', '.join(names)}: {text}" for text, names in notes.items()
    )  # fmt: skip
    title = "What training has learned and forgotten, job by job"
    words = Words(title, f"0: no change. {note}", looks)
    return _by_layer(words, lines, published, estimator, depths=depths)


def beside_published(
    job: NamedResults, published: PublishedNumbers, *, estimator: str = "biased"
) -> Chart:
    """Draw learning, forgetting and CKA divergence of a job beside published numbers, dashed.

    Arguments as in `compare_jobs`.
    """
    looks, curves = {}, []
    lines: dict[str, Rows] = {metric: [] for metric in METRICS}
    depths = {job.depth} | {depth for _, depth, _ in _published(published)}
    for compared in compared_models(job.results):
        line = model_at(compared.model, compared.epochs[-1], job.results)
        looks[line] = MODELS[compared.model]
        for metric in METRICS:
            scale = job.depth if len(depths) > 1 else 1
            lines[metric] += _last(compared, metric, line, curves, scale=scale)
    note = f"{sample_note(job.results, curves)} {chance_note(job.results)}"
    words = Words("Beside published numbers", note, looks)
    return _by_layer(words, lines, published, estimator, depths=depths)


def _by_layer(
    words: Words,
    lines: Mapping[str, Rows],
    published: PublishedNumbers | None,
    estimator: str,
    *,
    depths: set[int],
) -> Chart:
    is_relative, looks, note = len(depths) > 1, dict(words.looks), words.note
    for n, (label, depth, by_metric) in enumerate(_published(published)):
        looks[label] = Look(PUBLISHED_COLOURS[n % 4], SHAPES[-1 - n % 3], DASHED)
        for metric, values in by_metric.items():
            layers = np.arange(1, len(values) + 1) / (depth if is_relative else 1)
            lines[metric].extend(curve_rows(layers, values, label))
    x = _RELATIVE if is_relative else LAYER
    panels = [
        Panel(name, f"difference of {'CKA' if metric == 'cka_divergence' else 'STIR'}", x,
              lines[metric])
        for metric, name in METRICS.items()
    ]  # fmt: skip
    if published:
        note = f"{note} Dashed: {published.source}."
    words = Words(words.title, note, looks)
    return line_chart(words, panels, estimator=estimator, shared_y=True)


def _published(
    published: PublishedNumbers | None,
) -> Iterator[tuple[str, int, Mapping[str, Numbers]]]:
    for name, by_metric in published.curves.items() if published else ():
        yield f"{name}, published", max(map(len, by_metric.values())), by_metric


def _last(
    compared: ComparedModel, metric: str, line: str, curves: list[Values], *, scale: int
) -> Rows:
    epoch = compared.epochs[-1]
    rows: Rows = []
    for by in ESTIMATORS:
        curves.append(compared.curve(metric, by).at([epoch]))
        bad = compared.unconverged(INVERTED_BY[metric])[epoch]
        rows += layer_rows(curves[-1], line, estimator=by, unconverged=bad)
    return rows if scale == 1 else [{**row, "x": round(row["x"] / scale, 3)} for row in rows]


def _job_looks(jobs: Sequence[NamedResults]) -> dict[str, Look]:
    """Colours that differ while there are enough, and else from dark to light in their order."""
    colours = list(PALETTE) if len(jobs) <= len(PALETTE) else layer_colours(len(jobs))
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
    layers = sorted({layer for compared in models for layer in compared.shared_layers})
    panels = []
    for metric, name in METRICS.items():
        rows: Rows = []
        for compared, line in zip(models, looks, strict=True):
            for by in ESTIMATORS:
                values = compared.curve(metric, by)
                moving = [
                    "still moving" if m else "" for m in np.any(values.moving, axis=1).tolist()
                ]
                # NaN where a layer is missing: the mean of fewer is another quantity.
                rows += (
                    {**row, "which": _MEAN}
                    for row in curve_rows(
                        values.epochs, values.mean.mean(axis=1), line, estimator=by, states=moving
                    )
                )
                for n, layer in enumerate(values.layers):
                    states = ["still moving" if m else "" for m in values.moving[:, n]]
                    rows += ({**row, "which": f"layer {layer}"} for row in curve_rows(
                        values.epochs, values.mean[:, n], line, estimator=by, states=states,
                        std=values.std[:, n], seeds=values.most_seeds))  # fmt: skip
        kind = "CKA" if metric == "cka_divergence" else "STIR"
        panels.append(Panel(name, f"difference of {kind}", EPOCH, rows))
    words = Words("Epoch by epoch, job by job", "0: as in the pretrained model.", looks)
    which = ("Layers", [_MEAN, *(f"layer {n}" for n in layers)])
    return line_chart(words, panels, estimator=estimator, which=which, bands=False)


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
    last = compared.epochs[-1:]
    measured = compared.metric("flow", estimator).at(last)
    name = model_name(model, results)
    panels = [MatrixPanel(model_at(model, last[0], results), "", f"{name} layer j",
                          {estimator: measured})]  # fmt: skip
    for series, values in published.flow.items():
        layers = list(range(1, len(values) + 1))
        mean, nothing = values[None], np.full_like(values[None], np.nan)
        other = Values(last, layers, layers, mean, nothing, np.zeros(mean.shape, int),
                       np.zeros(mean.shape, bool))  # fmt: skip
        title = f"{series.replace('_', ' ')}, published"
        panels.append(MatrixPanel(title, "", "finetuned layer j", {estimator: other}))
    note = f"{sample_note(results, [measured], has_band=False)} Published: {published.source}."
    return matrix_chart(
        Words("Invariance flow beside published numbers", note), panels,
        rows="pretrained layer i", scale="difference of STIR", estimator=estimator,
    )  # fmt: skip
