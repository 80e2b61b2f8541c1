"""Tables of what a job may ask for besides STIR by linear CKA: parts, and the results of them."""

import pyarrow as pa

from stir_ray.lake.schemas.columns import FLOAT, INT, TEXT, Column, TableSchema
from stir_ray.lake.schemas.measured import LAYER_PAIR

_SIMILAR = (
    Column("measure", TEXT, "`rbf_cka` or `procrustes`, in place of linear CKA"),
    Column("bandwidth", FLOAT, "of RBF CKA: sigma as a fraction of the median distance between "
           "images; 0 of measures that have none"),
    Column("stir", FLOAT, "the target's views of images and inverted images by this measure; 1 "
           "is full agreement"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN of measures without it"),
    Column("similarity", FLOAT, "of target and reference on the images themselves"),
    Column("similarity_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise"),
    Column("noise_stir", FLOAT, "baseline: `stir` if nothing were optimised; NaN of a grey "
           "start"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise"),
    Column("shuffled_stir", FLOAT, "null: `stir` if the inverted images were other real images"),
    Column("shuffled_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise"),
)  # fmt: skip

SIMILARITIES = TableSchema(
    "similarities",
    (
        Column("reference", TEXT, "digest of the inverted model's weights"),
        Column("target", TEXT, "digest of the weights of the model that looks"),
        *LAYER_PAIR,
        Column("seed", INT, "of the start"),
        Column("images", INT, "number of images"),
        *_SIMILAR,
    ),
    key=("reference_layer", "target_layer"),
)

PREDICTIONS = TableSchema(
    "predictions",
    (
        Column("reference", TEXT, "digest of the inverted model's weights"),
        Column("target", TEXT, "digest of the weights of the model that looks"),
        Column("checkpoint", TEXT, "digest of all its weights, of its classifier too"),
        Column("reference_layer", INT, "block that was inverted, from 1"),
        Column("seed", INT, "of the start"),
        Column("image_id", INT, "place of the image in its dataset"),
        Column("class_of_image", INT, "that the target predicts, from 0"),
        Column("class_of_inverted", INT, "that it predicts for the inverted image"),
        Column("class_of_noise", INT, "that it predicts for the start of the inversion"),
    ),
    key=("image_id",),
)

METAMERS = TableSchema(
    "metamers",
    (
        Column("reference", TEXT, "digest of the inverted model's weights"),
        Column("reference_layer", INT, "block that was inverted, from 1"),
        Column("seed", INT, "of the start"),
        Column("image_id", INT, "place of the image in its dataset"),
        Column("pearson", FLOAT, "correlation over units of the layer's representations of image "
               "and inverted image"),
        Column("spearman", FLOAT, "of their ranks"),
        Column("snr_db", FLOAT, "10 log10 of the squared norm of the image's representation over "
               "that of the difference; infinite if there is none"),
        Column("null_pearson", FLOAT, "largest of all pairs of two different images"),
        Column("null_spearman", FLOAT, "likewise"),
        Column("null_snr_db", FLOAT, "likewise"),
        Column("is_metamer", pa.bool_(), "whether it is above the null in all three"),
    ),
    key=("image_id",),
)  # fmt: skip

OTHER_SIMILARITIES = TableSchema(
    "other_similarities",
    (
        Column("model", TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", INT, "of that model's training"),
        Column("direction", TEXT, "target|reference, as in the table `results`"),
        Column("seed", INT, "of the start"),
        *LAYER_PAIR,
        Column("images", INT, "number of images"),
        *_SIMILAR,
    ),
    key=("model", "epoch", "direction", "seed", "reference_layer", "target_layer", "measure",
         "bandwidth"),
)  # fmt: skip

UNCHANGED_PREDICTIONS = TableSchema(
    "unchanged_predictions",
    (
        Column("model", TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", INT, "of that model's training"),
        Column("direction", TEXT, "target|reference, as in the table `results`"),
        Column("seed", INT, "of the start"),
        Column("reference_layer", INT, "block of the inverted model, from 1"),
        Column("images", INT, "number of images"),
        Column("unchanged", FLOAT, "fraction of them of which the target predicts the class that "
               "it predicts of the inverted image"),
        Column("chance_unchanged", FLOAT, "the same if the two classes were independent, each as "
               "frequent as it is"),
        Column("noise_unchanged", FLOAT, "baseline: the same of the start of the inversion"),
    ),
    key=("model", "epoch", "direction", "seed", "reference_layer"),
)  # fmt: skip

METAMER_COUNTS = TableSchema(
    "metamer_counts",
    (
        Column("model", TEXT, "that was inverted: `pretrained`, `finetuned` or `from_scratch`"),
        Column("epoch", INT, "of that model's training; 0 where there was none"),
        Column("seed", INT, "of the start"),
        Column("reference_layer", INT, "block that was inverted, from 1"),
        Column("images", INT, "number of images"),
        Column("metamers", INT, "of them, those above the null by all three criteria"),
        Column("pearson_median", FLOAT, "over images"),
        Column("spearman_median", FLOAT, "over images"),
        Column("snr_db_median", FLOAT, "over images"),
        Column("null_pearson", FLOAT, "largest of all pairs of two different images"),
        Column("null_spearman", FLOAT, "likewise"),
        Column("null_snr_db", FLOAT, "likewise"),
    ),
    key=("model", "epoch", "seed", "reference_layer"),
)  # fmt: skip

PARTS_BESIDE = (SIMILARITIES, PREDICTIONS, METAMERS)
RESULTS_BESIDE = (OTHER_SIMILARITIES, UNCHANGED_PREDICTIONS, METAMER_COUNTS)
