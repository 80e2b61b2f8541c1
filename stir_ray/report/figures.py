"""Every figure that a job's results allow, to be drawn only if somebody wants it."""

from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from stir_ray.report.alike import learning_against_forgetting_figure, subspaces_figure
from stir_ray.report.by_measure import by_measure_figure, measures_over_epochs_figure
from stir_ray.report.curves import divergence_figure, epochs_figure, learning_forgetting_figure
from stir_ray.report.diagnostics import baselines_figure, convergence_figure
from stir_ray.report.further import Further, last_epochs_with
from stir_ray.report.matrices import flow_figure, matrices_figure, scores_figure
from stir_ray.report.metamers import inverted_models, metamers_figure
from stir_ray.report.readings import epochs_of, has_subspaces, last_epochs
from stir_ray.report.unchanged import unchanged_figure

Maker = Callable[[], Figure]


def all_figures(results: xr.Dataset) -> Iterator[tuple[str, Maker]]:
    """File stem and maker of each figure, in reading order; nothing is drawn yet.

    A stem always names the same figure, whatever else the results hold. Results without a single
    number have no figures.
    """
    last = last_epochs(results)
    if not last:
        return
    yield from _both("1-learning-forgetting-by-layer", partial(learning_forgetting_figure, results))
    yield from _both("2-cka-divergence-by-layer", partial(divergence_figure, results))
    for model, epoch in last.items():
        name, place = model.replace("_", "-"), {"model": model, "epoch": epoch}
        yield from _both(f"3-flow-{name}", partial(flow_figure, results, **place))
        if len(epochs_of(results, model)) > 1:
            yield from _both(f"4-epochs-{name}", partial(epochs_figure, results, model=model))
        yield from _both(f"5-matrices-{name}", partial(matrices_figure, results, **place))
        yield from _both(f"5-scores-{name}", partial(scores_figure, results, **place))
    yield "6-convergence-by-layer", partial(convergence_figure, results)
    yield "7-stir-and-baselines-by-layer", partial(baselines_figure, results)
    make = partial(learning_against_forgetting_figure, results)
    yield from _both("10-learning-against-forgetting", make)
    for model, epoch in last.items():
        if has_subspaces(results, model=model, epoch=epoch):
            place = {"model": model, "epoch": epoch}
            name = model.replace("_", "-")
            make = partial(subspaces_figure, results, **place)
            yield from _both(f"11-subspaces-by-layer-{name}", make)


def _both(stem: str, make: Callable[..., Figure]) -> Iterator[tuple[str, Maker]]:
    """A figure by unbiased CKA, and behind it the same by biased CKA."""
    yield stem, make
    yield f"{stem}-biased", partial(make, estimator="biased")


def further_figures(results: xr.Dataset, further: Further) -> Iterator[tuple[str, Maker]]:
    """The same of what a job asked for besides STIR by linear CKA."""
    if further.metamers is not None and inverted_models(results, further.metamers):
        yield "18-metamers-by-layer", partial(metamers_figure, results, further.metamers)
    if further.unchanged is not None and last_epochs_with(further.unchanged, results):
        make = partial(unchanged_figure, results, further.unchanged)
        yield "19-unchanged-predictions-by-layer", make
    if further.similarities is not None:
        yield from _by_measure(results, further.similarities)


def _by_measure(results: xr.Dataset, similarities: pd.DataFrame) -> Iterator[tuple[str, Maker]]:
    for model, epoch in last_epochs_with(similarities, results).items():
        name = model.replace("_", "-")
        make = partial(by_measure_figure, results, similarities, model=model, epoch=epoch)
        yield from _both(f"21-measures-by-layer-{name}", make)
        if len(epochs_of(results, model)) > 1:
            make = partial(measures_over_epochs_figure, results, similarities, model=model)
            yield from _both(f"22-measures-over-epochs-{name}", make)
