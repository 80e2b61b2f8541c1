"""The tables of a job's results."""

import pyarrow as pa

from stir_ray.lake.schemas.artifacts import TRAININGS
from stir_ray.lake.schemas.columns import FLOAT, INT, TEXT, Column, TableSchema
from stir_ray.lake.schemas.measured import (
    COMPARED_MODEL,
    CONDITION,
    CORRECTNESS,
    IMAGES,
    LAYER_PAIR,
    SCORES,
    SEED,
    TESTED,
)

_QUANTILES = {"q05": "5 % quantile", "median": "median", "q95": "95 % quantile"}

RESULTS = TableSchema(
    "results",
    (
        *COMPARED_MODEL,
        Column("direction", TEXT, "target|reference: `ft|pt` is STIR(ft | pt); `pt` the "
               "pretrained model, `ft` the compared one"),
        *(SEED, *LAYER_PAIR, IMAGES, *SCORES),
        *(Column(f"residual_{name}", FLOAT, f"{words} over images of the inversion's residual",
                 "1", "[0, inf)")
          for name, words in _QUANTILES.items()),
        Column("residual_max", FLOAT, "largest residual of any image", "1", "[0, inf)"),
        Column("centred_residual_median", FLOAT, "median over images of the inversion's centred "
               "residual", "1", "[0, inf)"),
        Column("centred_residual_q95", FLOAT, "95 % quantile over images of the centred residual; "
               "converged: at most 0.1", "1", "[0, inf)"),
        Column("centred_residual_max", FLOAT, "largest centred residual of any image", "1",
               "[0, inf)"),
        Column("unconverged", INT, "images whose centred residual is above 0.1", "1",
               "[0, images]"),
        Column("not_inverted", INT, "images whose centred residual is above 0.5", "1",
               "[0, images]"),
        Column("stuck", INT, "images whose centred residual is above 0.1 and more than ten times "
               "the median", "1", "[0, images]"),
        Column("iterations", INT, "steps that the inversion took", "1", "[1, inf)"),
        Column("is_converged", pa.bool_(), "whether the inversion converged: its residuals, its "
               "self-STIR, and no score of its own model and of the pretrained one moving"),
    ),
    key=("model", "epoch", "direction", "seed", "reference_layer", "target_layer"),
)  # fmt: skip

MATRICES = TableSchema(
    "matrices",
    (
        *COMPARED_MODEL,
        Column("metric", TEXT, "learning, forgetting, cka_divergence, flow, flow_control or "
               "flow_beyond_control"),
        Column("estimator", TEXT, "HSIC estimator: biased or unbiased"),
        Column("row_layer", INT, "flow: pt layer; else: layer of the target",
               "1", "[1, depth]"),
        Column("column_layer", INT, "flow: ft layer; else: layer of the inverted model",
               "1", "[1, depth]"),
        Column("mean", FLOAT, "over seeds",
               "1", "[-1, 1]; unbiased [-2, 2]; twice that of flow_beyond_control"),
        Column("drift", FLOAT, "change of the mean since half the steps of the inversions: how "
               "far it could still be off; 0 of CKA divergence, NaN where images had no score "
               "then", "1", "[-4, 4]"),
        Column("is_moving", pa.bool_(), "whether the mean has changed by more than 0.01, or by a "
               "third of itself (and 0.001), since half the steps"),
        Column("std", FLOAT, "over seeds, with n - 1; NaN for a single seed or none", "1",
               "[0, inf)"),
        Column("seeds", INT, "number of seeds averaged; 0 of CKA divergence, which no inversion "
               "takes part in", "1", "[0, inf)"),
    ),
    key=("model", "epoch", "metric", "estimator", "row_layer", "column_layer"),
)  # fmt: skip

HISTORY = TableSchema(
    "history",
    (
        Column("model", TEXT, "`pretrained`, `finetuned` or `from_scratch`"),
        *(column for column in TRAININGS.columns if column.name != "location"),
    ),
    key=("model", "epoch"),
)

ROBUSTNESS = TableSchema(
    "robustness",
    (
        Column("model", TEXT, "`pretrained`, `finetuned` or `from_scratch`; each tested on the "
               "dataset whose classes it knows"),
        Column("epoch", INT, "of that model's training; 0 where there was none", "1", "[0, inf)"),
        *CONDITION,
        *TESTED,
    ),
    key=("model", "epoch", "corruption", "severity"),
)  # fmt: skip

TEST_CORRECT = TableSchema(
    "test_correct",
    (
        Column("model", TEXT, "as in the table `robustness`"),
        Column("epoch", INT, "of that model's training; 0 where there was none", "1", "[0, inf)"),
        *CORRECTNESS,
    ),
    key=("model", "epoch", "corruption", "severity"),
)

RESULT_TABLES = (RESULTS, MATRICES, HISTORY, ROBUSTNESS, TEST_CORRECT)
"""Without those of measures: see `stir_ray.measures`."""
