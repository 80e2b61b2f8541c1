"""What differs between jobs, in their settings and in their outcome."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from rich.console import RenderableType
from rich.table import Table

from stir_ray.charts.readings import OWN, ComparedModel, compared_model
from stir_ray.job import Job
from stir_ray.report.text import render
from stir_ray.results.metric_info import CRITERION, ESTIMATORS

_NO_RESULT = ("name", "lake", "execution", "schema_version")
"""Keys that change no result."""
_UNKNOWN = "–"


@dataclass(frozen=True)
class Differences:
    """A row per job: its name, the settings that differ, and its outcome."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def csv(self) -> bytes:
        """Return the rows as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue().encode()


@render.register
def _(differing: Differences) -> tuple[RenderableType]:
    # A column per job, since names of settings are long.
    table = Table(title="What differs", title_justify="left")
    for title in (differing.columns[0], *(row[0] for row in differing.rows)):
        table.add_column(title, overflow="fold")
    for column, name in enumerate(differing.columns[1:], start=1):
        table.add_row(name, *(row[column] for row in differing.rows))
    return (table,)


def differences(jobs: Sequence[tuple[str, Job, xr.Dataset]]) -> Differences:
    """Return what differs between jobs, given by their names with their results."""
    settings = [dict(_flat(job.model_dump(mode="json"))) for _, job, _ in jobs]
    keys = dict.fromkeys(key for of_job in settings for key in of_job)
    differing = [key for key in keys if len({repr(of_job.get(key)) for of_job in settings}) > 1]
    outcomes = [_outcome(results) for _, _, results in jobs]
    return Differences(
        ("job", *differing, *outcomes[0]),
        tuple(
            (name, *(_text(of_job.get(key)) for key in differing), *outcome.values())
            for (name, _, _), of_job, outcome in zip(jobs, settings, outcomes, strict=True)
        ),
    )


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted paths and values; lists are values."""
    for key, child in value.items():
        if not above and key in _NO_RESULT:
            continue
        path = f"{above}{key}"
        if isinstance(child, Mapping) and child:
            yield from _flat(child, f"{path}.")
        elif child is not None:
            yield path, child


def _text(value: Any) -> str:
    if value is None:
        return _UNKNOWN
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _outcome(results: xr.Dataset) -> dict[str, str]:
    """Return the outcome at the last checkpoint of the finetuned model, or else of the only one."""
    compared = compared_model(results)
    epoch = compared.epochs[-1]
    outcome = {"model": compared.model, "epoch": str(epoch)}
    for estimator, metric in product(ESTIMATORS, ("learning", "forgetting", "cka_divergence")):
        values = compared.curve(metric, estimator).mean[-1]
        defined = values[np.isfinite(values)]
        outcome[f"{metric}, mean of layers, {estimator} CKA"] = (
            f"{defined.mean():.3f}" if defined.size else _UNKNOWN
        )
    outcome[f"lowest self-STIR, {CRITERION}"] = _lowest_self_stir(compared)
    by_epoch = dict(zip(*compared.accuracy(), strict=True))
    outcome["clean accuracy"] = f"{by_epoch[epoch]:.3f}" if epoch in by_epoch else _UNKNOWN
    return outcome


def _lowest_self_stir(compared: ComparedModel) -> str:
    """Return that of both models, all layers and seeds, rounded down."""
    values = compared.results[f"stir_{CRITERION}"].sel(
        model=compared.model, epoch=compared.epochs[-1]
    )
    lowest = np.array([
        values.sel(direction=direction, reference_layer=n, target_layer=n).min().item()
        for side, direction in OWN.items()
        for n in compared.layers(side)
        if n in values["reference_layer"] and direction in values["direction"]
    ])  # fmt: skip
    defined = lowest[np.isfinite(lowest)]
    return f"{np.floor(1000 * defined.min()) / 1000:.3f}" if defined.size else _UNKNOWN
