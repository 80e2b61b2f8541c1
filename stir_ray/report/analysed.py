"""Every figure that a stored analysis allows, to be drawn only if somebody wants it."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from stir_ray.plan.formatting import spelled
from stir_ray.report.figures import Maker
from stir_ray.report.hypotheses import hypotheses_figure
from stir_ray.report.strongest import Prefixes, prefixes_figure, prefixes_of, strongest_figure
from stir_ray.results.analysis.epoch_curves import CLEAN, EpochCurves
from stir_ray.results.analysis.job_analysis import StoredAnalysis

_ESTIMATOR = "biased"
"""As the paper has it; the tables have both."""


def analysis_figures(analysed: StoredAnalysis) -> Iterator[tuple[str, Maker]]:
    """File stem and maker of each figure of every model that has a hypothesis with an r."""
    for of, rows, correlations in models_analysed(analysed):
        name, note = of.model.replace("_", "-"), sample_of(analysed, of, rows)
        against = _against(of)
        make = partial(hypotheses_figure, rows, against=against, sample=note)
        yield f"12-hypotheses-{name}", make
        yield f"13-strongest-hypotheses-{name}", partial(strongest_figure, of, rows, sample=note)
        if prefixes_of(correlations):
            place = {"model": of.model, "sample": note}
            yield f"14-prefixes-{name}", partial(prefixes_figure, correlations, **place)


def prefix_figures_beside(
    analysed: StoredAnalysis, published: Sequence[Prefixes]
) -> Iterator[tuple[str, Maker]]:
    """Those of the first epochs alone, with what others published dashed."""
    for of, rows, correlations in models_analysed(analysed) if published else ():
        if prefixes_of(correlations):
            place = {"model": of.model, "sample": sample_of(analysed, of, rows)}
            make = partial(prefixes_figure, correlations, published=published, **place)
            yield f"17-prefixes-beside-published-{of.model.replace('_', '-')}", make


def models_analysed(
    analysed: StoredAnalysis,
) -> Iterator[tuple[EpochCurves, pd.DataFrame, pd.DataFrame]]:
    """Of every model with an r: its curves, and its rows of both tables, by biased CKA."""
    for of in analysed.curves:
        rows, correlations = (
            table[(table["model"] == of.model) & (table["estimator"] == of.estimator)]
            for table in (analysed.hypotheses, analysed.correlations)
        )
        if of.estimator == _ESTIMATOR and not rows["is_undefined"].all():
            yield of, rows, correlations


def _against(of: EpochCurves) -> str:
    if of.severities == (CLEAN,):
        return "accuracy on clean images"
    many = "severities" if len(of.severities) > 1 else "severity"
    return f"accuracy at {many} {spelled(of.severities)}, averaged"


def sample_of(analysed: StoredAnalysis, of: EpochCurves, rows: pd.DataFrame) -> str:
    """Of what images and seeds an analysis is, in sentences."""
    seeds = int(rows["seeds"].max())
    said = ""
    if seeds:
        many = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
        said = f", {many} of the inversions"
    tested = ""
    if of.severities != (CLEAN,) and analysed.tested_images:
        tested = f" Accuracies are of {analysed.tested_images} held-out images."
    return f"{analysed.images} images{said}; {of.estimator} CKA, as in the paper.{tested}"
