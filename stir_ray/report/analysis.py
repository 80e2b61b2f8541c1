"""An analysis of curves with accuracy: its strongest hypotheses, their tests, and sentences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from rich.console import RenderableType
from rich.table import Table

from stir_ray.formatting import spelled
from stir_ray.lake.parquet import encode, open_lake
from stir_ray.lake.schemas import HYPOTHESES, LEARNING_WITH_FORGETTING, TableSchema
from stir_ray.numerics.correlation import (
    TRANSIENT,
    Correlation,
    EffectiveSample,
    outlasts_transient,
)
from stir_ray.numerics.correlation_diagnostics import DROPPED, CorrelationDiagnostics
from stir_ray.report.p_values import later_p, p_value
from stir_ray.report.text import render, table
from stir_ray.results.correlation_study import (
    Analysis,
    ExaminedHypothesis,
    HypothesisFamily,
    LayerCorrelation,
    analyse,
)
from stir_ray.results.epoch_curves import user_curves
from stir_ray.results.stored_analysis import analysis_tables

_SHOWN = 5
"""Hypotheses of a family that are shown; the table `hypotheses` has all."""
_PREFIXES = (3, 10, 30)
"""Prefixes that are shown; the table `correlations` has all."""
_CHECKS = {
    "spearman": "ranks (Spearman)",
    "differences": "steps between epochs",
    "given_clean": "given clean accuracy",
}
_CHECKS_LATER = {"pearson": "without", "differences": "steps without"}
_WITHOUT = f"without the first {TRANSIENT}"
_ALL_EPOCHS = (
    f"* The first {TRANSIENT} epochs are in it: a transient that both curves begin with makes this "
    "p small by itself."
)


@dataclass(frozen=True)
class AnalysisReport:
    """Analyses of any number of models and estimators.

    Attributes:
        analyses: a summary of each: model, estimator, epochs (how many), first_epoch, last_epoch,
            layers, severities (0: clean), notes; families of hypotheses, each with their number,
            the undefined ones, those examined with an interpretation in sentences, and the best
            row of the table `hypotheses` for each curve; and the last row of the table
            `learning_with_forgetting`.
        tables: where the tables with all hypotheses and correlations are stored, by name.
        details: the analyses themselves; not in JSON.
    """

    analyses: tuple[Mapping[str, Any], ...]
    tables: Mapping[str, str]
    details: Annotated[Any, Field(exclude=True)]

    @classmethod
    def summarize(
        cls,
        analyses: Sequence[Analysis],
        tables: Mapping[TableSchema, pa.Table],
        stored: Mapping[str, str],
    ) -> "AnalysisReport":
        """Return the report of analyses, of their tables, and of where these are stored."""
        return cls(tuple(_summary(analysis, tables) for analysis in analyses), stored, analyses)


def analyse_curves(dynamics: str, accuracy: str | None, folder: str | None) -> AnalysisReport:
    """Analyse curves of the user's own tables; arguments as of `user_curves`.

    Args:
        dynamics: table of curves.
        accuracy: table of accuracies.
        folder: where the tables of the analysis are stored, if anywhere.
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
    return AnalysisReport.summarize(analyses, tables, stored)


def _summary(analysis: Analysis, tables: Mapping[TableSchema, pa.Table]) -> dict[str, Any]:
    curves = analysis.curves
    is_its = (pc.field("model") == curves.model) & (pc.field("estimator") == curves.estimator)
    ranked, by_epoch = (
        tables[schema].filter(is_its).drop(["model", "estimator"]).sort_by(column).to_pylist()
        for schema, column in ((HYPOTHESES, "rank"), (LEARNING_WITH_FORGETTING, "epoch"))
    )
    return {
        "model": curves.model,
        "estimator": curves.estimator,
        "epochs": len(curves.epochs),
        "first_epoch": curves.epochs[0],
        "last_epoch": curves.epochs[-1],
        "layers": list(curves.layers),
        "severities": list(curves.severities),
        "notes": list(analysis.notes),
        "families": [_family_summary(family, ranked) for family in analysis.families],
        "learning_with_forgetting": by_epoch[-1] if by_epoch else None,
    }


def _family_summary(
    family: HypothesisFamily, ranked: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    best: dict[str, Mapping[str, Any]] = {}
    for row in ranked:
        if row["family"] == family.name and not row["is_undefined"]:
            best.setdefault(row["curve"], row)
    return {
        "family": family.name,
        "hypotheses": len(family.screening.hypotheses),
        "undefined": [str(hypothesis) for hypothesis in family.screening.undefined],
        "examined": [
            {
                "hypothesis": _name(family, it),
                "reason": it.reason,
                "interpretation": list(it.interpretation),
            }
            for it in family.examined
        ],
        "best": list(best.values()),
    }


def _name(family: HypothesisFamily, examined: ExaminedHypothesis) -> str:
    return str(family.screening.hypotheses[examined.index])


@render.register
def _(report: AnalysisReport) -> Iterator[RenderableType]:
    by_model: dict[str, list[Analysis]] = {}
    for analysis in report.details:
        by_model.setdefault(analysis.curves.model, []).append(analysis)
    for index, (paper, *others) in enumerate(by_model.values()):
        if index:
            yield ""
        yield from _of_model(paper)
        for other in others:
            yield from map(_strongest_by_estimator, [other] * len(other.families), other.families)
    yield from report.tables.values()


def _of_model(analysis: Analysis) -> Iterator[RenderableType]:
    curves = analysis.curves
    is_corrupted = curves.severities and curves.severities != (0,)
    against = f"severities {spelled(curves.severities)}" if is_corrupted else "clean accuracy"
    yield (
        f"{curves.model}: epochs {spelled(curves.epochs)}, layers {spelled(curves.layers)}, "
        f"{against}, CKA {curves.estimator}"
    )
    if analysis.families:
        yield _strongest(analysis.families)
        yield _tests(analysis.families)
    for family in analysis.families:
        yield from _sentences(family)
    if analysis.layer_correlation is not None:
        yield _over_layers(analysis.layer_correlation)
    yield from analysis.notes


def _over_layers(correlation: LayerCorrelation) -> str:
    r, p = correlation.pearson.r, correlation.pearson.p
    defined = r[np.isfinite(r)]
    spread = ""
    if len(defined) > 1:
        spread = f"; {_r(defined.min())} to {_r(defined.max())} over the epochs"
    return (
        f"Learning with forgetting over {correlation.layers} layers, "
        f"epoch {correlation.epochs[-1]}: r {_r(r[-1])} (p {p_value(p[-1])}){spread}."
    )


def _strongest(families: Sequence[HypothesisFamily]) -> Table:
    shown = [
        (family, i) for family in families for i in family.screening.strongest_first()[:_SHOWN]
    ]
    return table(
        {
            "hypothesis": lambda row: row[0].screening.hypotheses[row[1]],
            "r": lambda row: _r(row[0].screening.r[row[1]]),
            "p": lambda row: p_value(row[0].screening.p[row[1]]),
            "Bonferroni": lambda row: p_value(row[0].screening.bonferroni[row[1]]),
            f"max-stat. p\n{_WITHOUT}": lambda row: later_p(
                row[0].screening.family_wise[row[1]], len(row[0].epochs)
            ),
            "max-stat. p\nall epochs*": lambda row: p_value(
                row[0].screening.family_wise_all_epochs[row[1]]
            ),
        },
        shown,
        **_titled("Strongest hypotheses"),
    )


def _titled(title: str) -> dict[str, str]:
    return {
        "title": title,
        "title_justify": "left",
        "caption": _ALL_EPOCHS,
        "caption_justify": "left",
    }


def _tests(families: Sequence[HypothesisFamily]) -> Table:
    columns = [(family, examined) for family in families for examined in family.examined]
    cells = [dict(_test_cells(family, examined)) for family, examined in columns]
    made = Table(**_titled("Other tests of them"))  # pyright: ignore[reportArgumentType]
    made.add_column("r (p)", no_wrap=True)
    for family, examined in columns:
        made.add_column(f"{_name(family, examined)}\n{examined.reason}", justify="right")
    for name in dict.fromkeys(name for column in cells for name in column):
        made.add_row(name, *(column.get(name, "") for column in cells))
    return made


def _test_cells(
    family: HypothesisFamily, examined: ExaminedHypothesis
) -> Iterator[tuple[str, str]]:
    """Return the name and text of every test of one hypothesis."""
    diagnostics, epochs = family.diagnostics.of(examined.index), len(family.epochs)
    by_severity = diagnostics.by_severity
    is_mean = len(family.severities) > 1
    for index, severity in enumerate(family.severities if is_mean else ()):
        yield f"severity {severity}", _pair(by_severity[index])
    yield "mean of severities" if is_mean else "Pearson", _pair(by_severity.averaged())
    for interval, name in (
        (family.over_seeds, f"95 % t interval over {family.seeds} seeds"),
        (family.over_images, f"95 % over images ({family.halves} halves)"),
    ):
        if interval is not None:
            low, high = interval.low[examined.index], interval.high[examined.index]
            yield name, f"{_r(low)} to {_r(high)}"
    for check, name in _CHECKS.items():
        if result := diagnostics.check(check):
            yield name, _pair(result)
    for (check, name), dropped in product(_CHECKS_LATER.items(), DROPPED):
        if result := diagnostics.check(check, without_first=dropped):
            yield f"{name} the first {dropped}", _pair(result)
    row = family.examined.index(examined)
    for prefix in family.prefixes:
        if prefix.stop in _PREFIXES:
            yield f"first {prefix.stop} epochs alone", _pair(prefix.correlation[row].averaged())
    yield from _p_cells(diagnostics, epochs)


def _p_cells(diagnostics: CorrelationDiagnostics, epochs: int) -> Iterator[tuple[str, str]]:
    rest = later_p(math.nan, epochs)
    if outlasts_transient(epochs):
        rest = _effective(diagnostics.effective, epochs - TRANSIENT)
    yield f"effective epochs {_WITHOUT}", rest
    yield "effective epochs, all*", _effective(diagnostics.effective_all_epochs, epochs)
    yield f"shifts, p, {_WITHOUT}", later_p(float(diagnostics.circular_shift_p), epochs)
    yield "shifts, p, all epochs*", p_value(float(diagnostics.circular_shift_p_all_epochs))


def _effective(sample: EffectiveSample, epochs: int) -> str:
    count = "–" if math.isnan(sample.epochs) else f"{sample.epochs:.0f}"
    return f"{count} of {epochs} ({p_value(float(sample.p))})"


def _sentences(family: HypothesisFamily) -> Iterator[str]:
    undefined = [str(hypothesis) for hypothesis in family.screening.undefined]
    count = f"{family.name}: {len(family.screening.hypotheses)} hypotheses"
    yield f"{count}, {len(undefined)} of them undefined." if undefined else f"{count}."
    if undefined:
        more = ", …" if len(undefined) > _SHOWN else ""
        yield f"  Undefined: {', '.join(undefined[:_SHOWN])}{more}."
    for examined in family.examined:
        yield f"  {_name(family, examined)} ({examined.reason}):"
        yield from (f"    {sentence}" for sentence in examined.interpretation)


def _strongest_by_estimator(analysis: Analysis, family: HypothesisFamily) -> str:
    screening = family.screening
    best = screening.strongest_first()[0]
    return (
        f"By CKA {analysis.curves.estimator}, strongest of {family.name}: "
        f"{screening.hypotheses[best]}, r {_r(screening.r[best])} (p {p_value(screening.p[best])}; "
        f"max-stat. p {_WITHOUT}: {later_p(screening.family_wise[best], len(family.epochs))})."
    )


def _pair(correlation: Correlation) -> str:
    return f"{_r(float(correlation.r))} ({p_value(float(correlation.p))})"


def _r(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
