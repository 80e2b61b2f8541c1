"""The tables of artifacts, which tasks store, and of datasets that are kept in the lake."""

import pyarrow as pa

from stir_ray.lake.schemas.columns import FLOAT, IMAGE, INT, TEXT, Column, TableSchema
from stir_ray.lake.schemas.measured import (
    COMPARED,
    CONDITION,
    CORRECTNESS,
    IMAGE_ID,
    LAYER_PAIR,
    REFERENCE,
    REFERENCE_LAYER,
    SCORES,
    SEED,
    TESTED,
)
from stir_ray.lake.schemas.measured import IMAGES as IMAGE_COUNT

IMAGE_SETS = TableSchema(
    "image_sets",
    (
        Column("image_id", INT, "index of the image in its dataset, by which its noise is drawn"),
        Column("label", INT, "class, from 0"),
        Column("image", pa.binary(), "float32 values in [0, 1], channel by row by column"),
        Column("channels", INT, "of every image of the set"),
        Column("height", INT, "pixels"),
        Column("width", INT, "pixels"),
    ),
    key=("image_id",),
)

MODELS = TableSchema(
    "models",
    (
        Column("weights", TEXT, "digest of architecture and block weights; empty if untrained"),
        Column("content", TEXT, "digest of all weights, of classifier and decoder too; empty if "
               "untrained"),
        Column("classes", INT, "that its classifier tells apart; 0 if it has none"),
        Column("location", TEXT, "where the weights are read from; empty if untrained"),
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
    ),
    key=("weights",),
)  # fmt: skip

TRAININGS = TableSchema(
    "trainings",
    (
        Column("epoch", INT, "0 is before the first step", "1", "[0, inf)"),
        Column("weights", TEXT, "digest of architecture and block weights"),
        Column("location", TEXT, "of the checkpoint; `lake:` and its key"),
        Column("train_loss", FLOAT, "mean over the epoch's images: cross-entropy, or L1 per pixel "
               "of a reconstruction; of epoch 0, `test_loss`", "nat, or pixel values", "[0, inf)"),
        Column("test_loss", FLOAT, "mean of the same over the test images",
               "nat, or pixel values", "[0, inf)"),
        Column("test_accuracy", FLOAT, "fraction of the test images classified rightly; NaN "
               "of a reconstruction", "1", "[0, 1]"),
    ),
    key=("epoch",),
)  # fmt: skip

INVERSIONS = TableSchema(
    "inversions",
    (
        *(REFERENCE, REFERENCE_LAYER, SEED, IMAGE_ID),
        Column("residual", FLOAT, "relative L2 distance of the two representations; 0 is perfect",
               "1", "[0, inf)"),
        Column("centred_residual", FLOAT, "the same distance over that between the image's "
               "representation and the mean of all images", "1", "[0, inf)"),
        Column("start_residual", FLOAT, "relative residual of the initial image, in the precision "
               "of the search", "1", "[0, inf)"),
        Column("steps", INT, "after which the image was found; 0 is the initial image"),
        Column("iterations", INT, "steps that the inversion took", "1", "[1, inf)"),
        Column("drift", FLOAT, "largest change of STIR of its own model and of the pretrained one "
               "since half the steps; infinite where residuals or self-STIR are not those of a "
               "converged inversion", "1", "[0, inf]"),
        Column("is_converged", pa.bool_(), "whether the inversion converged: its drift is at most "
               "0.01"),
    ),
    key=("image_id",),
)  # fmt: skip

IMAGES = TableSchema(
    "images",
    (
        *(REFERENCE, REFERENCE_LAYER, SEED, IMAGE_ID),
        Column("image", IMAGE, "the inverted image, values in [0, 1]"),
    ),
    key=("image_id",),
)

COMPARISONS = TableSchema(
    "comparisons",
    (*COMPARED, *LAYER_PAIR, SEED, IMAGE_COUNT, *SCORES),
    key=("reference_layer", "target_layer"),
)

TEST_SETS = TableSchema(
    "test_sets",
    (
        Column("image_id", INT, "index of the image in its dataset, by which its corruptions are "
               "drawn"),
        Column("label", INT, "class, from 0"),
    ),
    key=("image_id",),
)  # fmt: skip

ACCURACIES = TableSchema(
    "accuracies",
    (
        Column("checkpoint", TEXT, "digest of all weights, of classifier and decoder too"),
        Column("weights", TEXT, "digest of architecture and block weights"),
        *CONDITION,
        *TESTED,
    ),
    key=("corruption", "severity"),
)

CORRECT = TableSchema(
    "correct",
    (Column("checkpoint", TEXT, "digest of all weights, of the classifier too"), *CORRECTNESS),
    key=("corruption", "severity"),
)

FAILURES = TableSchema(
    "failures",
    (
        Column("task", TEXT, "id of the task"),
        Column("stage", TEXT, "of the task"),
        Column("label", TEXT, "the task in words"),
        Column("failure_class", TEXT, "worker_lost, storage, out_of_memory, timeout, "
               "upstream_failed, user_error or permanent"),
        Column("fingerprint", TEXT, "equal for failures at the same place of the code"),
        Column("message", TEXT, "what the exception said"),
        Column("traceback", TEXT, "its last lines"),
        Column("node", TEXT, "where it ran"),
        Column("attempt", INT, "counted from 1"),
        Column("seconds", FLOAT, "that this attempt took"),
        Column("time", pa.timestamp("us", tz="UTC"), "when it failed"),
    ),
    key=("task",),
)  # fmt: skip

ARTIFACT_TABLES = (
    *(IMAGE_SETS, MODELS, TRAININGS, INVERSIONS, IMAGES, COMPARISONS),
    *(TEST_SETS, ACCURACIES, CORRECT, FAILURES),
)
"""Without those of measures: see `stir_ray.measures`."""

INDEX = TableSchema(
    "index",
    (
        Column("split", TEXT, "`train` or `test`"),
        IMAGE_ID,
        Column("label", INT, "class, from 0"),
        Column("shard", INT, "number of the shard of the split that holds the image, from 0"),
        Column("digest", TEXT, "of the images of that shard"),
    ),
    key=("split", "image_id"),
)

SHARD = TableSchema(
    "shard",
    (
        IMAGE_ID,
        Column("image", pa.binary(), "an image file: as it was published, or a portable pixmap"),
    ),
    key=("image_id",),
)

DATASET_TABLES = (INDEX, SHARD)
