"""What other similarities than linear CKA say of the same views: over layers and over epochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stir_ray.numerics.similarity_measures import Similarity, SimilarityMeasure
from stir_ray.plan.checkpoints import PRETRAINED
from stir_ray.report import style
from stir_ray.report.curves import draw_chance, draw_curve, layer_bar, lines_by_layer
from stir_ray.report.further import rows_at
from stir_ray.report.over_epochs import Curves, score_curves
from stir_ray.report.readings import Curve, Numbers, deepest, epochs_of, layers_of_both, sample_note
from stir_ray.results.metric_info import ESTIMATORS

_NAMES = {Similarity.RBF_CKA: "RBF CKA", Similarity.PROCRUSTES: "Procrustes"}
_OF_LINEAR = {"similarity": "cka"}
"""How the table `results` calls what is called otherwise there."""
_PANELS_ACROSS = 3


@dataclass(frozen=True)
class ByMeasure:
    """One compared model by one measure, at every epoch.

    Attributes:
        name: of the measure.
        results: of the job.
        model: the compared one.
        rows: of the table `other_similarities`; None for linear CKA, which the results have.
    """

    name: str
    results: xr.Dataset
    model: str
    rows: pd.DataFrame | None = None

    def title(self, estimator: str) -> str:
        """Its name, and whether it is not by that estimator."""
        return f"{self.name} (no {estimator} form)" if self._lacks(estimator) else self.name

    def suffix(self, estimator: str) -> str:
        """How columns by the estimator end; those of the measure as it is if it has none."""
        return "" if self._lacks(estimator) else ESTIMATORS[estimator]

    def _lacks(self, estimator: str) -> bool:
        is_unbiased = self.rows is None or bool(self.rows["stir_unbiased"].notna().any())
        return estimator == "unbiased" and not is_unbiased

    def curves(self, score: str, direction: str, *, suffix: str) -> Curves:
        """A score of equal layers at every epoch, mean over seeds.

        Args:
            score: `stir`, `similarity`, `noise_stir` or `chance_stir`.
            direction: target|reference.
            suffix: `_unbiased`, or nothing; of chance also `_q95` behind it.
        """
        place = {"model": self.model, "direction": direction}
        if self.rows is None:
            column = f"{_OF_LINEAR.get(score, score)}{suffix}"
            return score_curves(self.results, column, **place)
        layers = layers_of_both(self.results, self.model, direction)
        epochs = epochs_of(self.results, self.model)
        found = _over_seeds(rows_at(self.rows, **place), f"{score}{suffix}", epochs, layers)
        if score != "similarity":
            return found
        # Of the images alone: nothing varies with the seed of an inversion.
        std, seeds = np.full_like(found.std, np.nan), np.zeros_like(found.seeds)
        return Curves(layers, found.mean, std, seeds)

    def curve(self, score: str, direction: str, *, epoch: int, suffix: str) -> Curve:
        """The same at one epoch."""
        found = self.curves(score, direction, suffix=suffix)
        place = epochs_of(self.results, self.model).index(epoch)
        seeds = int(found.seeds[place].max(initial=0))
        return Curve(found.layers, found.mean[place], found.std[place], seeds)

    def chance(self, *, epoch: int, suffix: str) -> tuple[Curve, Curve]:
        """STIR by chance at one epoch: its mean and its 95 % level."""
        mean, highest = (
            self.curve("chance_stir", "ft|pt", epoch=epoch, suffix=f"{suffix}{level}")
            for level in ("", "_q95")
        )
        return mean, highest


def _over_seeds(rows: pd.DataFrame, column: str, epochs: list[int], layers: list[int]) -> Curves:
    same = rows[rows["reference_layer"] == rows["target_layer"]]
    by_place = same.groupby(["epoch", "reference_layer"])[column]

    def array(found: pd.Series) -> Numbers:
        by_epoch = pd.DataFrame(found.unstack())  # noqa: PD010 - no column is left to pivot
        return np.asarray(by_epoch.reindex(index=epochs, columns=layers), dtype=np.float64)

    seeds = np.nan_to_num(array(by_place.count()))
    return Curves(layers, array(by_place.mean()), array(by_place.std()), seeds)


def measured(results: xr.Dataset, similarities: pd.DataFrame, model: str) -> list[ByMeasure]:
    """A compared model by linear CKA, and by every other measure that there is of it.

    Args:
        results: of a job.
        similarities: the table `other_similarities`.
        model: with a row in it.
    """
    of_model = rows_at(similarities, model=model)
    others = of_model[["measure", "bandwidth"]].drop_duplicates().to_dict("records")
    return [ByMeasure("linear CKA", results, model)] + [
        ByMeasure(
            _name(SimilarityMeasure(Similarity(one["measure"]), one["bandwidth"])),
            results,
            model,
            rows_at(of_model, measure=one["measure"], bandwidth=one["bandwidth"]),
        )
        for one in others
    ]


def _name(measure: SimilarityMeasure) -> str:
    bandwidth = f", bandwidth {measure.bandwidth:g}" if measure.bandwidth else ""
    return f"{_NAMES[measure.similarity]}{bandwidth}"


def quantities(model: str) -> Mapping[str, tuple[str, str]]:
    """What a measure says of a compared model but chance: name in words, score and direction."""
    name = style.MODEL_NAMES[model]
    return {
        "self-STIR": ("stir", "pt|pt"),
        f"STIR({name} | pretrained)": ("stir", "ft|pt"),
        "similarity of the images themselves": ("similarity", "ft|pt"),
        "STIR of the start": ("noise_stir", "ft|pt"),
    }


@style.paper
def by_measure_figure(
    results: xr.Dataset,
    similarities: pd.DataFrame,
    *,
    model: str,
    epoch: int,
    estimator: str = "unbiased",
) -> Figure:
    """STIR by each measure between self-STIR and chance, by layer; a panel per measure."""
    every = measured(results, similarities, model)
    across = 2 if len(every) == 4 else min(len(every), _PANELS_ACROSS)
    down = -(-len(every) // across)
    figure = Figure(figsize=(style.PAGE, 1.0 + 2.0 * down), layout="constrained")
    style.title(figure, f"STIR and similarity by other measures: {style.model_at(model, epoch)}")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    panels, unused = grid.flat[: len(every)], grid.flat[len(every) :]
    curves = []
    for axes, one in zip(panels, every, strict=True):
        axes.set_title(one.title(estimator))
        curves += _lines(axes, one, epoch, one.suffix(estimator))
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in unused:
        axes.remove()
    for axes in panels:
        style.by_layer(axes, deepest(curves))
        style.zero_line(axes)
    for row in grid:
        row[0].set_ylabel(f"STIR, or similarity\n({estimator} CKA, 1 is full agreement)")
    style.legend_below(figure, panels, note=sample_note(results, curves), ncols=3)
    return figure


def _lines(axes: Axes, one: ByMeasure, epoch: int, suffix: str) -> list[Curve]:
    curves = []
    looks = (style.model_line(PRETRAINED), style.model_line(one.model), _IMAGES, _START)
    for (label, (score, direction)), look in zip(quantities(one.model).items(), looks, strict=True):
        curve = one.curve(score, direction, epoch=epoch, suffix=suffix)
        # A grey start is the same for all images, and its STIR undefined: it is no gap.
        if score != "noise_stir" or np.isfinite(curve.mean).any():
            draw_curve(axes, curve, label=label, **look)
            curves.append(curve)
    chance = one.chance(epoch=epoch, suffix=suffix)
    draw_chance(axes, *chance)
    return [*curves, *chance]


_IMAGES: dict[str, Any] = {"color": "#CC79A7", "marker": "D", "linestyle": "--"}
_START: dict[str, Any] = {"color": "#777777", "marker": "x", "linestyle": "--"}


@style.paper
def measures_over_epochs_figure(
    results: xr.Dataset, similarities: pd.DataFrame, *, model: str, estimator: str = "unbiased"
) -> Figure:
    """STIR and similarity by each measure over the epochs, a line per layer."""
    every, name = measured(results, similarities, model), style.MODEL_NAMES[model]
    epochs, shown = epochs_of(results, model), list(quantities(model).items())[1:3]
    figure = Figure(figsize=(style.PAGE, 1.0 + 1.7 * len(every)), layout="constrained")
    style.title(figure, f"Other measures ({estimator} CKA) while the {name} model is trained")
    grid = figure.subplots(len(every), 2, sharex=True, sharey="row")
    curves = []
    for row, one in zip(grid, every, strict=True):
        row[0].set_ylabel(f"{one.title(estimator)}\n(1 is full agreement)")
        for axes, (quantity, (score, direction)) in zip(row, shown, strict=True):
            found = one.curves(score, direction, suffix=one.suffix(estimator))
            lines_by_layer(axes, epochs, found.mean)
            axes.set_title(quantity if one is every[0] else "")
            seeds = int(found.seeds.max(initial=0))
            curves += [Curve(found.layers, mean, mean, seeds) for mean in found.mean]
    for axes in grid[-1]:
        style.by_epoch(axes, epochs)
    layer_bar(figure, grid.ravel().tolist(), deepest(curves))
    style.note_below(figure, sample_note(results, curves, has_band=False))
    return figure
