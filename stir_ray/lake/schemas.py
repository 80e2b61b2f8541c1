"""Every column of every table, declared once with its type and meaning."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

IMAGE = "image"
"""A column type that the first image decides: a float16 tensor (channel, height, width)."""


@dataclass(frozen=True)
class Column:
    """One column: its name, Arrow type (or `IMAGE`) and what it means."""

    name: str
    type: Any
    meaning: str


@dataclass(frozen=True)
class TableSchema:
    """One table: a part or result of it has exactly these columns, without nulls.

    Attributes:
        name: also its folder in the lake.
        columns: in the order in which they are stored.
        key: the columns that tell one row from another within a part or result.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def arrow(self, image_shape: tuple[int, ...] = ()) -> pa.Schema:
        """The Arrow schema; every field carries its meaning."""
        return pa.schema([_field(column, image_shape) for column in self.columns])


def _field(column: Column, image_shape: tuple[int, ...]) -> pa.Field:
    kind = column.type
    if kind == IMAGE:
        kind = pa.fixed_shape_tensor(pa.float16(), image_shape)
    return pa.field(column.name, kind, nullable=False, metadata={"meaning": column.meaning})


_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

_LAYER_PAIR = (
    Column("reference_layer", _INT, "block of the inverted model, from 1"),
    Column("target_layer", _INT, "block of the model that looks, from 1"),
)
_SCORES = (
    Column("stir", _FLOAT, "STIR: biased linear CKA of the target's view of images and inverted "
           "images; 1 is full agreement"),
    Column("stir_unbiased", _FLOAT, "the same with unbiased HSIC; about 0 for unrelated views"),
    Column("cka", _FLOAT, "biased linear CKA of target and reference on the images themselves"),
    Column("cka_unbiased", _FLOAT, "the same with unbiased HSIC"),
    Column("noise_stir", _FLOAT, "baseline: STIR if nothing were optimised (inverted images = "
           "noise start)"),
    Column("noise_stir_unbiased", _FLOAT, "the same with unbiased HSIC"),
    Column("shuffled_stir", _FLOAT, "null: STIR if the inverted images were other real images"),
    Column("shuffled_stir_unbiased", _FLOAT, "the same with unbiased HSIC"),
)  # fmt: skip

IMAGE_SETS = TableSchema(
    "image_sets",
    (
        Column("image_id", _INT, "place of the image in its dataset; its noise is drawn by it"),
        Column("label", _INT, "class, from 0"),
        Column("image", pa.binary(), "float32 values in [0, 1], channel by row by column"),
        Column("channels", _INT, "of every image of the set"),
        Column("height", _INT, "pixels"),
        Column("width", _INT, "pixels"),
    ),
    key=("image_id",),
)

MODELS = TableSchema(
    "models",
    (
        Column("weights", _TEXT, "digest of architecture and block weights; empty if untrained"),
        Column("content", _TEXT, "digest of all weights, of classifier and decoder too; empty if "
               "untrained"),
        Column("classes", _INT, "that its classifier tells apart; 0 if it has none"),
        Column("location", _TEXT, "where the weights are read from; empty if untrained"),
        Column("depth", _INT, "number of blocks whose output can be inverted"),
        Column("channels", _INT, "of an input image"),
        Column("height", _INT, "of an input image, pixels"),
        Column("width", _INT, "of an input image, pixels"),
        Column("has_class_token", pa.bool_(), "whether the representation `cls` exists"),
        Column("parameters", _INT, "number of weights, classifier left out"),
        Column("tokens", pa.list_(_INT), "after each block, prefix tokens included"),
        Column("token_units", pa.list_(_INT), "units of one token after each block"),
        Column("flops", pa.list_(_FLOAT), "of one image's forward pass up to each block"),
        Column("gradient_flops", pa.list_(_FLOAT), "the same with the gradient of the image"),
    ),
    key=("weights",),
)  # fmt: skip

TRAININGS = TableSchema(
    "trainings",
    (
        Column("epoch", _INT, "0 is before the first step"),
        Column("weights", _TEXT, "digest of architecture and block weights"),
        Column("location", _TEXT, "of the checkpoint; `lake:` and its key"),
        Column("train_loss", _FLOAT, "mean over the epoch's images: cross-entropy, or L1 per pixel "
               "of a reconstruction; of epoch 0, `test_loss`"),
        Column("test_loss", _FLOAT, "mean of the same over the held-out images"),
        Column("test_accuracy", _FLOAT, "fraction of the held-out images classified rightly; NaN "
               "of a reconstruction"),
    ),
    key=("epoch",),
)  # fmt: skip

INVERSIONS = TableSchema(
    "inversions",
    (
        Column("reference", _TEXT, "digest of the inverted model's weights"),
        Column("reference_layer", _INT, "block that was inverted, from 1"),
        Column("seed", _INT, "of the noise start"),
        Column("image_id", _INT, "place of the image in its dataset"),
        Column("residual", _FLOAT, "relative L2 distance of the two representations; 0 is perfect"),
        Column("start_residual", _FLOAT, "the same of the noise start, in the precision that was "
               "searched in"),
        Column("steps", _INT, "after which the image was found; 0 is the noise start"),
    ),
    key=("image_id",),
)  # fmt: skip

IMAGES = TableSchema(
    "images",
    (
        Column("reference", _TEXT, "digest of the inverted model's weights"),
        Column("reference_layer", _INT, "block that was inverted, from 1"),
        Column("seed", _INT, "of the noise start"),
        Column("image_id", _INT, "place of the image in its dataset"),
        Column("image", IMAGE, "the inverted image, values in [0, 1]"),
    ),
    key=("image_id",),
)

COMPARISONS = TableSchema(
    "comparisons",
    (
        Column("reference", _TEXT, "digest of the inverted model's weights"),
        Column("target", _TEXT, "digest of the weights of the model that looks"),
        *_LAYER_PAIR,
        Column("seed", _INT, "of the noise start"),
        Column("images", _INT, "number of images"),
        *_SCORES,
    ),
    key=("reference_layer", "target_layer"),
)

_SUBSPACES = (
    *_LAYER_PAIR,
    Column("images", _INT, "number of images"),
    Column("directions", _INT, "k: principal directions compared; fewer than asked for where a "
           "layer has no more; 0 if the two layers cannot be compared"),
    Column("chance", _FLOAT, "similarity of two random subspaces: k over units; NaN for k = 0"),
    Column("subspace_similarity", _FLOAT, "Ramasesh et al. 2021, of the images themselves: 1 for "
           "one subspace, 0 for orthogonal ones; NaN for k = 0"),
)  # fmt: skip

SUBSPACES = TableSchema(
    "subspaces",
    (
        Column("reference", _TEXT, "digest of the pretrained model's weights"),
        Column("target", _TEXT, "digest of the compared model's weights"),
        *_SUBSPACES,
    ),
    key=("reference_layer", "target_layer"),
)

TEST_SETS = TableSchema(
    "test_sets",
    (
        Column("image_id", _INT, "place of the image in its dataset; its corruptions are drawn by "
               "it"),
        Column("label", _INT, "class, from 0"),
    ),
    key=("image_id",),
)  # fmt: skip

_CONDITION = (
    Column("corruption", _TEXT, "its name; `clean` of the images as they are"),
    Column("severity", _INT, "from 1 to 5; 0 of clean images"),
)
_TESTED = (
    Column("images", _INT, "number of held-out images, the same in every row of a model"),
    Column("accuracy", _FLOAT, "fraction of them classified rightly; NaN of a reconstruction"),
    Column(
        "loss",
        _FLOAT,
        "mean over them of what the model was trained to make small: "
        "cross-entropy, or L1 per pixel between the image it is shown and its reconstruction",
    ),
    Column(
        "source",
        _TEXT,
        "of the images: `regenerated` with the settings of CIFAR-10-C, "
        "`released` for the published files, or `clean`",
    ),
)

ACCURACIES = TableSchema(
    "accuracies",
    (
        Column("checkpoint", _TEXT, "digest of all weights, of classifier and decoder too"),
        Column("weights", _TEXT, "digest of architecture and block weights"),
        *_CONDITION,
        *_TESTED,
    ),
    key=("corruption", "severity"),
)

RESULTS = TableSchema(
    "results",
    (
        Column("model", _TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", _INT, "of that model's training"),
        Column("direction", _TEXT, "target|reference: `ft|pt` is STIR(ft | pt); `pt` the "
               "pretrained model, `ft` the compared one"),
        Column("seed", _INT, "of the noise start"),
        *_LAYER_PAIR,
        Column("images", _INT, "number of images"),
        *_SCORES,
        Column("residual_q05", _FLOAT, "5 % quantile over images of the inversion's residual"),
        Column("residual_median", _FLOAT, "median over images of the inversion's residual"),
        Column("residual_q95", _FLOAT, "95 % quantile over images of the inversion's residual"),
        Column("residual_max", _FLOAT, "largest residual of any image"),
        Column("unconverged", _INT, "images whose residual is above the job's residual_limit"),
    ),
    key=("model", "epoch", "direction", "seed", "reference_layer", "target_layer"),
)  # fmt: skip

MATRICES = TableSchema(
    "matrices",
    (
        Column("model", _TEXT, "what is compared with the pretrained model"),
        Column("epoch", _INT, "of that model's training"),
        Column("metric", _TEXT, "learning, forgetting, cka_divergence, flow, flow_control or "
               "flow_beyond_control"),
        Column("estimator", _TEXT, "HSIC estimator: biased or unbiased"),
        Column("row_layer", _INT, "flow: pt layer; else: layer of the model that looks"),
        Column("column_layer", _INT, "flow: ft layer; else: layer of the inverted model"),
        Column("mean", _FLOAT, "over seeds"),
        Column("std", _FLOAT, "over seeds, with n - 1; NaN for a single seed"),
        Column("seeds", _INT, "number of seeds averaged"),
    ),
    key=("model", "epoch", "metric", "estimator", "row_layer", "column_layer"),
)  # fmt: skip

HISTORY = TableSchema(
    "history",
    (
        Column("model", _TEXT, "`pretrained`, `finetuned` or `from_scratch`"),
        *(column for column in TRAININGS.columns if column.name != "location"),
    ),
    key=("model", "epoch"),
)

ROBUSTNESS = TableSchema(
    "robustness",
    (
        Column("model", _TEXT, "`pretrained`, `finetuned` or `from_scratch`; each tested on the "
               "dataset whose classes it knows"),
        Column("epoch", _INT, "of that model's training; 0 where there was none"),
        *_CONDITION,
        *_TESTED,
    ),
    key=("model", "epoch", "corruption", "severity"),
)  # fmt: skip

_OF_CURVES = (
    Column("model", _TEXT, "whose epochs: `finetuned`, `from_scratch`, or `given` in a table"),
    Column("estimator", _TEXT, "HSIC estimator: biased or unbiased; `given` of somebody's table"),
)

HYPOTHESES = TableSchema(
    "hypotheses",
    (
        *_OF_CURVES,
        Column("family", _TEXT, "hypotheses among which tests are counted: learning and "
               "forgetting, CKA divergence or subspace similarity"),
        Column("hypothesis", _TEXT, "in words, e.g. `std of forgetting over layers 2-12`"),
        Column("curve", _TEXT, "of what; e.g. `learning + forgetting`"),
        Column("aggregate", _TEXT, "over the layers: mean, std, min or max"),
        Column("first_layer", _INT, "block, from 1"),
        Column("last_layer", _INT, "block, from 1"),
        Column("is_undefined", pa.bool_(), "no correlation exists: the std of one layer, or what "
               "does not vary; its numbers are NaN"),
        Column("rank", _INT, "within its family by the size of pearson_r, from 1; undefined last"),
        Column("epochs", _INT, "number of epochs"),
        Column("severities", _INT, "number of severities that r and p are averaged over; 1 if "
               "only clean accuracy is known"),
        Column("pearson_r", _FLOAT, "with accuracy over the epochs, averaged over severities"),
        Column("pearson_p", _FLOAT, "of it, as if epochs were independent, averaged over "
               "severities as the paper does"),
        Column("bonferroni_p", _FLOAT, "pearson_p times the hypotheses of the family, at most 1"),
        Column("max_statistic_p", _FLOAT, "share of the circular shifts in which some hypothesis "
               "of the family is as strong"),
        Column("shift_p", _FLOAT, "share of the circular shifts in which this one is as strong"),
        Column("effective_epochs", _FLOAT, "independent epochs that the two series are worth"),
        Column("effective_p", _FLOAT, "of pearson_r among so many; NaN for 2 or fewer"),
        Column("spearman_r", _FLOAT, "of ranks, averaged over severities"),
        Column("spearman_p", _FLOAT, "of it"),
        Column("differences_r", _FLOAT, "of the steps from epoch to epoch"),
        Column("differences_p", _FLOAT, "of it"),
        Column("given_clean_r", _FLOAT, "partial, given clean accuracy; NaN where it is not known"),
        Column("given_clean_p", _FLOAT, "of it"),
        *(Column(f"without_first_{count}_r", _FLOAT, f"Pearson's r without the first {count} "
                 "epochs; NaN where fewer than 3 are left") for count in (1, 2, 3, 5)),
        Column("seeds", _INT, "number of seeds of the inversions"),
        Column("seeds_low", _FLOAT, "2.5 % quantile of pearson_r over draws of the seeds; NaN "
               "for a single one"),
        Column("seeds_high", _FLOAT, "97.5 % quantile, likewise"),
    ),
    key=("model", "estimator", "hypothesis"),
)  # fmt: skip

CORRELATIONS = TableSchema(
    "correlations",
    (
        *_OF_CURVES,
        Column("hypothesis", _TEXT, "as in the table `hypotheses`"),
        Column("look", _TEXT, "pearson, spearman, differences (steps from epoch to epoch) or "
               "given_clean (partial, given clean accuracy)"),
        Column("first_epoch", _INT, "the first that is looked at; later than the first there is "
               "where first epochs are dropped"),
        Column("last_epoch", _INT, "the last that is looked at; all prefixes are there of the "
               "strongest hypothesis of a family"),
        Column("severity", _INT, "of the corruption, 1 to 5; 0 is clean accuracy"),
        Column("epochs", _INT, "number of epochs"),
        Column("r", _FLOAT, "in [-1, 1]; NaN where it is undefined"),
        Column("p", _FLOAT, "two-sided, as if epochs were independent; NaN where r is"),
    ),
    key=("model", "estimator", "hypothesis", "look", "first_epoch", "last_epoch", "severity"),
)  # fmt: skip

LEARNING_WITH_FORGETTING = TableSchema(
    "learning_with_forgetting",
    (
        *_OF_CURVES,
        Column("epoch", _INT, "of the model's training"),
        Column("layers", _INT, "number of layers correlated over"),
        Column("pearson_r", _FLOAT, "of learning with forgetting over the layers; NaN where one "
               "does not vary"),
        Column("pearson_p", _FLOAT, "of it, as if layers were independent"),
        Column("spearman_r", _FLOAT, "of ranks"),
        Column("spearman_p", _FLOAT, "of it"),
    ),
    key=("model", "estimator", "epoch"),
)  # fmt: skip

SUBSPACE_SIMILARITY = TableSchema(
    "subspace_similarity",
    (
        Column("model", _TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", _INT, "of that model's training"),
        *_SUBSPACES,
        Column("shares_basis", pa.bool_(), "whether the model was finetuned from the pretrained "
               "one; the similarity of others is as chance has it and says nothing"),
    ),
    key=("model", "epoch", "reference_layer", "target_layer"),
)  # fmt: skip

FAILURES = TableSchema(
    "failures",
    (
        Column("task", _TEXT, "id of the task"),
        Column("stage", _TEXT, "of the task"),
        Column("label", _TEXT, "the task in words"),
        Column("failure_class", _TEXT, "infrastructure, storage, memory, hung, dependency, setup "
               "or deterministic"),
        Column("fingerprint", _TEXT, "equal for failures at the same place of the code"),
        Column("message", _TEXT, "what the exception said"),
        Column("traceback", _TEXT, "its last lines"),
        Column("node", _TEXT, "where it ran"),
        Column("attempt", _INT, "counted from 1"),
        Column("seconds", _FLOAT, "that this attempt took"),
        Column("time", pa.timestamp("us", tz="UTC"), "when it failed"),
    ),
    key=("task",),
)  # fmt: skip

INDEX = TableSchema(
    "index",
    (
        Column("split", _TEXT, "`train` or `test`"),
        Column("image_id", _INT, "place of the image in its dataset"),
        Column("label", _INT, "class, from 0"),
        Column("shard", _INT, "number of the shard of the split that holds the image, from 0"),
        Column("digest", _TEXT, "of the images of that shard"),
    ),
    key=("split", "image_id"),
)

SHARD = TableSchema(
    "shard",
    (
        Column("image_id", _INT, "place of the image in its dataset"),
        Column("image", pa.binary(), "an image file: as it was published, or a portable pixmap"),
    ),
    key=("image_id",),
)

PART_TABLES = (
    *(IMAGE_SETS, MODELS, TRAININGS, INVERSIONS, IMAGES, COMPARISONS, SUBSPACES),
    *(TEST_SETS, ACCURACIES, FAILURES),
)
DATASET_TABLES = (INDEX, SHARD)
RESULT_TABLES = (RESULTS, MATRICES, HISTORY, SUBSPACE_SIMILARITY, ROBUSTNESS)
ANALYSIS_TABLES = (HYPOTHESES, CORRELATIONS, LEARNING_WITH_FORGETTING)
