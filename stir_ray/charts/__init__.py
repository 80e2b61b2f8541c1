"""Charts of a job's results, each one Vega-Altair specification.

In a notebook a chart shows itself; `save` writes it as PNG, SVG or PDF; the page of a job embeds
the same charts.

Example:
    results = stir_ray.open_results("lake/jobs/digits")
    charts.flow(results)
    charts.save(charts.learning_and_forgetting(results), "learning.pdf")
"""

from importlib import import_module
from typing import Any

from stir_ray.charts.blocks import save
from stir_ray.charts.comparison import (
    beside_published,
    compare_jobs,
    compare_jobs_over_epochs,
    flow_beside_published,
)
from stir_ray.charts.curves import (
    baselines,
    cka_divergence,
    convergence,
    curves,
    forgetting,
    learning,
    learning_against_forgetting,
    learning_and_forgetting,
)
from stir_ray.charts.gallery import gallery
from stir_ray.charts.heatmaps import flow, matrices, scores
from stir_ray.charts.study import hypotheses, prefixes, robustness, strongest_hypotheses

_MEASURES = {
    "metamers": "metamers",
    "predictions": "predictions",
    "similarities": "similarities",
    "similarities_over_epochs": "similarities",
    "subspaces": "subspaces",
}
__all__ = [  # noqa: PLE0604
    "baselines",
    "beside_published",
    "cka_divergence",
    "compare_jobs",
    "compare_jobs_over_epochs",
    "convergence",
    "curves",
    "flow",
    "flow_beside_published",
    "forgetting",
    "gallery",
    "hypotheses",
    "learning",
    "learning_against_forgetting",
    "learning_and_forgetting",
    "matrices",
    "prefixes",
    "robustness",
    "save",
    "scores",
    "strongest_hypotheses",
    *_MEASURES,
]


def __getattr__(name: str) -> Any:
    """Import the chart of a measure, which stands in the measure's module, above this package."""
    if name not in _MEASURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"stir_ray.measures.{_MEASURES[name]}"), name)
