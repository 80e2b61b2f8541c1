"""Every column of every table, declared once with its type, meaning, unit and range.

Tables of measures are declared where they are computed: in `stir_ray.measures`.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

TEXT, INT, FLOAT, SINGLE = pa.string(), pa.int64(), pa.float64(), pa.float32()
IMAGE = "image"
"""A column type that the first image decides: a float16 tensor (channel, height, width)."""


@dataclass(frozen=True)
class Column:
    name: str
    type: Any  # of Arrow, or `IMAGE`
    meaning: str
    unit: str = ""  # of its numbers; `1` of counts, layers and ratios; empty of text
    range: str = ""  # an interval; NaN is allowed besides where the meaning says so


@dataclass(frozen=True)
class TableSchema:
    """A table: an artifact or result of it has exactly these columns, without nulls."""

    name: str  # also its folder in the lake
    columns: tuple[Column, ...]  # in the order in which they are stored
    key: tuple[str, ...]  # the columns that tell one row from another

    def arrow(self, image_shape: tuple[int, ...] = ()) -> pa.Schema:
        """Return the Arrow schema; every field carries its meaning."""
        image = pa.fixed_shape_tensor(pa.float16(), image_shape)
        fields = []
        for column in self.columns:
            kind = image if column.type == IMAGE else column.type
            meaning = {"meaning": column.meaning}
            fields.append(pa.field(column.name, kind, nullable=False, metadata=meaning))
        return pa.schema(fields)


def _table(name: str, key: str, *columns: Column) -> TableSchema:
    return TableSchema(name, columns, tuple(key.split()))


def _text(name: str, meaning: str) -> Column:
    return Column(name, TEXT, meaning)


def _count(name: str, meaning: str, interval: str = "[1, inf)") -> Column:
    return Column(name, INT, meaning, "1", interval)


def _number(name: str, meaning: str, interval: str = "[0, 1]", unit: str = "1") -> Column:
    return Column(name, FLOAT, meaning, unit, interval)


# Columns of several tables.

REFERENCE = _text("reference", "digest of the reference's weights: of the inverted model")
_TARGET = _text("target", "digest of the weights of the model that is shown the images")
COMPARED = (REFERENCE, _TARGET)
REFERENCE_LAYER = _count("reference_layer", "block of the inverted model, from 1", "[1, depth]")
LAYER_PAIR = (REFERENCE_LAYER, _count("target_layer", "block of the target, from 1", "[1, depth]"))
SEED = _count("seed", "of the initial images", "[0, 2**64)")
IMAGE_COUNT = _count("images", "number of images")
IMAGE_ID = Column("image_id", INT, "index of the image in its dataset")
COMPARED_MODEL = (
    _text("model", "compared with the pretrained model: `finetuned` or `from_scratch`"),
    _count("epoch", "of that model's training", "[0, inf)"),
)
_EPOCH = _count("epoch", "of that model's training; 0 where there was none", "[0, inf)")
INVERTED_MODEL = (
    _text("model", "that was inverted: `pretrained`, `finetuned` or `from_scratch`"),
    _EPOCH,
)
DIRECTION = _text(
    "direction", "target|reference: `ft|pt` is STIR(ft | pt), as in the table `results`"
)
_SCORES = (
    _number("stir", "STIR: biased linear CKA of the target's view of images and inverted images; "
            "1 is full agreement"),
    _number("stir_unbiased", "the same with unbiased HSIC; about 0 for unrelated views", "[-1, 1]"),
    _number("stir_drift", "change of `stir` since half the steps of the inversion: how far it "
            "could still be off; NaN where they had no score then", "[-1, 1]"),
    _number("stir_unbiased_drift", "the same of `stir_unbiased`; NaN likewise", "[-2, 2]"),
    _number("cka", "biased linear CKA of target and reference on the images themselves"),
    _number("cka_unbiased", "the same with unbiased HSIC", "[-1, 1]"),
    _number("noise_stir", "baseline: STIR if nothing were optimized (inverted images = initial "
            "images clipped to [0, 1]); NaN of gray ones, which are equal"),
    _number("noise_stir_unbiased", "the same with unbiased HSIC; NaN likewise", "[-1, 1]"),
    _number("chance_stir", "baseline: STIR if the inverted images were the real ones in a random "
            "order; mean over 200 orders"),
    _number("chance_stir_unbiased", "the same with unbiased HSIC; about 0", "[-1, 1]"),
    _number("chance_stir_q95", "95 % of the orders of `chance_stir` are below"),
    _number("chance_stir_unbiased_q95", "the same with unbiased HSIC", "[-1, 1]"),
)  # fmt: skip
_CONDITION = (
    _text("corruption", "its name; `clean` of the images as they are"),
    _count("severity", "from 1 to 5; 0 of clean images", "[0, 5]"),
)
_LOSS_UNIT = "nat, or pixel values"
_ACCURACY = (
    _count("images", "number of test images, the same in every row of a model"),
    _number("accuracy", "fraction of them classified rightly; NaN of a reconstruction"),
    _number("loss", "mean over them of what the model was trained to minimize: cross-entropy, or "
            "L1 per pixel between the image it is shown and its reconstruction",
            "[0, inf)", _LOSS_UNIT),
    _text("source", "of the images: `regenerated` with the settings of CIFAR-10-C, `released` for "
          "the published files, or `clean`"),
)  # fmt: skip
_CORRECTNESS = (
    _text("test_set", "id of the test images; halves of them are drawn by it"),
    *_CONDITION,
    Column("right", pa.list_(pa.bool_()), "whether the model classifies each test image rightly, "
           "in the order of the table `test_sets`"),
)  # fmt: skip
_WEIGHTS = _text("weights", "digest of architecture and block weights")
_LABEL = Column("label", INT, "class, from 0")

# Artifacts, which tasks store.

IMAGE_SETS = _table("image_sets", "image_id",
    Column("image_id", INT, "index of the image in its dataset, by which its noise is drawn"),
    _LABEL,
    Column("image", pa.binary(), "float32 values in [0, 1], channel by row by column"),
    Column("channels", INT, "of every image of the set"),
    Column("height", INT, "pixels"),
    Column("width", INT, "pixels"),
)  # fmt: skip

MODELS = _table("models", "weights",
    _text("weights", "digest of architecture and block weights; empty if untrained"),
    _text("content", "digest of all weights, of classifier and decoder too; empty if untrained"),
    Column("classes", INT, "that its classifier tells apart; 0 if it has none"),
    _text("location", "where the weights are read from; empty if untrained"),
    Column("depth", INT, "number of blocks whose output can be inverted"),
    Column("channels", INT, "of an input image"),
    Column("height", INT, "of an input image, pixels"),
    Column("width", INT, "of an input image, pixels"),
    Column("has_class_token", pa.bool_(), "whether the representation `cls` exists"),
    Column("parameters", INT, "number of weights, classifier left out"),
    Column("tokens", pa.list_(INT), "after each block, prefix tokens included"),
    Column("token_units", pa.list_(INT), "units of one token after each block"),
    Column("flops", pa.list_(FLOAT), "of one image's forward pass up to each block"),
    Column("gradient_flops", pa.list_(FLOAT), "the same with the gradient of the image"),
)  # fmt: skip

TRAININGS = _table("trainings", "epoch",
    _count("epoch", "0 is before the first step", "[0, inf)"),
    _WEIGHTS,
    _text("location", "of the checkpoint; `lake:` and its key"),
    _number("train_loss", "mean over the epoch's images: cross-entropy, or L1 per pixel of a "
            "reconstruction; of epoch 0, `test_loss`", "[0, inf)", _LOSS_UNIT),
    _number("test_loss", "mean of the same over the test images", "[0, inf)", _LOSS_UNIT),
    _number("test_accuracy", "fraction of the test images classified rightly; NaN of a "
            "reconstruction"),
)  # fmt: skip

INVERSIONS = _table("inversions", "image_id",
    *(REFERENCE, REFERENCE_LAYER, SEED, IMAGE_ID),
    _number("residual", "relative L2 distance of the two representations; 0 is perfect", "[0, "
            "inf)"),
    _number("centered_residual", "the same distance over that between the image's representation "
            "and the mean of all images", "[0, inf)"),
    _number("start_residual", "relative residual of the initial image, in the precision of the "
            "search", "[0, inf)"),
    Column("steps", INT, "after which the image was found; 0 is the initial image"),
    _count("iterations", "steps that the inversion took"),
    _number("drift", "largest change of STIR of its own model and of the pretrained one since "
            "half the steps; infinite where residuals or self-STIR are not those of a converged "
            "inversion", "[0, inf]"),
    Column("is_converged", pa.bool_(), "whether the inversion converged: its drift is at most "
           "0.01"),
)  # fmt: skip

IMAGES = _table("images", "image_id",
    *(REFERENCE, REFERENCE_LAYER, SEED, IMAGE_ID),
    Column("image", IMAGE, "the inverted image, values in [0, 1]"),
)  # fmt: skip

COMPARISONS = _table("comparisons", "reference_layer target_layer",
    *(*COMPARED, *LAYER_PAIR, SEED, IMAGE_COUNT, *_SCORES),
)  # fmt: skip

TEST_SETS = _table("test_sets", "image_id",
    Column("image_id", INT, "index of the image in its dataset, by which its corruptions are "
           "drawn"),
    _LABEL,
)  # fmt: skip

ACCURACIES = _table("accuracies", "corruption severity",
    _text("checkpoint", "digest of all weights, of classifier and decoder too"),
    *(_WEIGHTS, *_CONDITION, *_ACCURACY),
)  # fmt: skip

CORRECT = _table("correct", "corruption severity",
    _text("checkpoint", "digest of all weights, of the classifier too"),
    *_CORRECTNESS,
)  # fmt: skip

FAILURES = _table("failures", "task",
    _text("task", "id of the task"),
    _text("stage", "of the task"),
    _text("label", "the task in words"),
    _text("failure_class", "worker_lost, storage, out_of_memory, timeout, upstream_failed, "
          "user_error or permanent"),
    _text("fingerprint", "equal for failures at the same place of the code"),
    _text("message", "what the exception said"),
    _text("traceback", "its last lines"),
    _text("node", "where it ran"),
    Column("attempt", INT, "counted from 1"),
    Column("seconds", FLOAT, "that this attempt took"),
    Column("time", pa.timestamp("us", tz="UTC"), "when it failed"),
)  # fmt: skip

ARTIFACT_TABLES = (
    *(IMAGE_SETS, MODELS, TRAININGS, INVERSIONS, IMAGES, COMPARISONS),
    *(TEST_SETS, ACCURACIES, CORRECT, FAILURES),
)

# Datasets that are kept in the lake.

INDEX = _table("index", "split image_id",
    _text("split", "`train` or `test`"),
    *(IMAGE_ID, _LABEL),
    Column("shard", INT, "number of the shard of the split that holds the image, from 0"),
    _text("digest", "of the images of that shard"),
)  # fmt: skip

SHARD = _table("shard", "image_id",
    IMAGE_ID,
    Column("image", pa.binary(), "an image file: as it was published, or a portable pixmap"),
)  # fmt: skip

DATASET_TABLES = (INDEX, SHARD)

# Results of a job.

_QUANTILES = {"q05": "5 % quantile", "median": "median", "q95": "95 % quantile"}

RESULTS = _table("results", "model epoch direction seed reference_layer target_layer",
    *COMPARED_MODEL,
    _text("direction", "target|reference: `ft|pt` is STIR(ft | pt); `pt` the pretrained model, "
          "`ft` the compared one"),
    *(SEED, *LAYER_PAIR, IMAGE_COUNT, *_SCORES),
    *(_number(f"residual_{name}", f"{words} over images of the inversion's residual", "[0, inf)")
      for name, words in _QUANTILES.items()),
    _number("residual_max", "largest residual of any image", "[0, inf)"),
    _number("centered_residual_median", "median over images of the inversion's centered residual",
            "[0, inf)"),
    _number("centered_residual_q95", "95 % quantile over images of the centered residual; "
            "converged: at most 0.1", "[0, inf)"),
    _number("centered_residual_max", "largest centered residual of any image", "[0, inf)"),
    _count("unconverged", "images whose centered residual is above 0.1", "[0, images]"),
    _count("not_inverted", "images whose centered residual is above 0.5", "[0, images]"),
    _count("stuck", "images whose centered residual is above 0.1 and more than ten times the "
           "median", "[0, images]"),
    _count("iterations", "steps that the inversion took"),
    Column("is_converged", pa.bool_(), "whether the inversion converged: its residuals, its "
           "self-STIR, and no score of its own model and of the pretrained one moving"),
)  # fmt: skip

MATRICES = _table("matrices", "model epoch metric estimator row_layer column_layer",
    *COMPARED_MODEL,
    _text("metric", "learning, forgetting, cka_divergence, flow, flow_control or "
          "flow_beyond_control"),
    _text("estimator", "HSIC estimator: biased or unbiased"),
    _count("row_layer", "flow: pt layer; else: layer of the target", "[1, depth]"),
    _count("column_layer", "flow: ft layer; else: layer of the inverted model", "[1, depth]"),
    _number("mean", "over seeds", "[-1, 1]; unbiased [-2, 2]; twice that of flow_beyond_control"),
    _number("drift", "change of the mean since half the steps of the inversions: how far it could "
            "still be off; 0 of CKA divergence, NaN where images had no score then", "[-4, 4]"),
    Column("is_moving", pa.bool_(), "whether the mean has changed by more than 0.01, or by a "
           "third of itself (and 0.001), since half the steps"),
    _number("std", "over seeds, with n - 1; NaN for a single seed or none", "[0, inf)"),
    _count("seeds", "number of seeds averaged; 0 of CKA divergence, which no inversion takes part "
           "in", "[0, inf)"),
)  # fmt: skip

HISTORY = _table("history", "model epoch",
    _text("model", "`pretrained`, `finetuned` or `from_scratch`"),
    *(column for column in TRAININGS.columns if column.name != "location"),
)  # fmt: skip

ROBUSTNESS = _table("robustness", "model epoch corruption severity",
    _text("model", "`pretrained`, `finetuned` or `from_scratch`; each tested on the dataset whose "
          "classes it knows"),
    *(_EPOCH, *_CONDITION, *_ACCURACY),
)  # fmt: skip

TEST_CORRECT = _table("test_correct", "model epoch corruption severity",
    _text("model", "as in the table `robustness`"),
    *(_EPOCH, *_CORRECTNESS),
)  # fmt: skip

RESULT_TABLES = (RESULTS, MATRICES, HISTORY, ROBUSTNESS, TEST_CORRECT)

# The analysis of results: whether scores go with accuracy.

_CURVE = (
    _text("model", "whose epochs: `finetuned`, `from_scratch`, or `given` in a table"),
    _text("estimator", "HSIC estimator: biased or unbiased; `given` for a table of the user's"),
)
_WITHOUT_FIRST = "without the first 5 epochs, NaN where fewer than 10 are left"
_WITH_FIRST = "a transient at the beginning of both series makes it small by itself"
_EPOCHS = _count("epochs", "number of epochs", "[0, inf)")

HYPOTHESES = _table("hypotheses", "model estimator hypothesis",
    *_CURVE,
    _text("family", "hypotheses among which tests are counted: learning and forgetting, CKA "
          "divergence or subspace similarity"),
    _text("hypothesis", "in words, e.g. `std of forgetting over layers 2-12`"),
    _text("curve", "of what; e.g. `learning + forgetting`"),
    _text("aggregate", "over the layers: mean, std, min or max"),
    _count("first_layer", "block, from 1", "[1, depth]"),
    _count("last_layer", "block, from 1", "[1, depth]"),
    Column("is_undefined", pa.bool_(), "no correlation exists: the std of one layer, or what does "
           "not vary; its numbers are NaN"),
    _count("rank", "within its family by the size of pearson_r, from 1; undefined last"),
    _EPOCHS,
    _count("severities", "number of severities that r and p are averaged over; 1 if only clean "
           "accuracy is known", "[1, 5]"),
    _number("pearson_r", "with accuracy over the epochs, averaged over severities", "[-1, 1]"),
    _number("pearson_p", "of it, as if epochs were independent, averaged over severities as the "
            "paper does"),
    _number("bonferroni_p", "pearson_p times the hypotheses of the family, at most 1"),
    _number("max_statistic_p", f"share of the circular shifts in which some hypothesis of the "
            f"family is as strong; {_WITHOUT_FIRST}"),
    _number("max_statistic_p_all_epochs", f"the same of all epochs; {_WITH_FIRST}"),
    _number("circular_shift_p", f"share of the circular shifts in which it is as strong; "
            f"{_WITHOUT_FIRST}"),
    _number("circular_shift_p_all_epochs", f"the same of all epochs; {_WITH_FIRST}"),
    _number("effective_epochs", f"independent epochs that the two series are worth; "
            f"{_WITHOUT_FIRST}", "[0, inf)"),
    _number("effective_p", "of without_first_5_r among so many; NaN for 2 or fewer"),
    _number("effective_epochs_all_epochs", "independent epochs that the two series are worth, the "
            "transient at their beginning among them", "[0, inf)"),
    _number("effective_p_all_epochs", "of pearson_r among so many; NaN for 2 or fewer"),
    _number("spearman_r", "of ranks, averaged over severities", "[-1, 1]"),
    _number("spearman_p", "of it"),
    _number("differences_r", "of the steps from epoch to epoch", "[-1, 1]"),
    _number("differences_p", "of it"),
    _number("given_clean_r", "partial, given clean accuracy; NaN where it is not known", "[-1, 1]"),
    _number("given_clean_p", "of it"),
    *(_number(f"without_first_{count}_r", f"Pearson's r without the first {count} "
              "epochs; NaN where fewer than 3 are left", "[-1, 1]") for count in (1, 2, 3, 5)),
    *(_number(f"differences_without_first_{count}_r", "of the steps from epoch to epoch "
              f"without the first {count} epochs; NaN where fewer than 3 steps are left",
              "[-1, 1]") for count in (1, 2, 3, 5)),
    _count("seeds", "number of seeds of the inversions; 0 where none takes part, in CKA "
           "divergence and subspace similarity", "[0, inf)"),
    _number("seeds_low", "lower end of the 95 % t interval of pearson_r over the seeds "
            "(jackknife, cut off at -1); NaN for a single seed or none", "[-1, 1]"),
    _number("seeds_high", "upper end, cut off at 1, likewise", "[-1, 1]"),
    _count("half_samples", "random halves of the images that images_low and images_high are of; 0 "
           "if there are none", "[0, inf)"),
    _number("images_low", "2.5 % quantile of pearson_r over them: how far it could have been off, "
            "had other images been drawn; NaN without them", "[-1, 1]"),
    _number("images_high", "97.5 % quantile, likewise", "[-1, 1]"),
)  # fmt: skip

CORRELATIONS = _table(
    "correlations", "model estimator hypothesis look first_epoch last_epoch severity",
    *_CURVE,
    _text("hypothesis", "as in the table `hypotheses`"),
    _text("look", "pearson, spearman, differences (steps from epoch to epoch) or given_clean "
          "(partial, given clean accuracy)"),
    _count("first_epoch", "the first that is looked at; later than the first there is where first "
           "epochs are dropped", "[0, inf)"),
    _count("last_epoch", "the last that is looked at; all prefixes are there of the strongest "
           "hypothesis of a family", "[0, inf)"),
    _count("severity", "of the corruption, 1 to 5; 0 is clean accuracy", "[0, 5]"),
    _EPOCHS,
    _number("r", "in [-1, 1]; NaN where it is undefined", "[-1, 1]"),
    _number("p", "two-sided, as if epochs were independent; NaN where r is"),
)  # fmt: skip

LEARNING_WITH_FORGETTING = _table("learning_with_forgetting", "model estimator epoch",
    *_CURVE,
    _count("epoch", "of the model's training", "[0, inf)"),
    _count("layers", "number of layers correlated over", "[1, depth]"),
    _number("pearson_r", "of learning with forgetting over the layers; NaN where one does not "
            "vary", "[-1, 1]"),
    _number("pearson_p", "of it, as if layers were independent"),
    _number("spearman_r", "of ranks", "[-1, 1]"),
    _number("spearman_p", "of it"),
)  # fmt: skip

ANALYSIS_TABLES = (HYPOTHESES, CORRELATIONS, LEARNING_WITH_FORGETTING)
