"""Charts of a job's results, each one Vega-Altair specification.

In a notebook a chart shows itself; `save` writes it as PNG, SVG or PDF; the page of a job embeds
the same charts.

Example:
    results = stir_ray.open_results("lake/jobs/digits")
    charts.flow(results)
    charts.save(charts.learning_and_forgetting(results), "learning.pdf")
"""

from stir_ray.charts.curves import (
    cka_divergence,
    curves,
    forgetting,
    learning,
    learning_and_forgetting,
)
from stir_ray.charts.matrices import flow, matrices, scores
from stir_ray.charts.save import save

__all__ = [
    "cka_divergence",
    "curves",
    "flow",
    "forgetting",
    "learning",
    "learning_and_forgetting",
    "matrices",
    "save",
    "scores",
]
