"""How many inverted images are metamers of their originals, and by which criterion."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.charts.blocks import INVERTED_LAYER, Chart, Rows, Words, layer_rows
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.optional_tables import last_epochs_in, rows_at, table_values
from stir_ray.charts.readings import compared_model, sample_note
from stir_ray.charts.style import DOTTED, MODELS, PRETRAINED, Look, model_at

_CRITERIA = {
    "pearson": ("Pearson correlation", "correlation"),
    "spearman": ("Spearman rank correlation", "correlation"),
    "snr_db": ("Signal-to-noise ratio", "dB"),
}


def metamers(results: xr.Dataset, counts: pd.DataFrame) -> Chart:
    """Draw the share of images that pass all criteria by inverted layer, and each criterion.

    Args:
        results: as `stir_ray.open_results` gives them.
        counts: the table `metamer_counts` of the same job.
    """
    shares: Rows = []
    criteria: dict[str, Rows] = {name: [] for name in _CRITERIA}
    looks, curves, nulls = {}, [], {}
    for model, label, epoch, layers in _models(results, counts):
        looks[label], null = MODELS[model], f"{label}: best of different images"
        nulls[null] = Look(MODELS[model].colour, "cross", DOTTED)
        rows = rows_at(counts, model=model, epoch=epoch)
        rows = rows.assign(share=100 * rows["metamers"] / rows["images"])
        selection: dict[str, Any] = {"epochs": [epoch], "layers": layers}
        curves.append(table_values(rows, "share", **selection))
        shares += layer_rows(curves[-1], label)
        for name in criteria:
            criteria[name] += layer_rows(table_values(rows, f"{name}_median", **selection), label)
            level = table_values(rows, f"null_{name}", has_seeds=False, **selection)
            criteria[name] += layer_rows(level, null)
    panels = [Panel("Metamers: pass all three criteria", "images (%)", INVERTED_LAYER, shares, (),
                    (0, 100))]  # fmt: skip
    for name, (title, unit) in _CRITERIA.items():
        panels.append(Panel(f"{title}: median", unit, INVERTED_LAYER, criteria[name], ()))
    note = f"{sample_note(results, curves)} Dotted: the best of all pairs of different images."
    words = Words("Metamers: inverted images that pass for the originals", note, looks | nulls)
    return line_chart(words, panels, columns=2)


def _models(results: xr.Dataset, counts: pd.DataFrame) -> list[tuple[str, str, int, list[int]]]:
    models = []
    pretrained = rows_at(counts, model=PRETRAINED)
    if not pretrained.empty:
        epoch = int(np.max(pretrained["epoch"]))
        models.append((PRETRAINED, PRETRAINED, epoch, compared_model(results).layers("pt")))
    for compared, epoch in last_epochs_in(counts, results):
        models.append(
            (compared.model, model_at(compared.model, epoch, results), epoch, compared.layers("ft"))
        )
    return models
