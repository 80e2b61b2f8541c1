"""The section of what happened over the epochs: to the layers, and to the accuracy."""

from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from stir_ray.report import style
from stir_ray.report.over_epochs import Curves, doubtful_layers, metric_curves
from stir_ray.report.page.corrupted import corrupted_plots
from stir_ray.report.page.layers import SIDES, TITLES
from stir_ray.report.page.plots import (
    SYMBOLS,
    Line,
    Panel,
    Plot,
    Section,
    Variant,
    layer_colours,
    severity_colours,
)
from stir_ray.report.page.values import counts, decimals
from stir_ray.report.readings import accuracy, compared_models, epochs_of
from stir_ray.results.metric_info import ESTIMATORS

_WORDS = (
    (
        "One line per layer, from shallow (dark or early in the list) to deep. What happens in the "
        "first epochs and what after them need not be the same thing."
    ),
)
_TESTED_WORDS = (
    (
        "Below: accuracy on held-out images after each epoch (of a reconstruction its error), as "
        "they are and corrupted (noise, blur, weather) at severities from 1, mild, to 5."
    ),
)


def over_epochs(results: xr.Dataset, tested: pd.DataFrame | None) -> Section | None:
    """What happened to each layer, and to accuracy; None where no model has several epochs.

    Args:
        results: of a job.
        tested: the table `robustness`; None where the job asks for none.
    """
    models = models_over_epochs(results)
    if not models:
        return None
    plots = [_of_model(results, model) for model in models]
    for model in models:
        plots += _accuracies(results, tested, model)
    has_corrupted = any(plot.id.startswith("corrupted") for plot in plots)
    return Section(
        "epochs",
        "How it came about, epoch by epoch",
        _WORDS + (_TESTED_WORDS if has_corrupted else ()),
        paper="Figure 5" + (" and Figure 10" if has_corrupted else "") + " of Merlin et al. 2023",
        plots=plots,
    )


def models_over_epochs(results: xr.Dataset) -> list[str]:
    """Those that are compared at more than one epoch."""
    return [one for one in compared_models(results) if len(epochs_of(results, one)) > 1]


def _of_model(results: xr.Dataset, model: str) -> Plot:
    variants = [
        Variant(
            estimator,
            [_panel(results, metric, model, estimator) for metric in TITLES],
            "0: as in the pretrained model.",
        )
        for estimator in ESTIMATORS
    ]
    name = style.MODEL_NAMES[model]
    return Plot(f"epochs-{model}", f"The {name} model, layer by layer", "CKA estimator", variants)


def layer_lines(found: Curves, results: xr.Dataset, metric: str, model: str) -> list[Line]:
    """A line over the epochs for each layer; doubtful where the metric of that layer is."""
    epochs, colours = epochs_of(results, model), layer_colours(len(found.layers))
    doubts = doubts_over_epochs(results, metric, model, found.layers)
    return [
        Line(
            f"layer {layer}",
            colours[place],
            epochs,
            decimals(found.mean[:, place]),
            std=decimals(found.std[:, place]),
            seeds=counts(found.seeds[:, place]),
            symbol=SYMBOLS[place % len(SYMBOLS)],
            doubtful=doubts[place],
        )
        for place, layer in enumerate(found.layers)
    ]


def _panel(results: xr.Dataset, metric: str, model: str, estimator: str) -> Panel:
    found = metric_curves(results, metric, model=model, estimator=estimator)
    lines = layer_lines(found, results, metric, model)
    measured = "CKA" if metric == "cka_divergence" else "STIR"
    return Panel(TITLES[metric], "epoch", f"difference of {measured}", lines)


def doubts_over_epochs(
    results: xr.Dataset, metric: str, model: str, layers: Sequence[int]
) -> list[Sequence[bool]]:
    """Of each layer, at which epochs its inversions did not converge; empty if none take part."""
    side = SIDES[metric]
    if side is None:
        return [()] * len(layers)
    known, doubtful = doubtful_layers(results, model=model, side=side)
    return [doubtful[:, known.index(layer)].tolist() if layer in known else () for layer in layers]


def _accuracies(results: xr.Dataset, tested: pd.DataFrame | None, model: str) -> Iterator[Plot]:
    corrupted = list(corrupted_plots(tested, model))
    epochs, fractions = accuracy(results, model)
    if corrupted or not epochs:
        yield from corrupted
        return
    line = Line("clean held-out images", severity_colours()[0], epochs, decimals(100 * fractions))
    panel = Panel("Accuracy", "epoch", "accuracy (%)", [line], rules=())
    note = "Accuracy on corrupted images was not asked for."
    title = f"The {style.MODEL_NAMES[model]} model on clean images"
    yield Plot(f"accuracy-{model}", title, "", [Variant("", [panel], note)])
