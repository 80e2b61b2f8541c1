"""What differs between jobs, and what came of it: a table for a terminal, and as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from rich.table import Table

from stir_ray.charts.readings import OWN, ComparedModel, compared_model
from stir_ray.charts.style import ESTIMATORS
from stir_ray.job import Job
from stir_ray.results.convergence import SELF_STIR
from stir_ray.results.metric_info import CRITERION

_ELSEWHERE = ("name", "lake", "execution", "schema_version")
"""Keys that change no result."""
_UNSAID = "–"


@dataclass(frozen=True)
class Differences:
    """A row per job: its name, the settings that are not the same in all, and what came of it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def csv(self) -> bytes:
        """For a spreadsheet."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue().encode()

    def table(self) -> Table:
        """For a terminal: a column per job, since names of settings are long."""
        table = Table(title="What differs", title_justify="left")
        table.add_column(self.columns[0], overflow="fold")
        for row in self.rows:
            table.add_column(row[0], overflow="fold")
        for place, name in enumerate(self.columns[1:], start=1):
            table.add_row(name, *(row[place] for row in self.rows))
        return table


def differences(jobs: Sequence[tuple[str, Job, xr.Dataset]]) -> Differences:
    """Of jobs by their names, with their results."""
    settings = [dict(_flat(job.model_dump(mode="json"))) for _, job, _ in jobs]
    every = dict.fromkeys(key for one in settings for key in one)
    differing = [key for key in every if len({repr(one.get(key)) for one in settings}) > 1]
    found = [_found(results) for _, _, results in jobs]
    return Differences(
        ("job", *differing, *found[0]),
        tuple(
            (name, *(_said(one.get(key)) for key in differing), *outcome.values())
            for (name, _, _), one, outcome in zip(jobs, settings, found, strict=True)
        ),
    )


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values; lists are values."""
    for key, one in value.items():
        if not above and key in _ELSEWHERE:
            continue
        path = f"{above}{key}"
        if isinstance(one, Mapping) and one:
            yield from _flat(one, f"{path}.")
        elif one is not None:
            yield path, one


def _said(value: Any) -> str:
    if value is None:
        return _UNSAID
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return str(value)


def _found(results: xr.Dataset) -> dict[str, str]:
    """Of the last checkpoint of the finetuned model, or else of the one there is."""
    of = compared_model(results)
    epoch = of.epochs[-1]
    outcome = {"model": of.model, "epoch": str(epoch)}
    for estimator, metric in product(ESTIMATORS, ("learning", "forgetting", "cka_divergence")):
        values = of.curve(metric, estimator).mean[-1]
        known = values[np.isfinite(values)]
        outcome[f"{metric}, mean of layers, {estimator} CKA"] = (
            f"{known.mean():.3f}" if known.size else _UNSAID
        )
    outcome[f"lowest self-STIR, {CRITERION}"] = _lowest_self_stir(of)
    accuracies = dict(zip(*of.accuracy(), strict=True))
    outcome["clean accuracy"] = f"{accuracies[epoch]:.3f}" if epoch in accuracies else _UNSAID
    return outcome


def _lowest_self_stir(of: ComparedModel) -> str:
    """Of both models, all layers and seeds; rounded down, so that what stands there is reached."""
    values = of.results[SELF_STIR].sel(model=of.model, epoch=of.epochs[-1])
    lowest = [
        values.sel(direction=OWN[side], reference_layer=n, target_layer=n).min().item()
        for side in OWN
        for n in of.layers(side)
        if n in values["reference_layer"] and OWN[side] in values["direction"]
    ]
    known = np.array(lowest)[np.isfinite(lowest)]
    return f"{np.floor(1000 * known.min()) / 1000:.3f}" if known.size else _UNSAID
