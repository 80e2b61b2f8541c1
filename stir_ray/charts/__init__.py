"""Charts of a job's results, each one Vega-Altair specification.

In a notebook a chart shows itself; `save` writes it as PNG, SVG or PDF; the page of a job embeds
the same charts.

Example:
    results = stir_ray.open_results("lake/jobs/digits")
    charts.flow(results)
    charts.save(charts.learning_and_forgetting(results), "learning.pdf")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from stir_ray.charts.robustness_study import hypotheses, prefixes, robustness, strongest_hypotheses

if TYPE_CHECKING:
    from stir_ray.measures.metamers import metamers
    from stir_ray.measures.predictions import predictions
    from stir_ray.measures.similarities import similarities, similarities_over_epochs
    from stir_ray.measures.subspaces import subspaces

__all__ = [
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
    "metamers",
    "predictions",
    "prefixes",
    "robustness",
    "save",
    "scores",
    "similarities",
    "similarities_over_epochs",
    "strongest_hypotheses",
    "subspaces",
]


def __getattr__(name: str) -> Any:
    """Import the chart of a measure, which stands in the measure's module, above this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"stir_ray.measures.{name.removesuffix('_over_epochs')}")
    return getattr(module, name)
