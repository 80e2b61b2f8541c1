"""Accuracy on corrupted images over the epochs."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stir_ray.plan.checkpoints import FINETUNED, FROM_SCRATCH
from stir_ray.report import style


@style.paper
def robustness_figure(tested: pd.DataFrame) -> Figure:
    """Accuracy by epoch, clean and at each severity, mean over corruptions (Fig. 10 of the paper).

    A reconstruction, which has no accuracy, is drawn by its loss.

    Args:
        tested: the table `robustness`, with a row of a finetuned or from-scratch model.
    """
    models = [name for name in (FINETUNED, FROM_SCRATCH) if (tested["model"] == name).any()]
    width = style.COLUMN if len(models) == 1 else style.PAGE
    figure = Figure(figsize=(width, 3.1), layout="constrained")
    style.title(figure, "How corrupted images are recognised, epoch by epoch")
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, model in zip(panels, models, strict=True):
        of_model = tested[tested["model"] == model]
        _by_severity(axes, of_model)
        axes.set_title(f"{style.MODEL_NAMES[model].capitalize()} model")
        style.by_epoch(axes, sorted(of_model["epoch"].unique()))
    _same_range([axes for axes in panels if axes.get_ylabel() == panels[0].get_ylabel()])
    style.legend_below(
        figure, panels[:1], note=_note(tested[tested["model"].isin(models)]), ncols=6
    )
    return figure


def _by_severity(axes: Axes, of_model: pd.DataFrame) -> None:
    has_accuracy = of_model["accuracy"].notna().any()
    values = 100 * of_model["accuracy"] if has_accuracy else of_model["loss"]
    by_epoch = values.groupby([of_model["severity"], of_model["epoch"]]).mean()
    severities = sorted(of_model["severity"].unique())
    colours = style.severity_colours()
    marks = style.epoch_marks(of_model["epoch"].nunique())
    for severity in severities:
        mean = by_epoch[severity].sort_index()
        label = f"severity {severity}" if severity else "clean"
        axes.plot(mean.index, mean.to_numpy(), label=label, color=colours[severity], **marks)
    axes.set_ylabel("accuracy (%)" if has_accuracy else "L1 per pixel")


def _same_range(panels: Sequence[Axes]) -> None:
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)


def _note(tested: pd.DataFrame) -> str:
    """Of how many images and corruptions the curves are, and where the images come from."""
    corrupted = tested[tested["severity"] > 0]
    fewest, most = tested["images"].min(), tested["images"].max()
    images = f"{most}" if fewest == most else f"{fewest} to {most}"
    count, source = corrupted["corruption"].nunique(), corrupted["source"].iloc[0]
    kinds = f"mean of {count} corruptions" if count > 1 else corrupted["corruption"].iloc[0]
    return f"{images} held-out images; {kinds.replace('_', ' ')}, {source}."
