"""The tables of a job's results, and of their analysis: whether scores go with accuracy."""

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

_OF_CURVES = (
    Column("model", TEXT, "whose epochs: `finetuned`, `from_scratch`, or `given` in a table"),
    Column(
        "estimator", TEXT, "HSIC estimator: biased or unbiased; `given` for a table of the user's"
    ),
)
_WITHOUT_FIRST = "without the first 5 epochs, NaN where fewer than 10 are left"
_WITH_FIRST = "a transient at the beginning of both series makes it small by itself"

HYPOTHESES = TableSchema(
    "hypotheses",
    (
        *_OF_CURVES,
        Column("family", TEXT, "hypotheses among which tests are counted: learning and "
               "forgetting, CKA divergence or subspace similarity"),
        Column("hypothesis", TEXT, "in words, e.g. `std of forgetting over layers 2-12`"),
        Column("curve", TEXT, "of what; e.g. `learning + forgetting`"),
        Column("aggregate", TEXT, "over the layers: mean, std, min or max"),
        Column("first_layer", INT, "block, from 1", "1", "[1, depth]"),
        Column("last_layer", INT, "block, from 1", "1", "[1, depth]"),
        Column("is_undefined", pa.bool_(), "no correlation exists: the std of one layer, or what "
               "does not vary; its numbers are NaN"),
        Column("rank", INT, "within its family by the size of pearson_r, from 1; undefined last",
               "1", "[1, inf)"),
        Column("epochs", INT, "number of epochs", "1", "[0, inf)"),
        Column("severities", INT, "number of severities that r and p are averaged over; 1 if "
               "only clean accuracy is known", "1", "[1, 5]"),
        Column("pearson_r", FLOAT, "with accuracy over the epochs, averaged over severities",
               "1", "[-1, 1]"),
        Column("pearson_p", FLOAT, "of it, as if epochs were independent, averaged over "
               "severities as the paper does", "1", "[0, 1]"),
        Column("bonferroni_p", FLOAT, "pearson_p times the hypotheses of the family, at most 1",
               "1", "[0, 1]"),
        Column("max_statistic_p", FLOAT, "share of the circular shifts in which some hypothesis "
               f"of the family is as strong; {_WITHOUT_FIRST}", "1", "[0, 1]"),
        Column("max_statistic_p_all_epochs", FLOAT, f"the same of all epochs; {_WITH_FIRST}",
               "1", "[0, 1]"),
        Column("circular_shift_p", FLOAT, "share of the circular shifts in which it is as strong; "
               f"{_WITHOUT_FIRST}", "1", "[0, 1]"),
        Column("circular_shift_p_all_epochs", FLOAT, f"the same of all epochs; {_WITH_FIRST}",
               "1", "[0, 1]"),
        Column("effective_epochs", FLOAT, "independent epochs that the two series are worth; "
               f"{_WITHOUT_FIRST}", "1", "[0, inf)"),
        Column("effective_p", FLOAT, "of without_first_5_r among so many; NaN for 2 or fewer",
               "1", "[0, 1]"),
        Column("effective_epochs_all_epochs", FLOAT, "independent epochs that the two series are "
               "worth, the transient at their beginning among them", "1", "[0, inf)"),
        Column("effective_p_all_epochs", FLOAT, "of pearson_r among so many; NaN for 2 or fewer",
               "1", "[0, 1]"),
        Column("spearman_r", FLOAT, "of ranks, averaged over severities", "1", "[-1, 1]"),
        Column("spearman_p", FLOAT, "of it", "1", "[0, 1]"),
        Column("differences_r", FLOAT, "of the steps from epoch to epoch", "1", "[-1, 1]"),
        Column("differences_p", FLOAT, "of it", "1", "[0, 1]"),
        Column("given_clean_r", FLOAT, "partial, given clean accuracy; NaN where it is not known",
               "1", "[-1, 1]"),
        Column("given_clean_p", FLOAT, "of it", "1", "[0, 1]"),
        *(Column(f"without_first_{count}_r", FLOAT, f"Pearson's r without the first {count} "
                 "epochs; NaN where fewer than 3 are left", "1", "[-1, 1]")
          for count in (1, 2, 3, 5)),
        *(Column(f"differences_without_first_{count}_r", FLOAT, "of the steps from epoch to epoch "
                 f"without the first {count} epochs; NaN where fewer than 3 steps are left",
                 "1", "[-1, 1]")
          for count in (1, 2, 3, 5)),
        Column("seeds", INT, "number of seeds of the inversions; 0 where none takes part, in CKA "
               "divergence and subspace similarity", "1", "[0, inf)"),
        Column("seeds_low", FLOAT, "lower end of the 95 % t interval of pearson_r over the seeds "
               "(jackknife, cut off at -1); NaN for a single seed or none", "1", "[-1, 1]"),
        Column("seeds_high", FLOAT, "upper end, cut off at 1, likewise", "1", "[-1, 1]"),
        Column("half_samples", INT, "random halves of the images that images_low and images_high "
               "are of; 0 if there are none", "1", "[0, inf)"),
        Column("images_low", FLOAT, "2.5 % quantile of pearson_r over them: how far it could have "
               "been off, had other images been drawn; NaN without them", "1", "[-1, 1]"),
        Column("images_high", FLOAT, "97.5 % quantile, likewise", "1", "[-1, 1]"),
    ),
    key=("model", "estimator", "hypothesis"),
)  # fmt: skip

CORRELATIONS = TableSchema(
    "correlations",
    (
        *_OF_CURVES,
        Column("hypothesis", TEXT, "as in the table `hypotheses`"),
        Column("look", TEXT, "pearson, spearman, differences (steps from epoch to epoch) or "
               "given_clean (partial, given clean accuracy)"),
        Column("first_epoch", INT, "the first that is looked at; later than the first there is "
               "where first epochs are dropped", "1", "[0, inf)"),
        Column("last_epoch", INT, "the last that is looked at; all prefixes are there of the "
               "strongest hypothesis of a family", "1", "[0, inf)"),
        Column("severity", INT, "of the corruption, 1 to 5; 0 is clean accuracy", "1", "[0, 5]"),
        Column("epochs", INT, "number of epochs", "1", "[0, inf)"),
        Column("r", FLOAT, "in [-1, 1]; NaN where it is undefined", "1", "[-1, 1]"),
        Column("p", FLOAT, "two-sided, as if epochs were independent; NaN where r is",
               "1", "[0, 1]"),
    ),
    key=("model", "estimator", "hypothesis", "look", "first_epoch", "last_epoch", "severity"),
)  # fmt: skip

LEARNING_WITH_FORGETTING = TableSchema(
    "learning_with_forgetting",
    (
        *_OF_CURVES,
        Column("epoch", INT, "of the model's training", "1", "[0, inf)"),
        Column("layers", INT, "number of layers correlated over", "1", "[1, depth]"),
        Column("pearson_r", FLOAT, "of learning with forgetting over the layers; NaN where one "
               "does not vary", "1", "[-1, 1]"),
        Column("pearson_p", FLOAT, "of it, as if layers were independent", "1", "[0, 1]"),
        Column("spearman_r", FLOAT, "of ranks", "1", "[-1, 1]"),
        Column("spearman_p", FLOAT, "of it", "1", "[0, 1]"),
    ),
    key=("model", "estimator", "epoch"),
)  # fmt: skip

ANALYSIS_TABLES = (HYPOTHESES, CORRELATIONS, LEARNING_WITH_FORGETTING)
