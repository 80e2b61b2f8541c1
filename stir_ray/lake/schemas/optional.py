"""Tables of what a job may ask for besides STIR by linear CKA: parts, and the results of them."""

import pyarrow as pa

from stir_ray.lake.schemas.columns import FLOAT, INT, SINGLE, TEXT, Column, TableSchema
from stir_ray.lake.schemas.measured import CONDITION, LAYER_PAIR

_SIMILAR = (
    Column("measure", TEXT, "`rbf_cka` or `procrustes`, in place of linear CKA"),
    Column("bandwidth", FLOAT, "of RBF CKA: sigma as a fraction of the median distance between "
           "images; 0 of measures that have none", "1", "[0, inf)"),
    Column("stir", FLOAT, "the target's views of images and inverted images by this measure; 1 "
           "is full agreement", "1", "[0, 1]"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN of measures without it",
               "1", "[-1, 1]"),
    Column("stir_drift", FLOAT, "change of `stir` since half the steps of the inversion; NaN where "
           "they had no score then", "1", "[-1, 1]"),
    Column("stir_unbiased_drift", FLOAT, "the same of `stir_unbiased`; NaN likewise, and of "
           "measures without it", "1", "[-2, 2]"),
    Column("similarity", FLOAT, "of target and reference on the images themselves",
               "1", "[0, 1]"),
    Column("similarity_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
               "1", "[-1, 1]"),
    Column("noise_stir", FLOAT, "baseline: `stir` if nothing were optimised (inverted images "
           "= starts clipped to [0, 1]); NaN of a gray start", "1", "[0, 1]"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
               "1", "[-1, 1]"),
    Column("chance_stir", FLOAT, "baseline: `stir` if the inverted images were the real ones in "
           "a random order; mean over 200 orders, of Procrustes over 20", "1", "[0, 1]"),
    Column("chance_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
               "1", "[-1, 1]"),
    Column("chance_stir_q95", FLOAT, "95 % of the orders of `chance_stir` are below", "1",
           "[0, 1]"),
    Column("chance_stir_unbiased_q95", FLOAT, "the same with unbiased HSIC; NaN likewise",
               "1", "[-1, 1]"),
)  # fmt: skip

_OF_HALVES = (
    Column("layer", INT, "block of both models, from 1", "1", "[1, depth]"),
    Column("seed", INT, "of the start", "1", "[0, 2**64)"),
    Column("images", INT, "number of images that halves are of", "1", "[1, inf)"),
    Column(
        "half",
        INT,
        "which random half of the images, from 0: the same images under one number "
        "in every layer, epoch, direction and seed",
        "1",
        "[0, inf)",
    ),
    Column(
        "stir",
        SINGLE,
        "STIR of that half: biased linear CKA of the target's view of images "
        "and inverted images; NaN where a view does not vary",
        "1",
        "[0, 1]",
    ),
    Column(
        "stir_unbiased",
        SINGLE,
        "the same with unbiased HSIC; NaN where a view has no positive HSIC with itself",
        "1",
        "[-1, 1]",
    ),
    Column(
        "cka",
        SINGLE,
        "biased linear CKA of target and reference on the images of that half; NaN likewise",
        "1",
        "[0, 1]",
    ),
    Column("cka_unbiased", SINGLE, "the same with unbiased HSIC; NaN likewise", "1", "[-1, 1]"),
)
_ANSWERED = (
    Column("test_set", TEXT, "id of the test images; halves of them are drawn by it"),
    *CONDITION,
    Column("right", pa.list_(pa.bool_()), "whether the model classifies each test image rightly, "
           "in the order of the table `test_sets`"),
)  # fmt: skip

SIMILARITIES = TableSchema(
    "similarities",
    (
        Column("reference", TEXT, "digest of the inverted model's weights"),
        Column("target", TEXT, "digest of the weights of the model that looks"),
        *LAYER_PAIR,
        Column("seed", INT, "of the start", "1", "[0, 2**64)"),
        Column("images", INT, "number of images", "1", "[1, inf)"),
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
        Column("reference_layer", INT, "block that was inverted, from 1", "1", "[1, depth]"),
        Column("seed", INT, "of the start", "1", "[0, 2**64)"),
        Column("image_id", INT, "place of the image in its dataset"),
        Column("class_of_image", INT, "that the target predicts, from 0"),
        Column("class_of_inverted", INT, "that it predicts for the inverted image"),
        Column(
            "class_of_noise",
            INT,
            "that it predicts for the start of the inversion, clipped to [0, 1]",
        ),
    ),
    key=("image_id",),
)

METAMERS = TableSchema(
    "metamers",
    (
        Column("reference", TEXT, "digest of the inverted model's weights"),
        Column("reference_layer", INT, "block that was inverted, from 1", "1", "[1, depth]"),
        Column("seed", INT, "of the start", "1", "[0, 2**64)"),
        Column("image_id", INT, "place of the image in its dataset"),
        Column("pearson", FLOAT, "correlation over units of the layer's representations of image "
               "and inverted image"),
        Column("spearman", FLOAT, "of their ranks"),
        Column("snr_db", FLOAT, "10 log10 of the squared norm of the image's representation over "
               "that of the difference; infinite if there is none"),
        Column("null_pearson", FLOAT, "largest of all pairs of two different images",
               "1", "[-1, 1]"),
        Column("null_spearman", FLOAT, "likewise", "1", "[-1, 1]"),
        Column("null_snr_db", FLOAT, "likewise", "dB", "(-inf, inf]"),
        Column("is_metamer", pa.bool_(), "whether it is above the null in all three"),
    ),
    key=("image_id",),
)  # fmt: skip

OTHER_SIMILARITIES = TableSchema(
    "other_similarities",
    (
        Column("model", TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", INT, "of that model's training", "1", "[0, inf)"),
        Column("direction", TEXT, "target|reference, as in the table `results`"),
        Column("seed", INT, "of the start", "1", "[0, 2**64)"),
        *LAYER_PAIR,
        Column("images", INT, "number of images", "1", "[1, inf)"),
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
        Column("epoch", INT, "of that model's training", "1", "[0, inf)"),
        Column("direction", TEXT, "target|reference, as in the table `results`"),
        Column("seed", INT, "of the start", "1", "[0, 2**64)"),
        Column("reference_layer", INT, "block of the inverted model, from 1", "1", "[1, depth]"),
        Column("images", INT, "number of images", "1", "[1, inf)"),
        Column("unchanged", FLOAT, "fraction of them of which the target predicts the class that "
               "it predicts of the inverted image", "1", "[0, 1]"),
        Column("chance_unchanged", FLOAT, "the same if the two classes were independent, each as "
               "frequent as it is", "1", "[0, 1]"),
        Column("noise_unchanged", FLOAT, "baseline: the same of the start of the inversion, "
               "clipped to [0, 1]",
               "1", "[0, 1]"),
    ),
    key=("model", "epoch", "direction", "seed", "reference_layer"),
)  # fmt: skip

METAMER_COUNTS = TableSchema(
    "metamer_counts",
    (
        Column("model", TEXT, "that was inverted: `pretrained`, `finetuned` or `from_scratch`"),
        Column("epoch", INT, "of that model's training; 0 where there was none", "1", "[0, inf)"),
        Column("seed", INT, "of the start", "1", "[0, 2**64)"),
        Column("reference_layer", INT, "block that was inverted, from 1", "1", "[1, depth]"),
        Column("images", INT, "number of images", "1", "[1, inf)"),
        Column("metamers", INT, "of them, those above the null by all three criteria",
               "1", "[0, images]"),
        Column("pearson_median", FLOAT, "over images", "1", "[-1, 1]"),
        Column("spearman_median", FLOAT, "over images", "1", "[-1, 1]"),
        Column("snr_db_median", FLOAT, "over images", "dB", "(-inf, inf]"),
        Column("null_pearson", FLOAT, "largest of all pairs of two different images",
               "1", "[-1, 1]"),
        Column("null_spearman", FLOAT, "likewise", "1", "[-1, 1]"),
        Column("null_snr_db", FLOAT, "likewise", "dB", "(-inf, inf]"),
    ),
    key=("model", "epoch", "seed", "reference_layer"),
)  # fmt: skip

HALF_SAMPLES = TableSchema(
    "half_samples",
    (
        Column("reference", TEXT, "digest of the inverted model's weights"),
        Column("target", TEXT, "digest of the weights of the model that looks"),
        *_OF_HALVES,
    ),
    key=("half",),
)

CORRECT = TableSchema(
    "correct",
    (Column("checkpoint", TEXT, "digest of all weights, of the classifier too"), *_ANSWERED),
    key=("corruption", "severity"),
)

HALF_SAMPLE_SCORES = TableSchema(
    "half_sample_scores",
    (
        Column("model", TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", INT, "of that model's training", "1", "[0, inf)"),
        Column("direction", TEXT, "target|reference, as in the table `results`"),
        *_OF_HALVES,
    ),
    key=("model", "epoch", "direction", "seed", "layer", "half"),
)  # fmt: skip

TEST_CORRECT = TableSchema(
    "test_correct",
    (
        Column("model", TEXT, "as in the table `robustness`"),
        Column("epoch", INT, "of that model's training; 0 where there was none", "1", "[0, inf)"),
        *_ANSWERED,
    ),
    key=("model", "epoch", "corruption", "severity"),
)

PARTS_BESIDE = (SIMILARITIES, PREDICTIONS, METAMERS, HALF_SAMPLES, CORRECT)
RESULTS_BESIDE = (
    *(OTHER_SIMILARITIES, UNCHANGED_PREDICTIONS, METAMER_COUNTS),
    *(HALF_SAMPLE_SCORES, TEST_CORRECT),
)
