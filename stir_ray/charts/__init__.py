"""Charts of a job's results, each one Vega-Altair specification.

In a notebook a chart shows itself; `save` writes it as PNG, SVG or PDF; the page of a job embeds
the same charts.

Example:
    results = stir_ray.open_results("lake/jobs/digits")
    charts.flow(results)
    charts.save(charts.learning_and_forgetting(results), "learning.pdf")
"""

from stir_ray.charts.comparison import (
    beside_published,
    compare_jobs,
    compare_jobs_over_epochs,
    flow_beside_published,
)
from stir_ray.charts.curves import (
    cka_divergence,
    curves,
    forgetting,
    learning,
    learning_and_forgetting,
)
from stir_ray.charts.diagnostics import baselines, convergence, learning_against_forgetting
from stir_ray.charts.gallery import gallery
from stir_ray.charts.hypotheses import hypotheses, prefixes, strongest_hypotheses
from stir_ray.charts.matrices import flow, matrices, scores
from stir_ray.charts.metamers import metamers
from stir_ray.charts.predictions import predictions
from stir_ray.charts.robustness import robustness
from stir_ray.charts.save import save
from stir_ray.charts.similarities import similarities, similarities_over_epochs
from stir_ray.charts.subspaces import subspaces

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
