"""The charts of a job in reading order.

Figures and page are made from the same list: what is drawn is drawn once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray import charts
from stir_ray.charts.blocks import Chart
from stir_ray.charts.readings import ComparedModel, compared_models
from stir_ray.charts.robustness_study import StrongestHypothesis, prefix_series
from stir_ray.charts.style import FINETUNED, FROM_SCRATCH, model_at, model_name
from stir_ray.measures import MEASURES
from stir_ray.report.hypotheses import (
    Table,
    doubts,
    hypothesis_table,
    later_p,
    p_value,
    study_note,
    summary_of,
)
from stir_ray.report.job_results import JobResults
from stir_ray.results.correlation_study import StoredAnalysis
from stir_ray.results.epoch_curves import EpochCurves

_STUDY_ESTIMATOR = "biased"
"""As in the paper; the tables have both."""


@dataclass(frozen=True)
class Section:
    """Charts that stand together on the page."""

    id: str  # anchor, by which `words.toml` has title and paragraphs
    charts: Mapping[str, Chart]  # by the stem of their files, in their order
    findings: Sequence[str] = ()  # paragraphs about the numbers of this job
    warnings: Sequence[str] = ()  # what to doubt
    tables: Sequence[Table] = ()  # before the charts


def sections(job: JobResults) -> Iterator[Section]:
    """Yield the sections that a job's results allow, each drawn when its turn comes."""
    yield from (section for section in _sections(job) if section.charts)


def _sections(job: JobResults) -> Iterator[Section]:
    results, tested = job.results, job.tested
    models = compared_models(results) if results is not None else []
    if results is not None:
        drawing = charts.learning_and_forgetting(results)
        yield Section("layers", {"1-learning-forgetting-by-layer": drawing})
        kinds = {"3-flow": charts.flow, "5-matrices": charts.matrices, "5-scores": charts.scores}
        drawings = {
            stem_of(stem, compared.model): draw(results, model=compared.model)
            for compared in models
            for stem, draw in kinds.items()
        }
        yield Section("matrices", drawings)
        drawings = {
            stem_of("4-epochs", compared.model): charts.curves(results, model=compared.model)
            for compared in models
            if len(compared.epochs) > 1
        }
        yield Section("epochs", drawings)
        drawings = {"2-cka-divergence-by-layer": charts.cka_divergence(results)}
        drawings |= _measure_charts(results, job.tables, "divergence")
        findings = [text for compared in models for text in _largest_difference(compared)]
        yield Section("divergence", drawings, findings)
    if tested is not None:
        drawings = {
            stem_of("9-accuracy-on-corrupted-images", model): charts.robustness(tested, model=model)
            for model in (FINETUNED, FROM_SCRATCH)
            if (tested["model"] == model).any()
        }
        yield Section("robustness", drawings)
    if results is not None:
        yield Section("measures", _measure_charts(results, job.tables, "measures"))
        if job.images is not None:
            yield Section("gallery", {"8-gallery": charts.gallery(job.images)})
        drawings = {
            "6-convergence-by-layer": charts.convergence(results),
            "7-stir-and-baselines-by-layer": charts.baselines(results),
            "10-learning-against-forgetting": charts.learning_against_forgetting(results),
        }
        yield Section("diagnostics", drawings)
    if job.analysed is not None:
        yield _study(job.analysed)


def stem_of(chart: str, model: str) -> str:
    """Return the stem of the files of a model's chart."""
    return f"{chart}-{model.replace('_', '-')}"


def _measure_charts(
    results: xr.Dataset, tables: Mapping[str, pd.DataFrame], section: str
) -> dict[str, Chart]:
    drawn = [
        stem_and_chart
        for measure in MEASURES.values()
        if measure.section == section and measure.result in tables
        for stem_and_chart in measure.charts(results, tables[measure.result])
    ]
    return dict(sorted(drawn, key=itemgetter(0)))


def _largest_difference(compared: ComparedModel) -> Iterator[str]:
    forgetting, cka = (
        compared.curve(metric, "unbiased").mean[-1] for metric in ("forgetting", "cka_divergence")
    )
    apart = np.abs(forgetting - cka)
    if np.nanmax(apart, initial=0) >= 0.005:
        n = int(np.nanargmax(apart))
        name = model_at(compared.model, compared.epochs[-1], compared.results).capitalize()
        yield (
            f"{name}: the two differ most in layer {compared.shared_layers[n]}, where "
            f"forgetting is {forgetting[n]:.2f} and CKA divergence {cka[n]:.2f} (unbiased CKA)."
        )


def _study(analysed: StoredAnalysis) -> Section:
    drawings: dict[str, Chart] = {}
    tables, warnings = [], []
    for curves, rows, correlations in models_analysed(analysed):
        note, name = study_note(analysed, curves, rows), model_name(curves.model)
        best = rows[(rows["rank"] == 1) & ~rows["is_undefined"]].to_dict("records")
        tables.append(hypothesis_table(rows, f"The strongest hypotheses about the {name} model"))
        warnings += [f"{name.capitalize()} model, {doubts(curves, row)}" for row in best]
        severities = ", ".join(str(n) for n in curves.severities if n)
        against = f"at severity {severities}, averaged" if severities else "on clean images"
        drawing = charts.hypotheses(rows, against=f"accuracy {against}", note=note, name=name)
        drawings[stem_of("12-hypotheses", curves.model)] = drawing
        strongest = [
            StrongestHypothesis(
                row,
                summary_of(row, curves),
                (
                    later_p(row["max_statistic_p"], row["epochs"]),
                    p_value(row["max_statistic_p_all_epochs"]),
                ),
            )
            for row in best
        ]
        drawings[stem_of("13-strongest-hypotheses", curves.model)] = charts.strongest_hypotheses(
            strongest,
            epochs=curves.epochs,
            severities=curves.severities,
            accuracy=curves.accuracy,
            note=note,
            name=name,
        )
        if prefix_series(correlations):
            drawing = charts.prefixes(correlations, note=note, name=name)
            drawings[stem_of("14-prefixes", curves.model)] = drawing
    return Section("study", drawings, warnings=warnings, tables=tables)


def models_analysed(
    analysed: StoredAnalysis,
) -> Iterator[tuple[EpochCurves, pd.DataFrame, pd.DataFrame]]:
    """Yield the curves of every model with an r, and its rows of both tables, by biased CKA."""
    for curves in analysed.curves:
        rows, correlations = (
            table[(table["model"] == curves.model) & (table["estimator"] == curves.estimator)]
            for table in (analysed.hypotheses, analysed.correlations)
        )
        if curves.estimator == _STUDY_ESTIMATOR and not rows["is_undefined"].all():
            yield curves, rows, correlations
