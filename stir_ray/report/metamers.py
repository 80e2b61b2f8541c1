"""How many inverted images are metamers of their originals, and by which criterion."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stir_ray.plan.checkpoints import PRETRAINED
from stir_ray.report import style
from stir_ray.report.curves import draw_curve
from stir_ray.report.further import curve_over_layers, last_epochs_with, rows_at
from stir_ray.report.readings import Curve, compared_models, deepest, own_layers, sample_note

CRITERIA: Mapping[str, tuple[str, str]] = {
    "pearson": ("Pearson correlation", "correlation, −1 to 1"),
    "spearman": ("Spearman rank correlation", "correlation, −1 to 1"),
    "snr_db": ("Signal-to-noise ratio", "dB"),
}
"""Names of the columns; what they are in words, and on which axis."""
BEST_OF_OTHERS = "best of all pairs of different images"


@dataclass(frozen=True)
class Inverted:
    """A model whose own layers were inverted and held against other images.

    Attributes:
        model: pretrained, or a compared one.
        label: of its line.
        layers: that it has.
        rows: of the table `metamer_counts`.
    """

    model: str
    label: str
    layers: list[int]
    rows: pd.DataFrame

    @property
    def share(self) -> Curve:
        """Percentage of the images that are metamers."""
        share = 100 * self.rows["metamers"] / self.rows["images"]
        return curve_over_layers(self.rows.assign(share=share), "share", self.layers)

    def median(self, criterion: str) -> Curve:
        """Over images."""
        return curve_over_layers(self.rows, f"{criterion}_median", self.layers)

    def null(self, criterion: str) -> Curve:
        """What a median must exceed: of no seed."""
        found = curve_over_layers(self.rows, f"null_{criterion}", self.layers)
        return Curve(found.layers, found.mean, np.full_like(found.mean, np.nan), 0)


def inverted_models(results: xr.Dataset, counts: pd.DataFrame) -> list[Inverted]:
    """The pretrained model, and each compared one after its last epoch with a count."""
    found = []
    of_pretrained = rows_at(counts, model=PRETRAINED)
    if not of_pretrained.empty:
        name, layers = style.MODEL_NAMES[PRETRAINED], own_layers(
            results, compared_models(results)[0], "pt"
        )  # fmt: skip
        found.append(Inverted(PRETRAINED, name, layers, of_pretrained))
    for model, epoch in last_epochs_with(counts, results).items():
        rows, layers = rows_at(counts, model=model, epoch=epoch), own_layers(results, model, "ft")
        found.append(Inverted(model, style.model_at(model, epoch), layers, rows))
    return found


@style.paper
def metamers_figure(results: xr.Dataset, counts: pd.DataFrame) -> Figure:
    """Share of images that pass all criteria by inverted layer, and the criteria one by one.

    Args:
        results: of a job.
        counts: the table `metamer_counts`, with a row.
    """
    figure = Figure(figsize=(style.PAGE, 4.6), layout="constrained")
    style.title(figure, "How many inverted images their own layer takes for the original")
    (passed, *criteria) = figure.subplots(2, 2).flat
    models = inverted_models(results, counts)
    curves = [one.share for one in models]
    for one, curve in zip(models, curves, strict=True):
        draw_curve(passed, curve, label=one.label, **style.model_line(one.model))
    passed.set_title("Metamers: images that pass all three criteria")
    passed.set_ylabel("images (%)")
    passed.set_ylim(-3, 103)
    for axes, (criterion, (name, unit)) in zip(criteria, CRITERIA.items(), strict=True):
        _criterion(axes, models, criterion)
        axes.set_title(f"{name}: median of the images")
        axes.set_ylabel(unit)
    for axes in (passed, *criteria):
        style.by_layer(axes, deepest(curves), name="inverted layer")
    handles, labels = passed.get_legend_handles_labels()
    null = Line2D([], [], color="#777777", **_NULL)
    note = sample_note(results, curves)
    style.legend_of(figure, [*handles, null], [*labels, BEST_OF_OTHERS], note=note)
    return figure


_NULL = {"linestyle": ":", "linewidth": 1.0}


def _criterion(axes: Axes, models: list[Inverted], criterion: str) -> None:
    for one in models:
        median = one.median(criterion)
        draw_curve(axes, median, label=one.label, **style.model_line(one.model))
        null = one.null(criterion)
        axes.plot(null.layers, null.mean, color=style.MODEL_COLOURS[one.model], **_NULL)
