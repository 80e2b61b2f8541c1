"""The charts of a job in reading order.

Figures and page are made from the same list: what is drawn is drawn once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from stir_ray import charts
from stir_ray.charts.gallery import Gallery
from stir_ray.charts.hypotheses import StrongestHypothesis, prefix_series
from stir_ray.charts.optional_tables import last_epochs_in
from stir_ray.charts.readings import ComparedModel, compared_models
from stir_ray.charts.robustness import tested_models
from stir_ray.charts.style import model_at, model_name
from stir_ray.charts.subspaces import has_subspaces
from stir_ray.report.p_values import later_p, p_value
from stir_ray.report.study_tables import Table, doubts, hypothesis_table, study_note, summary_of
from stir_ray.results.epoch_curves import EpochCurves
from stir_ray.results.stored_analysis import StoredAnalysis

_STUDY_ESTIMATOR = "biased"
"""As in the paper; the tables have both."""


@dataclass(frozen=True)
class Figure:
    """A chart of a job: the stem of its files, and a function that makes it."""

    stem: str
    make: Callable[[], alt.ConcatChart]


@dataclass(frozen=True)
class Section:
    """Figures that stand together on the page.

    Attributes:
        id: anchor, by which `words.toml` has title and paragraphs.
        figures: in their order.
        findings: paragraphs about the numbers of this job.
        warnings: what to doubt.
        tables: before the figures.
    """

    id: str
    figures: Sequence[Figure]
    findings: Sequence[str] = ()
    warnings: Sequence[str] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class JobResults:
    """What there is of a job; None of what it has not.

    Attributes:
        results: as `open_results` gives them, if there is a number.
        tables: of optional measures, by name.
        tested: the table `robustness`, if a compared model was tested.
        images: original and inverted ones.
        analysed: the correlation study.
    """

    results: xr.Dataset | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    tested: pd.DataFrame | None = None
    images: Gallery | None = None
    analysed: StoredAnalysis | None = None


def sections(job: JobResults) -> Iterator[Section]:
    """Return the sections that a job's results allow."""
    if job.results is not None:
        models = compared_models(job.results)
        yield _layers(job.results)
        yield _matrices(job.results, models)
        yield from _epochs(job.results, models)
        yield _divergence(job.results, models)
    yield from _robustness(job.tested)
    if job.results is not None:
        yield from _optional_measures(job.results, job.tables)
        if job.images is not None:
            yield Section("gallery", [Figure("8-gallery", partial(charts.gallery, job.images))])
        yield _diagnostics(job.results)
    if job.analysed is not None:
        yield from _study(job.analysed)


def _layers(results: xr.Dataset) -> Section:
    make = partial(charts.learning_and_forgetting, results)
    return Section("layers", [Figure("1-learning-forgetting-by-layer", make)])


def _matrices(results: xr.Dataset, models: Sequence[ComparedModel]) -> Section:
    kinds = {"3-flow": charts.flow, "5-matrices": charts.matrices, "5-scores": charts.scores}
    figures = [
        Figure(f"{stem}-{_dashed(compared.model)}", partial(draw, results, model=compared.model))
        for compared in models
        for stem, draw in kinds.items()
    ]
    return Section("matrices", figures)


def _epochs(results: xr.Dataset, models: Sequence[ComparedModel]) -> Iterator[Section]:
    figures = [
        Figure(
            f"4-epochs-{_dashed(compared.model)}",
            partial(charts.curves, results, model=compared.model),
        )
        for compared in models
        if len(compared.epochs) > 1
    ]
    if figures:
        yield Section("epochs", figures)


def _divergence(results: xr.Dataset, models: Sequence[ComparedModel]) -> Section:
    figures = [Figure("2-cka-divergence-by-layer", partial(charts.cka_divergence, results))]
    if has_subspaces(results):
        figures.append(Figure("11-subspaces-by-layer", partial(charts.subspaces, results)))
    findings = [text for compared in models for text in _largest_difference(compared)]
    return Section("divergence", figures, findings)


def _largest_difference(compared: ComparedModel) -> Iterator[str]:
    forgetting, cka = (
        compared.curve(metric, "unbiased").mean[-1] for metric in ("forgetting", "cka_divergence")
    )
    apart = np.abs(forgetting - cka)
    if np.nanmax(apart, initial=0) >= 0.005:
        n = int(np.nanargmax(apart))
        name = model_at(compared.model, compared.epochs[-1], compared.results).capitalize()
        yield (
            f"{name}: they differ most in layer {compared.shared_layers[n]}, where forgetting is "
            f"{forgetting[n]:.2f} and CKA divergence {cka[n]:.2f} (unbiased CKA)."
        )


def _robustness(tested: pd.DataFrame | None) -> Iterator[Section]:
    if tested is not None and (models := tested_models(tested)):
        figures = [
            Figure(
                f"9-accuracy-on-corrupted-images-{_dashed(model)}",
                partial(charts.robustness, tested, model=model),
            )
            for model in models
        ]
        yield Section("robustness", figures)


def _optional_measures(
    results: xr.Dataset, tables: Mapping[str, pd.DataFrame]
) -> Iterator[Section]:
    figures = []
    if (table := tables.get("metamer_counts")) is not None:
        make = partial(charts.metamers, results, table)
        figures.append(Figure("18-metamers-by-layer", make))
    if (table := tables.get("unchanged_predictions")) is not None:
        make = partial(charts.predictions, results, table)
        figures.append(Figure("19-unchanged-predictions-by-layer", make))
    if (table := tables.get("other_similarities")) is not None:
        for compared, _ in last_epochs_in(table, results):
            make = partial(charts.similarities, results, table, model=compared.model)
            figures.append(Figure(f"21-measures-by-layer-{_dashed(compared.model)}", make))
            if len(compared.epochs) > 1:
                make = partial(
                    charts.similarities_over_epochs, results, table, model=compared.model
                )
                figures.append(Figure(f"22-measures-over-epochs-{_dashed(compared.model)}", make))
    if figures:
        yield Section("measures", figures)


def _diagnostics(results: xr.Dataset) -> Section:
    drawn = {
        "6-convergence-by-layer": charts.convergence,
        "7-stir-and-baselines-by-layer": charts.baselines,
        "10-learning-against-forgetting": charts.learning_against_forgetting,
    }
    return Section(
        "diagnostics", [Figure(stem, partial(draw, results)) for stem, draw in drawn.items()]
    )


def _study(analysed: StoredAnalysis) -> Iterator[Section]:
    figures: list[Figure] = []
    tables, warnings = [], []
    for curves, rows, correlations in models_analysed(analysed):
        name, stem = model_name(curves.model), _dashed(curves.model)
        note = study_note(analysed, curves, rows)
        best = rows[(rows["rank"] == 1) & ~rows["is_undefined"]].to_dict("records")
        tables.append(hypothesis_table(rows, f"The strongest hypotheses about the {name} model"))
        warnings += [f"{name.capitalize()} model, {doubts(curves, row)}" for row in best]
        words = {"note": note, "name": name}
        against = _against(curves)
        figures += [
            Figure(f"12-hypotheses-{stem}",
                   partial(charts.hypotheses, rows, against=against, **words)),
            Figure(f"13-strongest-hypotheses-{stem}", partial(_strongest, curves, best, **words)),
        ]  # fmt: skip
        if prefix_series(correlations):
            make = partial(charts.prefixes, correlations, **words)
            figures.append(Figure(f"14-prefixes-{stem}", make))
    if figures:
        yield Section("study", figures, warnings=warnings, tables=tables)


def models_analysed(
    analysed: StoredAnalysis,
) -> Iterator[tuple[EpochCurves, pd.DataFrame, pd.DataFrame]]:
    """Return the curves of every model with an r, and its rows of both tables, by biased CKA."""
    for curves in analysed.curves:
        rows, correlations = (
            table[(table["model"] == curves.model) & (table["estimator"] == curves.estimator)]
            for table in (analysed.hypotheses, analysed.correlations)
        )
        if curves.estimator == _STUDY_ESTIMATOR and not rows["is_undefined"].all():
            yield curves, rows, correlations


def _strongest(
    curves: EpochCurves, best: Sequence[Mapping[Any, Any]], *, note: str, name: str
) -> alt.ConcatChart:
    shown = [
        StrongestHypothesis(
            row,
            summary_of(row, curves),
            (later_p(row["max_statistic_p"], row["epochs"]),
             p_value(row["max_statistic_p_all_epochs"])),
        )
        for row in best
    ]  # fmt: skip
    return charts.strongest_hypotheses(
        shown,
        epochs=curves.epochs,
        severities=curves.severities,
        accuracy=curves.accuracy,
        note=note,
        name=name,
    )


def _against(curves: EpochCurves) -> str:
    severities = [n for n in curves.severities if n]
    if not severities:
        return "accuracy on clean images"
    return f"accuracy at severity {', '.join(map(str, severities))}, averaged"


def _dashed(model: str) -> str:
    return model.replace("_", "-")
