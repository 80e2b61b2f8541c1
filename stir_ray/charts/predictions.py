"""How many predictions stay the same when inverted images replace the originals."""

from typing import Any

import pandas as pd
import xarray as xr

from stir_ray.charts.blocks import INVERTED_LAYER, Chart, Rows, Words, layer_rows
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.optional_tables import last_epochs_in, rows_at, table_values
from stir_ray.charts.readings import sample_note
from stir_ray.charts.style import DASHED, DOTTED, GREY, MODELS, PRETRAINED, Look, model_at

_START = "start of the inversion"


def predictions(results: xr.Dataset, unchanged: pd.DataFrame) -> Chart:
    """Draw the share of unchanged predictions by inverted layer, a panel per model that predicts.

    Args:
        results: as `stir_ray.open_results` gives them.
        unchanged: the table `unchanged_predictions` of the same job.
    """
    panels: dict[str, Rows] = {}
    looks, curves = {}, []
    for compared, epoch in last_epochs_in(unchanged, results):
        labels = {"pt": PRETRAINED, "ft": model_at(compared.model, epoch, results)}
        for direction in ("pt|pt", "pt|ft", "ft|pt", "ft|ft"):
            target, side = direction.split("|")
            rows = rows_at(unchanged, model=compared.model, epoch=epoch, direction=direction)
            panel, line = panels.setdefault(labels[target], []), f"inverted from {labels[side]}"
            # What the pretrained model predicts of its own is the same beside every compared one.
            if rows.empty or any(row["line"] == line for row in panel):
                continue
            look = MODELS[PRETRAINED if side == "pt" else compared.model]
            chance = f"chance, {labels[side]}"
            looks |= {line: look, chance: Look(look.colour, "cross", DOTTED)}
            unconverged = compared.unconverged(side)[epoch]
            shown = {line: "unchanged", chance: "chance_unchanged"}
            if not any(row["line"] == _START for row in panel):
                shown[_START] = "noise_unchanged"
            for name, column in shown.items():
                share = rows.assign(share=100 * rows[column])
                selection: dict[str, Any] = {"epochs": [epoch], "layers": compared.layers(side)}
                curves.append(table_values(share, "share", **selection))
                panel += layer_rows(
                    curves[-1], name, unconverged=unconverged if name == line else None
                )
    note = f"{sample_note(results, curves)} Chance: if both predictions were independent."
    looks[_START] = Look(GREY, "diamond", DASHED)
    words = Words("Predictions that inverted images leave unchanged", note, looks)
    return line_chart(
        words,
        [Panel(f"Predicted by: {target}", "unchanged (%)", INVERTED_LAYER, rows, (), (0, 100))
         for target, rows in panels.items() if rows],
        shared_y=True, columns=min(3, len(panels)),
    )  # fmt: skip
