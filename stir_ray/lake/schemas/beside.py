"""Tables of what a job may ask for besides STIR by linear CKA: parts, and the results of them."""

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
    Column("noise_stir", FLOAT, "baseline: `stir` if nothing were optimised"),
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
        Column("seed", INT, "of the noise start"),
        Column("images", INT, "number of images"),
        *_SIMILAR,
    ),
    key=("reference_layer", "target_layer"),
)

OTHER_SIMILARITIES = TableSchema(
    "other_similarities",
    (
        Column("model", TEXT, "what is compared with the pretrained model: `finetuned` or "
               "`from_scratch`"),
        Column("epoch", INT, "of that model's training"),
        Column("direction", TEXT, "target|reference, as in the table `results`"),
        Column("seed", INT, "of the noise start"),
        *LAYER_PAIR,
        Column("images", INT, "number of images"),
        *_SIMILAR,
    ),
    key=("model", "epoch", "direction", "seed", "reference_layer", "target_layer", "measure",
         "bandwidth"),
)  # fmt: skip

PARTS_BESIDE = (SIMILARITIES,)
RESULTS_BESIDE = (OTHER_SIMILARITIES,)
