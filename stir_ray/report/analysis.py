"""An analysis for a terminal, and as JSON for scripts."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.table import Table

from stir_ray.lake.schemas import HYPOTHESES, LEARNING_WITH_FORGETTING, TableSchema
from stir_ray.numerics.statistics import TRANSIENT, Correlation, EffectiveSample, outlasts_transient
from stir_ray.numerics.statistics.diagnostics import DROPPED
from stir_ray.plan.formatting import spelled
from stir_ray.report.p_values import later_p, p_value
from stir_ray.results.analysis.analyse import Analysis, ExaminedHypothesis, HypothesisFamily

_SHOWN = 5
"""Hypotheses of a family that a person sees; the table `hypotheses` has all."""
_FIRST = (3, 10, 30)
"""Prefixes that a person sees; the table `correlations` has all."""
_CHECKS = {
    "spearman": "ranks (Spearman)",
    "differences": "steps between epochs",
    "given_clean": "given clean accuracy",
}
_WITHOUT = f"without the first {TRANSIENT}"
_ALL_EPOCHS = (
    f"* The first {TRANSIENT} epochs are in it: a transient that both curves begin with makes this "
    "p small by itself."
)


def analysis_table(analyses: Sequence[Analysis]) -> Group:
    """Return the strongest hypotheses, other checks of them, and their interpretation."""
    shown: list[object] = []
    for analysis in _first_of_each_model(analyses):
        others = [one for one in analyses if one.curves.model == analysis.curves.model]
        shown += [*_of_model(analysis), *_by_other_estimators(analysis, others), ""]
    return Group(*shown[:-1])  # pyright: ignore[reportArgumentType]


def analysis_json(
    analyses: Iterable[Analysis],
    tables: Mapping[TableSchema, pa.Table],
    stored: Mapping[str, str],
) -> str:
    """What a script needs of it first, as JSON; null is what is undefined or not known.

    - `analyses`: a list of `model`, `estimator`, `epochs` (how many), `first_epoch`, `last_epoch`,
      `layers`, `severities` (0: clean), `notes`, and `families`, each with `family`, `hypotheses`
      (how many), `undefined` (names), `examined`: a list of `hypothesis`, `reason`,
      `interpretation` (sentences), and `best`: the row of the table `hypotheses` that is the
      strongest of each curve; and `learning_with_forgetting`, the row of that table for the last
      epoch.
    - `tables`: where all hypotheses and correlations are, by name of the table; empty if they are
      not stored.

    Args:
        analyses: of any number of models and estimators.
        tables: of these analyses.
        stored: where each table lies, by name.
    """
    said = {"analyses": [_analysis(one, tables) for one in analyses], "tables": dict(stored)}
    return json.dumps(_without_nan(said), indent=2, allow_nan=False)


def _analysis(analysis: Analysis, tables: Mapping[TableSchema, pa.Table]) -> dict[str, Any]:
    of = analysis.curves
    rows, by_epoch = (
        _rows_of(analysis, tables[schema]) for schema in (HYPOTHESES, LEARNING_WITH_FORGETTING)
    )
    return {
        "model": of.model,
        "estimator": of.estimator,
        "epochs": len(of.epochs),
        "first_epoch": of.epochs[0],
        "last_epoch": of.epochs[-1],
        "layers": list(of.layers),
        "severities": list(of.severities),
        "notes": list(analysis.notes),
        "families": [_family(one, rows) for one in analysis.families],
        "learning_with_forgetting": max(by_epoch, key=lambda row: row["epoch"], default=None),
    }


def _rows_of(analysis: Analysis, table: pa.Table) -> list[dict[str, Any]]:
    """The rows of one analysis, without what it says itself."""
    of = analysis.curves
    found = table.filter((pc.field("model") == of.model) & (pc.field("estimator") == of.estimator))
    return found.drop(["model", "estimator"]).to_pylist()


def _family(family: HypothesisFamily, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["rank"]):
        if row["family"] == family.name and not row["is_undefined"]:
            best.setdefault(row["curve"], row)
    return {
        "family": family.name,
        "hypotheses": len(family.screening.hypotheses),
        "undefined": [str(one) for one in family.screening.undefined],
        "examined": [
            {
                "hypothesis": str(family.screening.hypotheses[one.index]),
                "reason": one.reason,
                "interpretation": list(one.interpretation),
            }
            for one in family.examined
        ],
        "best": list(best.values()),
    }


def _without_nan(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_nan(one) for name, one in value.items()}
        case list():
            return [_without_nan(one) for one in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _first_of_each_model(analyses: Iterable[Analysis]) -> list[Analysis]:
    """By the first estimator, the paper's."""
    return list({one.curves.model: one for one in reversed(list(analyses))}.values())[::-1]


def _of_model(analysis: Analysis) -> Iterator[object]:
    of = analysis.curves
    corrupted = of.severities and of.severities != (0,)
    against = f"severities {spelled(of.severities)}" if corrupted else "clean accuracy"
    yield (
        f"{of.model}: epochs {spelled(of.epochs)}, layers {spelled(of.layers)}, {against}, "
        f"CKA {of.estimator}"
    )
    if analysis.families:
        yield _strongest(analysis.families)
        yield _looks(analysis.families)
    for family in analysis.families:
        yield from _said_of(family)
    if analysis.layer_correlation is not None:
        yield _alike(analysis)
    yield from analysis.notes


def _strongest(families: Sequence[HypothesisFamily]) -> Table:
    table = _titled("Strongest hypotheses")
    table.add_column("hypothesis", no_wrap=True)
    for name in ("r", "p", "Bonferroni", f"max-stat. p\n{_WITHOUT}", "max-stat. p\nall epochs*"):
        table.add_column(name, justify="right")
    for family in families:
        found = family.screening
        for place in found.strongest_first()[:_SHOWN]:
            table.add_row(
                str(found.hypotheses[place]),
                _r(found.r[place]),
                p_value(found.p[place]),
                p_value(found.bonferroni[place]),
                later_p(found.family_wise[place], len(family.epochs)),
                p_value(found.family_wise_all_epochs[place]),
            )
        table.add_section()
    return table


def _titled(title: str) -> Table:
    return Table(title=title, title_justify="left", caption=_ALL_EPOCHS, caption_justify="left")


def _looks(families: Sequence[HypothesisFamily]) -> Table:
    columns = [(family, one) for family in families for one in family.examined]
    table = _titled("Other checks of them")
    table.add_column("r (p)", no_wrap=True)
    for family, one in columns:
        hypothesis = str(family.screening.hypotheses[one.index])
        table.add_column(f"{hypothesis}\n{one.reason}", justify="right")
    rows = [dict(_cells(family, one)) for family, one in columns]
    for name in dict.fromkeys(name for row in rows for name in row):
        table.add_row(name, *(row.get(name, "") for row in rows))
    return table


def _cells(family: HypothesisFamily, one: ExaminedHypothesis) -> Iterator[tuple[str, str]]:
    """Names and texts of what the table of looks has of one hypothesis."""
    diagnostics = family.diagnostics.of(one.index)
    by_severity = diagnostics.by_severity
    if len(family.severities) > 1:
        for index, severity in enumerate(family.severities):
            yield f"severity {severity}", _pair(by_severity[index])
        yield "mean of severities", _pair(by_severity.averaged())
    else:
        yield "Pearson", _pair(by_severity.averaged())
    if family.over_seeds is not None:
        low, high = (end[one.index] for end in (family.over_seeds.low, family.over_seeds.high))
        yield f"95 % t interval over {family.seeds} seeds", f"{_r(low)} to {_r(high)}"
    if family.over_images is not None:
        low, high = (end[one.index] for end in (family.over_images.low, family.over_images.high))
        yield f"95 % over images ({family.halves} halves)", f"{_r(low)} to {_r(high)}"
    for check, name in _CHECKS.items():
        if found := diagnostics.check(check):
            yield name, _pair(found)
    for check, name in (("pearson", "without"), ("differences", "steps without")):
        for dropped in DROPPED:
            if found := diagnostics.check(check, without_first=dropped):
                yield f"{name} the first {dropped}", _pair(found)
    yield from _prefixes(family, one)
    epochs = len(family.epochs)
    rest = diagnostics.effective, epochs - TRANSIENT
    worth = _worth(*rest) if outlasts_transient(epochs) else later_p(math.nan, epochs)
    yield f"effective epochs {_WITHOUT}", worth
    yield "effective epochs, all*", _worth(diagnostics.effective_all_epochs, epochs)
    yield f"shifts, p, {_WITHOUT}", later_p(float(diagnostics.circular_shift_p), epochs)
    yield "shifts, p, all epochs*", p_value(float(diagnostics.circular_shift_p_all_epochs))


def _worth(found: EffectiveSample, epochs: int) -> str:
    worth = "–" if math.isnan(found.epochs) else f"{found.epochs:.0f}"
    return f"{worth} of {epochs} ({p_value(float(found.p))})"


def _prefixes(family: HypothesisFamily, one: ExaminedHypothesis) -> Iterator[tuple[str, str]]:
    row = family.examined.index(one)
    for look in family.prefixes:
        if look.stop in _FIRST:
            yield f"first {look.stop} epochs alone", _pair(look.correlation[row].averaged())


def _said_of(family: HypothesisFamily) -> Iterator[str]:
    undefined = family.screening.undefined
    tried = len(family.screening.hypotheses)
    so = f"{family.name}: {tried} hypotheses"
    yield f"{so}, {len(undefined)} of them undefined." if undefined else f"{so}."
    if undefined:
        names = [str(one) for one in undefined]
        yield f"  Undefined: {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}."
    for one in family.examined:
        yield f"  {family.screening.hypotheses[one.index]} ({one.reason}):"
        yield from (f"    {sentence}" for sentence in one.interpretation)


def _alike(analysis: Analysis) -> str:
    alike = analysis.layer_correlation
    if alike is None:
        return ""
    r, p = alike.pearson.r, alike.pearson.p
    last = f"epoch {alike.epochs[-1]}: r {_r(r[-1])} (p {p_value(p[-1])})"
    known = r[np.isfinite(r)]
    among = f"; {_r(known.min())} to {_r(known.max())} over the epochs" if len(known) > 1 else ""
    return f"Learning with forgetting over {alike.layers} layers, {last}{among}."


def _by_other_estimators(shown: Analysis, analyses: Iterable[Analysis]) -> Iterator[str]:
    for other in analyses:
        for family in other.families if other is not shown else ():
            found = family.screening
            best = found.strongest_first()[0]
            yield (
                f"By CKA {other.curves.estimator}, strongest of {family.name}: "
                f"{found.hypotheses[best]}, r {_r(found.r[best])} (p {p_value(found.p[best])}; "
                f"max-stat. p {_WITHOUT}: "
                f"{later_p(found.family_wise[best], len(family.epochs))})."
            )


def _pair(found: Correlation) -> str:
    return f"{_r(float(found.r))} ({p_value(float(found.p))})"


def _r(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
