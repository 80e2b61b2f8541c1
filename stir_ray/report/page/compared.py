"""The page of several jobs: their curves in the same panels, and what differs between them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from stir_ray.plan.checkpoints import FINETUNED
from stir_ray.report import style
from stir_ray.report.differences import Differences
from stir_ray.report.over_epochs import Curves, metric_curves
from stir_ray.report.page.assemble import assembled, plots_of
from stir_ray.report.page.epochs import doubts_over_epochs
from stir_ray.report.page.layers import DIFFERENCE, LAYER, TITLES, doubtful_points
from stir_ray.report.page.plots import (
    LINE_COLOURS,
    SYMBOLS,
    Colour,
    Line,
    Panel,
    Plot,
    Section,
    Variant,
    layer_colours,
    line_of,
)
from stir_ray.report.page.values import SCALE, counts, decimals
from stir_ray.report.readings import Numbers, epochs_of, last_epochs, metric_curve, sample_note
from stir_ray.report.side_by_side import Measured
from stir_ray.results.metric_info import ESTIMATORS

_MEAN = "mean of the layers"
_WORDS = (
    (
        "Of each job the last checkpoint of its finetuned model, or else of the one it has, "
        "against its own pretrained model. Learning: invariances that the trained model has and "
        "the pretrained one lacks. Forgetting: the other way round. CKA divergence: how much less "
        "alike the two arrange real images. 0 is no change."
    ),
)
_EPOCH_WORDS = ("One layer at a time, or the mean of all layers where all are known.",)
_RELATIVE = "layer / layers of the pretrained model"


def compared_page(
    jobs: Sequence[Measured], differing: Differences, *, title: str, mark: str
) -> bytes:
    """The page.

    Args:
        jobs: two or more, by names that tell them apart.
        differing: what differs between them.
        title: of the page.
        mark: what says later whether it is still current.
    """
    sections = [_by_layer(jobs), *_over_epochs(jobs)]
    return assembled(
        "compared.html.jinja",
        data={"scale": SCALE, "plots": plots_of(sections)},
        title=title,
        mark=mark,
        names=[job.name for job in jobs],
        sections=sections,
        differing=differing,
    )


def _by_layer(jobs: Sequence[Measured]) -> Section:
    variants = [
        Variant(
            estimator,
            [_panel(jobs, metric, estimator) for metric in TITLES],
            " ".join(_samples(jobs, estimator)),
        )
        for estimator in ESTIMATORS
    ]
    plot = Plot("jobs-by-layer", "Layer by layer", "CKA estimator", variants)
    return Section(
        "layers",
        "What training has learned and forgotten, job by job",
        _WORDS,
        paper="Figures 1, 2, 6 and 15 of Merlin et al. 2023 are of this kind",
        plots=[plot],
    )


def _panel(jobs: Sequence[Measured], metric: str, estimator: str) -> Panel:
    depths, lines = {job.depth for job in jobs}, []
    for job, look in zip(jobs, _looks(len(jobs)), strict=True):
        model, epoch = _last(job)
        place = {"model": model, "epoch": epoch}
        curve = metric_curve(job.results, metric, estimator=estimator, **place)
        doubtful = doubtful_points(job.results, metric, curve, **place)
        line = line_of(curve, _named(job), look[0], symbol=look[1], doubtful=doubtful)
        lines.append(line if len(depths) == 1 else _relative(line, job.depth))
    return Panel(TITLES[metric], LAYER if len(depths) == 1 else _RELATIVE, _quantity(metric), lines)


def _relative(line: Line, depth: int) -> Line:
    return replace(line, x=[layer and round(layer / depth, 3) for layer in line.x])


def _over_epochs(jobs: Sequence[Measured]) -> Iterator[Section]:
    """None where no job has several epochs."""
    if not any(len(epochs_of(job.results, _last(job)[0])) > 1 for job in jobs):
        return
    layers = sorted({
        layer
        for job in jobs
        for layer in metric_curves(
            job.results, "forgetting", model=_last(job)[0], estimator="unbiased"
        ).layers
    })  # fmt: skip
    variants = []
    for estimator in ESTIMATORS:
        found = {metric: [_curves(job, metric, estimator) for job in jobs] for metric in TITLES}
        variants += [
            Variant(
                f"{_MEAN if layer is None else f'layer {layer}'}, {estimator} CKA",
                [_epochs_panel(jobs, metric, curves, layer) for metric, curves in found.items()],
            )
            for layer in (None, *layers)
        ]
    plot = Plot("jobs-over-epochs", "Epoch by epoch", "Layer", variants)
    yield Section("epochs", "How it came about, epoch by epoch", _EPOCH_WORDS, plots=[plot])


def _curves(job: Measured, metric: str, estimator: str) -> Curves:
    return metric_curves(job.results, metric, model=_last(job)[0], estimator=estimator)


def _epochs_panel(
    jobs: Sequence[Measured], metric: str, every: Sequence[Curves], layer: int | None
) -> Panel:
    lines = []
    for job, curves, look in zip(jobs, every, _looks(len(jobs)), strict=True):
        model = _last(job)[0]
        epochs = epochs_of(job.results, model)
        doubts = doubts_over_epochs(job.results, metric, model, curves.layers)
        if layer is None:
            line = Line(
                job.name,
                look[0],
                epochs,
                decimals(_mean(curves.mean)),
                symbol=look[1],
                doubtful=[any(of_epoch) for of_epoch in zip(*doubts, strict=True)],
            )
        elif layer in curves.layers:
            at = curves.layers.index(layer)
            line = Line(
                job.name,
                look[0],
                epochs,
                decimals(curves.mean[:, at]),
                std=decimals(curves.std[:, at]),
                seeds=counts(curves.seeds[:, at]),
                symbol=look[1],
                doubtful=doubts[at],
            )
        else:
            continue
        lines.append(line)
    return Panel(TITLES[metric], "epoch", _quantity(metric), lines)


def _mean(values: Numbers) -> Numbers:
    """Over the layers of each epoch; NaN where one is missing: a mean of fewer is of another."""
    return values.mean(axis=1) if values.size else np.full(len(values), np.nan)


def _quantity(metric: str) -> str:
    return DIFFERENCE if metric != "cka_divergence" else "difference of CKA"


def _last(job: Measured) -> tuple[str, int]:
    return next(iter(last_epochs(job.results).items()))


def _named(job: Measured) -> str:
    model, epoch = _last(job)
    other = "" if model == FINETUNED else f" ({style.MODEL_NAMES[model]})"
    return f"{job.name}, epoch {epoch}{other}"


def _looks(count: int) -> list[tuple[Colour, str]]:
    """Colours that can be told apart while there are, and else from dark to light in order."""
    colours = list(LINE_COLOURS) if count <= len(LINE_COLOURS) else layer_colours(count)
    return [(colours[place], SYMBOLS[place % len(SYMBOLS)]) for place in range(count)]


def _samples(jobs: Sequence[Measured], estimator: str) -> Iterator[str]:
    """Of what images and seeds the jobs are: notes that are alike once."""
    named: dict[str, list[str]] = {}
    for job in jobs:
        model, epoch = _last(job)
        place = {"model": model, "epoch": epoch, "estimator": estimator}
        note = sample_note(job.results, [metric_curve(job.results, "forgetting", **place)])
        named.setdefault(note, []).append(job.name)
    for note, names in named.items():
        yield note if len(named) == 1 else f"{', '.join(names)}: {note}"
