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

from stir_ray.job import Job
from stir_ray.report.over_epochs import self_stir
from stir_ray.report.readings import accuracy, last_epochs, metric_curve
from stir_ray.results.metric_info import CRITERION, ESTIMATORS

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
    model, epoch = next(iter(last_epochs(results).items()))
    outcome = {"model": model, "epoch": str(epoch)}
    for estimator, metric in product(ESTIMATORS, ("learning", "forgetting", "cka_divergence")):
        place = {"model": model, "epoch": epoch, "estimator": estimator}
        values = metric_curve(results, metric, **place).mean
        known = values[np.isfinite(values)]
        outcome[f"{metric}, mean of layers, {estimator} CKA"] = (
            f"{known.mean():.3f}" if known.size else _UNSAID
        )
    outcome[f"lowest self-STIR, {CRITERION}"] = _lowest_self_stir(results, model, epoch)
    of_epoch = dict(zip(*accuracy(results, model), strict=True))
    outcome["clean accuracy"] = f"{of_epoch[epoch]:.3f}" if epoch in of_epoch else _UNSAID
    return outcome


def _lowest_self_stir(results: xr.Dataset, model: str, epoch: int) -> str:
    """Of both models, all layers and seeds; rounded down, so that what stands there is reached."""
    own = np.concatenate([
        self_stir(results, model=model, side=side).sel(epoch=epoch).values.ravel()
        for side in ("pt", "ft")
    ])  # fmt: skip
    known = own[np.isfinite(own)]
    return f"{np.floor(1000 * known.min()) / 1000:.3f}" if known.size else _UNSAID
