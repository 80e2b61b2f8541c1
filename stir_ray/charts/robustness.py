"""Accuracy on clean and corrupted images: over the epochs, or by severity of a single epoch."""

import pandas as pd

from stir_ray.charts.blocks import EPOCH, Chart, Rows, Words, curve_rows
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.style import (
    FINETUNED,
    FROM_SCRATCH,
    SEVERITIES,
    SHAPES,
    Look,
    line_looks,
    model_name,
)

_MEAN = "mean of the corruptions"


def severity_looks(severities: list[int]) -> dict[str, Look]:
    """Return the look of each severity's line, from light to dark; black for clean images."""
    return {severity_name(n): Look(SEVERITIES[n], SHAPES[n]) for n in severities}


def severity_name(severity: int) -> str:
    """Return what a severity is called."""
    return f"severity {severity}" if severity else "clean"


def robustness(table: pd.DataFrame, *, model: str) -> Chart:
    """Draw accuracy by epoch and severity, or by severity and corruption of a single epoch.

    A reconstruction, which has no accuracy, is drawn by its loss.

    Args:
        table: `robustness` of a job.
        model: `finetuned` or `from_scratch`.

    Figure 10 of Merlin et al. 2023.
    """
    rows = table[table["model"] == model]
    has_accuracy = bool(rows["accuracy"].notna().any())
    y = "accuracy (%)" if has_accuracy else "L1 per pixel"
    values = rows.assign(value=100 * rows["accuracy"] if has_accuracy else rows["loss"])
    name = model_name(model)
    if len(set(values["epoch"])) > 1:
        looks = severity_looks(sorted(int(n) for n in values["severity"].unique()))
        lines: Rows = []
        for severity, of_severity in values.groupby("severity"):
            mean = of_severity.groupby("epoch")["value"].mean()
            lines += curve_rows(mean.index, mean, severity_name(int(str(severity))))
        panel = Panel(_MEAN.capitalize(), y, EPOCH, lines, ())
        title = f"How the {name} model recognises corrupted images, epoch by epoch"
        return line_chart(Words(title, _note(values), looks), [panel])
    of_all = values.groupby("severity")["value"]
    lines = curve_rows(
        of_all.mean().index, of_all.mean(), _MEAN, low=of_all.min(), high=of_all.max()
    )
    kinds = sorted(values.loc[values["severity"] > 0, "corruption"].unique())
    for kind in kinds:
        of_kind = values[values["corruption"].isin([kind, "clean"])].groupby("severity")["value"]
        lines += curve_rows(of_kind.mean().index, of_kind.mean(), kind.replace("_", " "))
    looks = {_MEAN: Look("#000000", "square"), **line_looks([k.replace("_", " ") for k in kinds])}
    panel = Panel(f"Epoch {values['epoch'].iloc[0]}", y, "severity (0: clean)", lines, ())
    title = f"How the {name} model recognises corrupted images"
    note = f"{_note(values)} Band: from the lowest to the highest corruption."
    return line_chart(Words(title, note, looks), [panel])


def tested_models(table: pd.DataFrame | None) -> list[str]:
    """Return the models of a table that were tested, but the pretrained one."""
    if table is None:
        return []
    return [model for model in (FINETUNED, FROM_SCRATCH) if (table["model"] == model).any()]


def _note(rows: pd.DataFrame) -> str:
    corrupted = rows[rows["severity"] > 0]
    kinds = sorted(str(kind).replace("_", " ") for kind in corrupted["corruption"].unique())
    sources = ", ".join(sorted(str(source) for source in corrupted["source"].unique()))
    fewest, most = rows["images"].min(), rows["images"].max()
    images = f"{most}" if fewest == most else f"{fewest} to {most}"
    many = "corruption" if len(kinds) == 1 else "corruptions"
    return f"{images} test images; {len(kinds)} {many}: {', '.join(kinds)} ({sources})."
