"""Columns of several tables."""

import pyarrow as pa

from stir_ray.lake.schemas.columns import FLOAT, INT, TEXT, Column

REFERENCE = Column("reference", TEXT, "digest of the reference's weights: of the inverted model")
COMPARED = (REFERENCE, Column("target", TEXT, "digest of the weights of the model that is shown "
                              "the images"))  # fmt: skip
REFERENCE_LAYER = Column(
    "reference_layer", INT, "block of the inverted model, from 1", "1", "[1, depth]"
)
LAYER_PAIR = (
    REFERENCE_LAYER,
    Column("target_layer", INT, "block of the target, from 1", "1", "[1, depth]"),
)
SEED = Column("seed", INT, "of the initial images", "1", "[0, 2**64)")
IMAGES = Column("images", INT, "number of images", "1", "[1, inf)")
IMAGE_ID = Column("image_id", INT, "index of the image in its dataset")
COMPARED_MODEL = (
    Column("model", TEXT, "compared with the pretrained model: `finetuned` or `from_scratch`"),
    Column("epoch", INT, "of that model's training", "1", "[0, inf)"),
)
INVERTED_MODEL = (
    Column("model", TEXT, "that was inverted: `pretrained`, `finetuned` or `from_scratch`"),
    Column("epoch", INT, "of that model's training; 0 where there was none", "1", "[0, inf)"),
)
DIRECTION = Column(
    "direction", TEXT, "target|reference: `ft|pt` is STIR(ft | pt), as in the table `results`"
)
SCORES = (
    Column("stir", FLOAT, "STIR: biased linear CKA of the target's view of images and inverted "
           "images; 1 is full agreement", "1", "[0, 1]"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; about 0 for unrelated views",
           "1", "[-1, 1]"),
    Column("stir_drift", FLOAT, "change of `stir` since half the steps of the inversion: how far "
           "it could still be off; NaN where they had no score then", "1", "[-1, 1]"),
    Column("stir_unbiased_drift", FLOAT, "the same of `stir_unbiased`; NaN likewise",
           "1", "[-2, 2]"),
    Column("cka", FLOAT, "biased linear CKA of target and reference on the images themselves",
           "1", "[0, 1]"),
    Column("cka_unbiased", FLOAT, "the same with unbiased HSIC", "1", "[-1, 1]"),
    Column("noise_stir", FLOAT, "baseline: STIR if nothing were optimised (inverted images = "
           "initial images clipped to [0, 1]); NaN of gray ones, which are equal", "1", "[0, 1]"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("chance_stir", FLOAT, "baseline: STIR if the inverted images were the real ones in a "
           "random order; mean over 200 orders", "1", "[0, 1]"),
    Column("chance_stir_unbiased", FLOAT, "the same with unbiased HSIC; about 0", "1", "[-1, 1]"),
    Column("chance_stir_q95", FLOAT, "95 % of the orders of `chance_stir` are below", "1",
           "[0, 1]"),
    Column("chance_stir_unbiased_q95", FLOAT, "the same with unbiased HSIC", "1", "[-1, 1]"),
)  # fmt: skip
CONDITION = (
    Column("corruption", TEXT, "its name; `clean` of the images as they are"),
    Column("severity", INT, "from 1 to 5; 0 of clean images", "1", "[0, 5]"),
)
TESTED = (
    Column("images", INT, "number of test images, the same in every row of a model",
           "1", "[1, inf)"),
    Column("accuracy", FLOAT, "fraction of them classified rightly; NaN of a reconstruction",
           "1", "[0, 1]"),
    Column("loss", FLOAT, "mean over them of what the model was trained to minimize: "
           "cross-entropy, or L1 per pixel between the image it is shown and its reconstruction",
           "nat, or pixel values", "[0, inf)"),
    Column("source", TEXT, "of the images: `regenerated` with the settings of CIFAR-10-C, "
           "`released` for the published files, or `clean`"),
)  # fmt: skip
CORRECTNESS = (
    Column("test_set", TEXT, "id of the test images; halves of them are drawn by it"),
    *CONDITION,
    Column("right", pa.list_(pa.bool_()), "whether the model classifies each test image rightly, "
           "in the order of the table `test_sets`"),
)  # fmt: skip
