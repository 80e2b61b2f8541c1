"""The section of the correlation study: what goes with accuracy, and every reason to doubt it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stir_ray.numerics.statistics import TRANSIENT, outlasts_transient
from stir_ray.report import style
from stir_ray.report.analysed import models_analysed, sample_of
from stir_ray.report.p_values import later_p
from stir_ray.report.page.plots import (
    LINE_COLOURS,
    SYMBOLS,
    Line,
    Panel,
    Plot,
    Section,
    Variant,
    severity_colours,
)
from stir_ray.report.page.values import decimals
from stir_ray.report.strongest import hypothesis_of, prefixes_of, summary_of
from stir_ray.results.analysis.epoch_curves import EpochCurves
from stir_ray.results.analysis.job_analysis import StoredAnalysis
from stir_ray.results.analysis.samples import samples

_SHOWN = 5
"""Hypotheses of a family that the page lists; the table `hypotheses` has all."""
_WORDS = (
    (
        "The paper asks whether what happens to the layers goes with accuracy on corrupted images "
        "over the epochs. Hundreds of summaries of the layers are tried, and neighbouring epochs "
        "are nearly the same measurement twice. So an r and its p alone mislead: beside them "
        "stand what is left of r between ranks, between the steps from epoch to epoch, given "
        "clean accuracy and without the first epochs, how often chance does as well, and, of "
        "several seeds or of a job with half_samples, how far r moves with other seeds or images."
    ),
    (
        "A transient that both curves begin with makes them agree, and p by shifts small, by "
        f"itself. So p by shifts is without the first {TRANSIENT} epochs; behind it stands that of "
        "all epochs."
    ),
)
_COLUMNS = {
    "pearson_r": "r",
    "pearson_p": "p, were epochs independent",
    "bonferroni_p": "p, Bonferroni",
    "max_statistic_p": f"p, shifts, all tried, without the first {TRANSIENT}",
    "max_statistic_p_all_epochs": "p, shifts, all tried, transient included",
    "effective_epochs": f"epochs they are worth, without the first {TRANSIENT}",
    "effective_epochs_all_epochs": "epochs they are worth, transient included",
    "spearman_r": "r of ranks",
    "differences_r": "r of steps",
    "given_clean_r": "r given clean accuracy",
    "without_first_1_r": "r without the first epoch",
    "without_first_2_r": "r without the first 2",
    "without_first_3_r": "r without the first 3",
    "without_first_5_r": "r without the first 5",
    "differences_without_first_1_r": "r of steps without the first epoch",
    "differences_without_first_2_r": "r of steps without the first 2",
    "differences_without_first_3_r": "r of steps without the first 3",
    "differences_without_first_5_r": "r of steps without the first 5",
}
_LATER = ("max_statistic_p", "effective_epochs")
"""Of what follows the first epochs, where enough do."""
_INTERVALS = {"seeds": "r, 95 % t interval over {seeds} seeds", "images": "r, 95 % over images"}
"""Of columns `<key>_low` and `<key>_high`; shown behind r where they are known."""


@dataclass(frozen=True)
class Table:
    """Rows of text below a heading each."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class StudySection:
    """What the template shows of an analysis: a section, and the tables in it."""

    section: Section
    tables: Sequence[Table]


def study_section(analysed: StoredAnalysis) -> StudySection | None:
    """Of every model that has a hypothesis with an r; None where there is none."""
    plots, tables, warnings = [], [], []
    for of, rows, correlations in models_analysed(analysed):
        note = sample_of(analysed, of, rows)
        best = rows[(rows["rank"] == 1) & ~rows["is_undefined"]].to_dict("records")
        name = style.MODEL_NAMES.get(of.model, of.model)
        tables.append(_table(rows, f"The strongest hypotheses about the {name} model"))
        warnings += [_doubts(of, row, name) for row in best]
        plots.append(_against_accuracy(of, best, note))
        plots += _prefixes(of, correlations, note)
    if not plots:
        return None
    section = Section(
        "study",
        "What goes with robustness",
        _WORDS,
        paper="Section 6, Table 1 and Figure 14 of Merlin et al. 2023",
        plots=plots,
        warnings=warnings,
    )
    return StudySection(section, tables)


def _table(rows: pd.DataFrame, title: str) -> Table:
    shown = rows[(rows["rank"] <= _SHOWN) & ~rows["is_undefined"]].sort_values(["family", "rank"])
    undefined = int(rows["is_undefined"].sum())
    said = f"{title}: {len(rows)} were tried, {undefined} of them undefined"
    r, *looks = _COLUMNS
    known = {
        over: name.format(seeds=shown["seeds"].max())
        for over, name in _INTERVALS.items()
        if shown[f"{over}_low"].notna().any()
    }
    return Table(
        said,
        ["hypothesis", _COLUMNS[r], *known.values(), *(_COLUMNS[look] for look in looks)],
        [
            [
                str(row["hypothesis"]),
                _number(row[r]),
                *(_range(row[f"{over}_low"], row[f"{over}_high"]) for over in known),
                *(_cell(row, look) for look in looks),
            ]
            for row in shown.to_dict("records")
        ],
    )


def _cell(row: Mapping[Any, Any], look: str) -> str:
    if look in _LATER and not outlasts_transient(row["epochs"]):
        return later_p(row[look], row["epochs"])
    return _number(row[look])


def _range(low: float, high: float) -> str:
    return "–" if np.isnan(low) else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2g}" if abs(value) < 0.001 else f"{value:.3g}"


def _doubts(of: EpochCurves, row: Mapping[Any, Any], name: str) -> str:
    """What `stir-ray analyse` says of a hypothesis."""
    (sample,) = (one for one in samples(of) if one.name == row["family"])
    among_all = float(row["max_statistic_p"])
    said = " ".join(sample.interpretation(hypothesis_of(row, of), family_wise=among_all))
    return f"{name.capitalize()} model, {row['hypothesis']}: {said}"


def _against_accuracy(of: EpochCurves, best: Sequence[Mapping[Any, Any]], note: str) -> Plot:
    colours, name = severity_colours(), style.MODEL_NAMES.get(of.model, of.model)
    panels = []
    for row in best:
        x = decimals(summary_of(row, of))
        lines = [
            Line(
                f"severity {severity}" if severity else "clean",
                colours[severity],
                x,
                decimals(values),
                symbol=SYMBOLS[severity],
            )
            for severity, values in zip(of.severities, 100 * of.accuracy, strict=True)
        ]
        panels.append(
            Panel(f"r = {row['pearson_r']:.2f}", str(row["hypothesis"]), "accuracy (%)", lines,
                  rules=(), is_scatter=True, labels=[f"epoch {epoch}" for epoch in of.epochs])
        )  # fmt: skip
    title = f"The strongest hypothesis of each family, epoch by epoch: {name} model"
    return Plot(f"strongest-{of.model}", title, "", [Variant("", panels, note)])


def _prefixes(of: EpochCurves, correlations: pd.DataFrame, note: str) -> Iterator[Plot]:
    found = prefixes_of(correlations)
    if not found:
        return
    lines = [
        Line(
            hypothesis,
            LINE_COLOURS[place % len(LINE_COLOURS)],
            [int(epoch) for epoch in r.index],
            decimals(r.to_numpy(dtype=np.float64)),
            symbol=SYMBOLS[place % len(SYMBOLS)],
        )
        for place, (hypothesis, r) in enumerate(found.items())
    ]
    panel = Panel("", "last epoch that is counted", "r with accuracy", lines, highest=1.0)
    title = f"What r would be had training stopped earlier: {style.MODEL_NAMES[of.model]} model"
    yield Plot(
        f"prefixes-{of.model}",
        title,
        "",
        [Variant("", [panel], f"{note} The hypotheses were chosen with all epochs known.")],
    )
