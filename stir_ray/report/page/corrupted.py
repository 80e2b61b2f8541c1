"""How well models recognise corrupted images: over the epochs, or of a single one by severity."""

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from stir_ray.plan.checkpoints import FINETUNED, FROM_SCRATCH
from stir_ray.report import style
from stir_ray.report.page.plots import (
    SYMBOLS,
    Line,
    Panel,
    Plot,
    Section,
    Variant,
    model_look,
    severity_colours,
)
from stir_ray.report.page.values import decimals
from stir_ray.report.readings import Numbers

_WORDS = (
    (
        "Accuracy on held-out images (of a reconstruction its error), as they are, severity 0, and "
        "corrupted (noise, blur, weather) at severities from 1, mild, to 5. A robust model loses "
        "little as severity grows."
    ),
)


def corrupted_section(tested: pd.DataFrame | None, *, but: Collection[str]) -> Section | None:
    """Accuracy on corrupted images of the models that are shown nowhere else.

    Args:
        tested: the table `robustness`; None where the job asks for none.
        but: models whose accuracy stands beside what happened to them over the epochs.

    Returns:
        None where there is no such model.
    """
    models = (one for one in (FINETUNED, FROM_SCRATCH) if one not in but)
    plots = [plot for model in models for plot in corrupted_plots(tested, model)]
    if not plots:
        return None
    return Section("corrupted", "How corrupted images are recognised", _WORDS, plots=plots)


def corrupted_plots(tested: pd.DataFrame | None, model: str) -> Iterator[Plot]:
    """A plot of a tested model: over its epochs, or over severities where there is one epoch."""
    rows = tested[tested["model"] == model] if tested is not None else pd.DataFrame()
    if rows.empty:
        return
    id_, name = f"corrupted-{model}", style.MODEL_NAMES[model]
    if len(set(rows["epoch"])) > 1:
        title = f"The {name} model on clean and corrupted images"
        yield Plot(id_, title, "", [Variant("", [_over_epochs(rows)], _sample_of(rows))])
    else:
        title = f"{style.model_at(model, int(rows['epoch'].iloc[0])).capitalize()}, by severity"
        yield Plot(id_, title, "Corruption", list(_by_severity(rows, model)))


def _values(rows: pd.DataFrame) -> tuple[pd.Series, str]:
    """Accuracy in percent, or else the loss, and what it is."""
    if rows["accuracy"].notna().any():
        return 100 * rows["accuracy"], "accuracy (%)"
    return rows["loss"], "L1 per pixel (a reconstruction has no accuracy)"


def _over_epochs(rows: pd.DataFrame) -> Panel:
    values, y = _values(rows)
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
    return Panel("Mean of the corruptions", "epoch", y, lines, rules=())


def _by_severity(rows: pd.DataFrame, model: str) -> Iterator[Variant]:
    """The mean of all corruptions between the worst and the best of them, then each by itself."""
    values, y = _values(rows)
    clean, note = rows["severity"] == 0, _sample_of(rows)
    kinds = sorted(str(one) for one in rows.loc[~clean, "corruption"].unique())

    def variant(name: str, line: Line) -> Variant:
        return Variant(name, [Panel("", "severity (0: clean images)", y, [line], rules=())], note)

    if len(kinds) > 1:
        band = "mean; band: from the lowest to the highest"
        yield variant("mean of all", _line(band, values, rows, model, has_band=True))
    for kind in kinds:
        of = clean | (rows["corruption"] == kind)
        yield variant(_said(kind), _line(_said(kind), values[of], rows[of], model))


def _line(
    name: str, values: pd.Series, rows: pd.DataFrame, model: str, *, has_band: bool = False
) -> Line:
    of_severity = values.groupby(rows["severity"])
    low, mean, high = (
        decimals(found.sort_index().to_numpy(dtype=np.float64))
        for found in (of_severity.min(), of_severity.mean(), of_severity.max())
    )
    severities = sorted(int(one) for one in rows["severity"].unique())
    band = {"low": low, "high": high} if has_band else {}
    return Line(name, x=severities, y=mean, **band, **model_look(model))


def _sample_of(rows: pd.DataFrame) -> str:
    corrupted = rows[rows["severity"] > 0]
    kinds = sorted(_said(str(one)) for one in corrupted["corruption"].unique())
    sources = sorted(str(one) for one in corrupted["source"].unique())
    named = f"{len(kinds)} corruptions: {', '.join(kinds)}" if kinds else "no corruption"
    return f"{int(rows['images'].max())} held-out images; {named} ({', '.join(sources)})."


def _said(corruption: str) -> str:
    return corruption.replace("_", " ")
