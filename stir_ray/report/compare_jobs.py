"""Several jobs in one figure and page, and a table of what differs between them."""

import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.table import Table

from stir_ray.charts.comparison import NamedResults, compare_jobs
from stir_ray.charts.readings import OWN, ComparedModel, compared_model
from stir_ray.formatting import format_list
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.keys import figure_key
from stir_ray.report.job_results import ReducedJob
from stir_ray.report.page import comparison_page
from stir_ray.report.reference_results import ReferenceResults
from stir_ray.report.write_report import write_figures
from stir_ray.results.metric_info import CRITERION, ESTIMATORS

_NO_RESULT = {"name", "lake", "execution", "schema_version"}
"""Keys that change no result."""
_UNKNOWN = "–"
_BEFORE_AXIS = re.compile(r"-(?=[A-Za-z_][\w.]*=)", re.ASCII)
"""Where an axis begins in the name of a job of a grid: a value may hold a `-` too."""


def write_comparison(
    reduced: Sequence[ReducedJob],
    folder: str,
    *,
    is_one_file: bool,
    published: ReferenceResults | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Draw several jobs together, and write a page and a table of their differences.

    The files lie among the figures of the first job's lake, those of one file of jobs under its own
    names, so that other jobs beside the same first one do not replace them.

    Args:
        reduced: two or more jobs with results.
        folder: name of the first file.
        is_one_file: whether all are jobs of that file.
        published: numbers that are drawn with them.

    Returns:
        The differences, and paths or URLs of the page, of the figures and of the table.
    """
    names = short_names([each.job.name for each in reduced])
    jobs = [
        NamedResults(name, each.results, each.study.pretrained.depth or 0)
        for name, each in zip(names, reduced, strict=True)
        if each.results is not None
    ]
    lake = reduced[0].lake
    locations = [f"{each.lake.objects.location()} {each.job.name}" for each in reduced]
    digest = content_id("side by side", recipe=1, places=locations)[:8]
    suffix = "" if is_one_file else f"-{digest}"
    numbers, stem = published.numbers if published else None, f"20-jobs-by-layer{suffix}"
    chart = compare_jobs(jobs, published=numbers)
    # Rendering takes longer than drawing.
    inputs = content_id("compared", recipe=2, chart=chart.to_json())
    figures = write_figures(lake, folder, stem, inputs, lambda: [(stem, chart)])
    rows = differences(
        {job.name: (each.job, job.results) for job, each in zip(jobs, reduced, strict=True)}
    )
    title = folder if is_one_file else format_list(names, most=3)
    content = comparison_page(jobs, rows, title=title, published=numbers)
    table, page = f"{stem}.csv", f"compared{suffix}.html"
    lake.objects.put(figure_key(folder, table), rows.to_csv(index=False).encode())
    lake.objects.put(figure_key(folder, page), content)
    files = [page, *(file for file in figures if file.endswith(".png")), table]
    return rows, [lake.objects.location(figure_key(folder, file)) for file in files]


def short_names(names: Sequence[str]) -> list[str]:
    """Return names without the parts, split at `-`, that all begin with; equal ones are numbered.

    In a grid, `base-axis=value-axis=value`, whole axes are left out.
    """
    is_grid = any("=" in name for name in names)
    steps = [_BEFORE_AXIS.split(name) if is_grid else name.split("-") for name in names]
    while min(map(len, steps)) > 1 and len({parts[0] for parts in steps}) == 1:
        steps = [parts[1:] for parts in steps]
    short = ["-".join(parts) for parts in steps]
    again = [short[:index].count(name) for index, name in enumerate(short)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(short, again, strict=True)]


def differences(jobs: dict[str, tuple[Job, xr.Dataset]]) -> pd.DataFrame:
    """Return a row of text per job: its name, the settings that differ, and its outcome."""
    rows = (
        pd.json_normalize(job.model_dump(mode="json", exclude=_NO_RESULT)).map(_text)
        for job, _ in jobs.values()
    )
    settings = pd.concat(rows, ignore_index=True).fillna(_UNKNOWN)
    differing = settings.loc[:, (settings != settings.iloc[0]).any()]
    outcomes = pd.DataFrame([_outcome(results) for _, results in jobs.values()])
    return pd.concat([pd.Series(list(jobs), name="job"), differing, outcomes], axis=1)


def differences_table(rows: pd.DataFrame) -> Table:
    """Show differences with a column per job, since names of settings are long."""
    table = Table(title="What differs", title_justify="left")
    for title in ("job", *rows["job"]):
        table.add_column(title, overflow="fold")
    for name, values in rows.drop(columns="job").items():
        table.add_row(str(name), *values)
    return table


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return _UNKNOWN if value is None else str(value)


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
    # Of both models, all layers and seeds, rounded down.
    values = compared.results[f"stir_{CRITERION}"].sel(
        model=compared.model, epoch=compared.epochs[-1]
    )
    same_model = values.reindex(direction=list(OWN.values()))
    is_same = same_model["reference_layer"] == same_model["target_layer"]
    lowest = same_model.where(is_same).min().item()
    return _UNKNOWN if np.isnan(lowest) else f"{np.floor(1000 * lowest) / 1000:.3f}"
