"""The correlation study: its strongest hypotheses, their tests, and what to doubt of them."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.console import RenderableType
from rich.table import Table as TerminalTable

from stir_ray.catalog.inspection import InspectedJob
from stir_ray.formatting import format_list, format_values
from stir_ray.lake.parquet import encode, open_lake
from stir_ray.lake.schemas import HYPOTHESES, LEARNING_WITH_FORGETTING, TableSchema
from stir_ray.numerics.correlation import TRANSIENT, outlasts_transient
from stir_ray.numerics.correlation_diagnostics import DROPPED
from stir_ray.numerics.screening import Aggregate, Hypothesis
from stir_ray.report.text import table
from stir_ray.results.correlation_study import (
    Analysis,
    HypothesisFamily,
    StoredAnalysis,
    analyse,
    analyse_job,
    analysis_tables,
    over_seeds,
    samples,
    store_analysis,
)
from stir_ray.results.epoch_curves import CLEAN, EpochCurves, curves_of_families, user_curves
from stir_ray.results.reduce import reduce_job

Row = Mapping[Any, Any]
"""Of the table `hypotheses`."""
_SHOWN = 5
"""Hypotheses of a family that are shown; the table `hypotheses` has all."""
_TOO_FEW = "too few epochs"
_WITHOUT = f"without the first {TRANSIENT}"
_COLUMNS = {
    "pearson_r": "r",
    "pearson_p": "p, if epochs were independent",
    "bonferroni_p": "p, Bonferroni",
    "max_statistic_p": f"p, shifts, all tried, {_WITHOUT}",
    "max_statistic_p_all_epochs": "p, shifts, all tried, transient included",
    "effective_epochs": f"effective epochs, {_WITHOUT}",
    "effective_epochs_all_epochs": "effective epochs, transient included",
    "spearman_r": "r of ranks",
    "differences_r": "r of steps",
    "given_clean_r": "r given clean accuracy",
    **{f"without_first_{n}_r": f"r without the first {n}" for n in DROPPED},
    **{f"differences_without_first_{n}_r": f"r of steps without the first {n}" for n in DROPPED},
}
"""Of the table `hypotheses`, and their titles."""
_LATER = ("max_statistic_p", "effective_epochs")
"""Of what follows the first epochs, where enough do."""
_IN_TERMINAL = ("hypothesis", *itertools.islice(_COLUMNS.values(), 5))
_INTERVALS = {"seeds": "r, 95 % t interval over {seeds} seeds", "images": "r, 95 % over images"}
"""Of columns `<key>_low` and `<key>_high`; shown where they are known."""
_CAPTION = "A transient at the start of both curves alone makes the p that includes it small."


@dataclass(frozen=True)
class Table:
    """Rows of text below a heading each."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def p_value(p: float) -> str:
    """Return a p in two digits; a dash where it is undefined."""
    return "–" if math.isnan(p) else f"{p:.2g}"


def later_p(p: float, epochs: int) -> str:
    """Return a p of what follows the transient of a series, or that too few epochs do."""
    return p_value(p) if outlasts_transient(epochs) else _TOO_FEW


def hypothesis_table(rows: pd.DataFrame, title: str) -> Table:
    """Return the strongest hypotheses of each family of the table `hypotheses`."""
    shown = [{"hypothesis": row["hypothesis"], **_tests(row)} for row in _strongest(rows)]
    # Of a hypothesis with intervals first: they stand behind r, also where others have none.
    longest = sorted(shown, key=len, reverse=True)
    columns = list(dict.fromkeys(name for tests in longest for name in tests))
    return Table(
        f"{title}: {len(rows)} were tried, {rows['is_undefined'].sum()} of them undefined",
        columns,
        [[tests.get(name, "–") for name in columns] for tests in shown],
    )


def _strongest(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    shown = rows[(rows["rank"] <= _SHOWN) & ~rows["is_undefined"]]
    return shown.sort_values(["family", "rank"]).to_dict("records")


def _tests(row: Row) -> dict[str, str]:
    """Return r, its intervals where they are known, and other tests of a hypothesis, by title."""
    tests = {"r": _number(row["pearson_r"])}
    for over, title in _INTERVALS.items():
        low, high = row[f"{over}_low"], row[f"{over}_high"]
        if not math.isnan(low):
            tests[title.format(seeds=row["seeds"])] = f"{_number(low)} to {_number(high)}"
    for name, title in _COLUMNS.items():
        is_unknown = name in _LATER and not outlasts_transient(row["epochs"])
        tests[title] = _TOO_FEW if is_unknown else _number(row[name])
    return tests


def doubts(epoch_curves: EpochCurves, row: Row) -> str:
    """Return what `stir-ray analyse` says against a hypothesis."""
    (sample,) = (sample for sample in samples(epoch_curves) if sample.name == row["family"])
    among_all = float(row["max_statistic_p"])
    text = " ".join(sample.interpretation(_hypothesis(row, epoch_curves), family_wise=among_all))
    return f"{row['hypothesis']}: {text}"


def summary_of(row: Row, epoch_curves: EpochCurves) -> np.ndarray:
    """Return the value of a hypothesis at each epoch, of the mean over seeds."""
    name = row["curve"]
    (curve,) = (
        curves[name]
        for curves in curves_of_families(epoch_curves.curves).values()
        if name in curves
    )
    hypothesis = _hypothesis(row, epoch_curves)
    return hypothesis.summary({name: over_seeds(curve)}, layers=epoch_curves.layers)


def study_note(analysed: StoredAnalysis, epoch_curves: EpochCurves, rows: pd.DataFrame) -> str:
    """Return which images and seeds an analysis is of."""
    seeds = int(rows["seeds"].max())
    many = "" if not seeds else ", one seed" if seeds == 1 else f", mean of {seeds} seeds"
    tested = ""
    if epoch_curves.severities != (CLEAN,) and analysed.tested_images:
        tested = f" Accuracies are of {analysed.tested_images} test images."
    return f"{analysed.images} images{many}; {epoch_curves.estimator} CKA, as in the paper.{tested}"


def _hypothesis(row: Row, epoch_curves: EpochCurves) -> Hypothesis:
    layers = tuple(n for n in epoch_curves.layers if row["first_layer"] <= n <= row["last_layer"])
    return Hypothesis(Aggregate(row["aggregate"]), row["curve"], layers)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2g}" if abs(value) < 0.001 else f"{value:.3g}"


Study = tuple[dict[str, Any], Iterator[RenderableType]]
"""A study for scripts, and as tables and sentences.

For scripts it has `analyses`, each with model, estimator, epochs (how many), first_epoch,
last_epoch, layers, severities (0: clean), notes, families and the last row of the table
`learning_with_forgetting`. A family has the number of its hypotheses, the undefined ones, those
examined with an interpretation in sentences, and the best row of the table `hypotheses` for each
curve. `tables` says where the tables with all hypotheses and correlations are stored.
"""
_Rows = Mapping[TableSchema, pd.DataFrame]


def analyse_started(started: InspectedJob) -> Study:
    """Analyse a job that was run, and store the tables beside its results."""
    reduced = reduce_job(started.resolved, started.study, started.lake)
    analyses = analyse_job(started.job, started.study, started.lake, reduced)
    tables = analysis_tables(analyses)
    return _study(analyses, tables, store_analysis(tables, started.job, started.lake, reduced))


def analyse_curves(dynamics: str, accuracy: str | None, folder: str | None) -> Study:
    """Analyse curves of the user's own tables; store the tables in a folder if there is any.

    Arguments and errors as of `user_curves`.
    """
    analyses = (analyse(user_curves(dynamics, accuracy)),)
    tables = analysis_tables(analyses)
    stored = {}
    if folder:
        objects = open_lake(folder).objects
        for schema, rows in tables.items():
            key = f"{schema.name}.parquet"
            objects.put(key, encode(rows, {}))
            stored[schema.name] = objects.location(key)
    return _study(analyses, tables, stored)


def _study(
    analyses: Sequence[Analysis],
    tables: Mapping[TableSchema, pa.Table],
    stored: Mapping[str, str],
) -> Study:
    frames = {schema: rows.to_pandas() for schema, rows in tables.items()}

    def select(curves: EpochCurves) -> _Rows:
        query = f"model == {curves.model!r} and estimator == {curves.estimator!r}"
        columns = ["model", "estimator"]
        return {schema: rows.query(query).drop(columns=columns) for schema, rows in frames.items()}

    pairs = [(analysis, select(analysis.curves)) for analysis in analyses]
    record = {"analyses": [_record(*pair) for pair in pairs], "tables": dict(stored)}
    return record, _text(pairs, stored)


def _record(analysis: Analysis, rows: _Rows) -> dict[str, Any]:
    curves, defined = analysis.curves, rows[HYPOTHESES][~rows[HYPOTHESES]["is_undefined"]]
    best = defined.sort_values("rank").drop_duplicates(["family", "curve"])
    families = [
        {
            "family": family.name,
            "hypotheses": len(family.screening.hypotheses),
            "undefined": list(map(str, family.screening.undefined)),
            "examined": _examined(family),
            "best": best[best["family"] == family.name].to_dict("records"),
        }
        for family in analysis.families
    ]
    return {
        "model": curves.model,
        "estimator": curves.estimator,
        "epochs": len(curves.epochs),
        "first_epoch": curves.epochs[0],
        "last_epoch": curves.epochs[-1],
        "layers": list(curves.layers),
        "severities": list(curves.severities),
        "notes": list(analysis.notes),
        "families": families,
        "learning_with_forgetting": next(iter(_last(rows[LEARNING_WITH_FORGETTING])), None),
    }


def _examined(family: HypothesisFamily) -> list[dict[str, Any]]:
    return [
        {
            "hypothesis": str(family.screening.hypotheses[examined.index]),
            "reason": examined.reason,
            "interpretation": list(examined.interpretation),
        }
        for examined in family.examined
    ]


def _last(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    return rows.sort_values("epoch").tail(1).to_dict("records")


def _text(
    analyses: Sequence[tuple[Analysis, _Rows]], stored: Mapping[str, str]
) -> Iterator[RenderableType]:
    models = set[str]()
    for analysis, rows in analyses:
        if analysis.curves.model not in models:
            # By the first estimator, which is that of the paper.
            yield from _model_text(analysis, rows)
            models.add(analysis.curves.model)
            continue
        for row in rows[HYPOTHESES].query("rank == 1").to_dict("records"):
            yield (
                f"By CKA {analysis.curves.estimator}, strongest of {row['family']}: "
                f"{row['hypothesis']}, r {_number(row['pearson_r'])} "
                f"(p {p_value(row['pearson_p'])}; {_COLUMNS['max_statistic_p']}: "
                f"{later_p(row['max_statistic_p'], row['epochs'])})."
            )
    yield from stored.values()


def _model_text(analysis: Analysis, rows: _Rows) -> Iterator[RenderableType]:
    curves = analysis.curves
    is_corrupted = curves.severities and curves.severities != (CLEAN,)
    against = f"severities {format_values(curves.severities)}" if is_corrupted else "clean accuracy"
    yield (
        f"{curves.model}: epochs {format_values(curves.epochs)}, "
        f"layers {format_values(curves.layers)}, {against}, CKA {curves.estimator}"
    )
    if analysis.families:
        shown = hypothesis_table(rows[HYPOTHESES], "Strongest hypotheses")
        cells = [[row[shown.columns.index(name)] for name in _IN_TERMINAL] for row in shown.rows]
        yield table(_IN_TERMINAL, cells, title="Strongest hypotheses", caption=_CAPTION)
        yield _tests_table(analysis.families, rows[HYPOTHESES])
    for family in analysis.families:
        undefined = list(map(str, family.screening.undefined))
        yield (
            f"{family.name}: {len(family.screening.hypotheses)} hypotheses, {len(undefined)} of "
            f"them undefined{': ' if undefined else ''}{format_list(undefined, most=_SHOWN)}."
        )
        for examined in _examined(family):
            yield f"  {examined['hypothesis']} ({examined['reason']}):"
            yield from (f"    {sentence}" for sentence in examined["interpretation"])
    for last in _last(rows[LEARNING_WITH_FORGETTING]):
        r = rows[LEARNING_WITH_FORGETTING]["pearson_r"]
        yield (
            f"Learning with forgetting over {last['layers']} layers, epoch {last['epoch']}: "
            f"r {_number(last['pearson_r'])} (p {p_value(last['pearson_p'])}); "
            f"{_number(r.min())} to {_number(r.max())} over the epochs."
        )
    yield from analysis.notes


def _tests_table(families: Sequence[HypothesisFamily], rows: pd.DataFrame) -> TerminalTable:
    # Of the examined hypotheses, a column each.
    by_name = rows.set_index("hypothesis", drop=False).to_dict("index")
    columns = {
        f"{examined['hypothesis']}\n{examined['reason']}": _tests(by_name[examined["hypothesis"]])
        for family in families
        for examined in _examined(family)
    }
    titles = dict.fromkeys(title for tests in columns.values() for title in tests)
    cells = [(title, *(tests.get(title, "") for tests in columns.values())) for title in titles]
    return table(("", *columns), cells, title="Other tests of them", caption=_CAPTION)
