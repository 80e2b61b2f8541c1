"""Whether what finetuning did to the layers goes with robustness over the epochs.

`screen` tries every hypothesis of Merlin et al. 2023; `looks` looks at all of them, and `examine`
at one of them, in the ways that the paper does not, and `verdict` says in words what came of it.
`t_interval` says how far a number could have been off, had other seeds been drawn. The r and p of
a correlation over 100 epochs of one training describe that one training: the epochs are no
independent draws, and only another training would be.
"""

from stir_ray.numerics.statistics.autocorrelation import (
    EffectiveSample,
    effective,
    effective_sample,
    lag1_autocorrelation,
)
from stir_ray.numerics.statistics.circular_shift import circular_shift_p, family_wise_p, shifted
from stir_ray.numerics.statistics.correlation import (
    Correlation,
    leave_one_out,
    of_differences,
    partial,
    pearson,
    significance,
    spearman,
    without_first,
)
from stir_ray.numerics.statistics.correlation_diagnostics import (
    CorrelationDiagnostics,
    WithoutFirst,
    examine,
)
from stir_ray.numerics.statistics.half_sampling import random_halves
from stir_ray.numerics.statistics.hypotheses import (
    Aggregate,
    Hypothesis,
    hypotheses,
    layer_sets,
    learning_and_forgetting,
)
from stir_ray.numerics.statistics.interpretation import Thresholds, verdict
from stir_ray.numerics.statistics.interval import Interval, percentiles, t_interval
from stir_ray.numerics.statistics.multiple_testing import Screening, screen
from stir_ray.numerics.statistics.sensitivity import Look, looks, prefixes
from stir_ray.numerics.statistics.transient import (
    TOO_FEW,
    TRANSIENT,
    outlasts_transient,
    without_transient,
)

__all__ = [
    "TOO_FEW",
    "TRANSIENT",
    "Aggregate",
    "Correlation",
    "CorrelationDiagnostics",
    "EffectiveSample",
    "Hypothesis",
    "Interval",
    "Look",
    "Screening",
    "Thresholds",
    "WithoutFirst",
    "circular_shift_p",
    "effective",
    "effective_sample",
    "examine",
    "family_wise_p",
    "hypotheses",
    "lag1_autocorrelation",
    "layer_sets",
    "learning_and_forgetting",
    "leave_one_out",
    "looks",
    "of_differences",
    "outlasts_transient",
    "partial",
    "pearson",
    "percentiles",
    "prefixes",
    "random_halves",
    "screen",
    "shifted",
    "significance",
    "spearman",
    "t_interval",
    "verdict",
    "without_first",
    "without_transient",
]
