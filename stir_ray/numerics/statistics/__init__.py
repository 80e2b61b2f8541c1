"""Does the change of the layers by finetuning go with robustness over the epochs?

`multiple_testing.screen` correlates every hypothesis of Merlin et al. 2023 with accuracy;
`diagnostics.diagnose` computes the correlations in ways that the paper does not, and
`interpretation` puts the doubts in sentences. `intervals` gives the uncertainty from other seeds
and other images. The r and p of a correlation over 100 epochs of one training describe that one
training: the epochs are no independent draws, and only another training would be.
"""

from stir_ray.numerics.statistics.autocorrelation import EffectiveSample
from stir_ray.numerics.statistics.circular_shift import TOO_FEW, TRANSIENT, outlasts_transient
from stir_ray.numerics.statistics.correlation import Correlation, pearson, spearman
from stir_ray.numerics.statistics.diagnostics import CorrelationDiagnostics, diagnose
from stir_ray.numerics.statistics.hypotheses import Aggregate, Hypothesis
from stir_ray.numerics.statistics.interpretation import interpretation
from stir_ray.numerics.statistics.intervals import Interval, percentiles, random_halves, t_interval
from stir_ray.numerics.statistics.multiple_testing import Screening, screen

__all__ = [
    "TOO_FEW",
    "TRANSIENT",
    "Aggregate",
    "Correlation",
    "CorrelationDiagnostics",
    "EffectiveSample",
    "Hypothesis",
    "Interval",
    "Screening",
    "diagnose",
    "interpretation",
    "outlasts_transient",
    "pearson",
    "percentiles",
    "random_halves",
    "screen",
    "spearman",
    "t_interval",
]
