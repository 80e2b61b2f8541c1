"""The section of what happened over the epochs: to the layers, and to the accuracy."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.report import style
from stir_ray.report.over_epochs import doubtful_layers, metric_curves
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
from stir_ray.report.readings import Numbers, accuracy, compared_models, epochs_of
from stir_ray.stages.matrices import ESTIMATORS

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
    models = [one for one in compared_models(results) if len(epochs_of(results, one)) > 1]
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


def _panel(results: xr.Dataset, metric: str, model: str, estimator: str) -> Panel:
    found = metric_curves(results, metric, model=model, estimator=estimator)
    epochs, colours = epochs_of(results, model), layer_colours(len(found.layers))
    doubts = doubts_over_epochs(results, metric, model, found.layers)
    lines = [
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
    rows = tested[tested["model"] == model] if tested is not None else pd.DataFrame()
    name = style.MODEL_NAMES[model]
    if not rows.empty:
        title = f"The {name} model on clean and corrupted images"
        yield Plot(f"corrupted-{model}", title, "", [Variant("", [_corrupted(rows)], _of(rows))])
        return
    epochs, fractions = accuracy(results, model)
    if epochs:
        line = Line("clean held-out images", _CLEAN, epochs, decimals(100 * fractions))
        panel = Panel("Accuracy", "epoch", "accuracy (%)", [line], rules=())
        yield Plot(
            f"accuracy-{model}",
            f"The {name} model on clean images",
            "",
            [Variant("", [panel], "Accuracy on corrupted images was not asked for.")],
        )


_CLEAN = severity_colours()[0]


def _corrupted(rows: pd.DataFrame) -> Panel:
    has_accuracy = bool(rows["accuracy"].notna().any())
    values = 100 * rows["accuracy"] if has_accuracy else rows["loss"]
    by_epoch = values.groupby([rows["severity"], rows["epoch"]]).mean()
    colours = severity_colours()
    lines = []
    for severity in sorted(int(one) for one in rows["severity"].unique()):
        mean: pd.Series = by_epoch[severity].sort_index()
        found: Numbers = mean.to_numpy(dtype=np.float64)
        lines.append(
            Line(
                f"severity {severity}" if severity else "clean",
                colours[severity],
                [int(epoch) for epoch in mean.index],
                decimals(found),
                symbol=SYMBOLS[severity],
            )
        )
    y = "accuracy (%)" if has_accuracy else "L1 per pixel (a reconstruction has no accuracy)"
    return Panel("Mean of the corruptions", "epoch", y, lines, rules=())


def _of(rows: pd.DataFrame) -> str:
    corrupted = rows[rows["severity"] > 0]
    kinds = sorted(str(one).replace("_", " ") for one in corrupted["corruption"].unique())
    sources = sorted(str(one) for one in corrupted["source"].unique())
    named = f"{len(kinds)} corruptions: {', '.join(kinds)}" if kinds else "no corruption"
    return f"{int(rows['images'].max())} held-out images; {named} ({', '.join(sources)})."
