"""Columns that parts have, and results too."""

from stir_ray.lake.schemas.columns import FLOAT, INT, TEXT, Column

LAYER_PAIR = (
    Column("reference_layer", INT, "block of the inverted model, from 1", "1", "[1, depth]"),
    Column("target_layer", INT, "block of the model that looks, from 1", "1", "[1, depth]"),
)
SCORES = (
    Column("stir", FLOAT, "STIR: biased linear CKA of the target's view of images and inverted "
           "images; 1 is full agreement", "1", "[0, 1]"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; about 0 for unrelated views",
               "1", "[-1, 1]"),
    Column("stir_drift", FLOAT, "change of `stir` since half the steps of the inversion: how far "
           "it could still be off; NaN where they had no score then", "1", "[-1, 1]"),
    Column("stir_unbiased_drift", FLOAT, "the same of `stir_unbiased`", "1", "[-2, 2]"),
    Column("cka", FLOAT, "biased linear CKA of target and reference on the images themselves",
               "1", "[0, 1]"),
    Column("cka_unbiased", FLOAT, "the same with unbiased HSIC", "1", "[-1, 1]"),
    Column("noise_stir", FLOAT, "baseline: STIR if nothing were optimised (inverted images = "
           "starts clipped to [0, 1]); NaN of a gray start, which is one image", "1", "[0, 1]"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC", "1", "[-1, 1]"),
    Column("chance_stir", FLOAT, "baseline: STIR if the inverted images were the real ones in a "
           "random order; mean over 200 orders", "1", "[0, 1]"),
    Column("chance_stir_unbiased", FLOAT, "the same with unbiased HSIC; about 0", "1", "[-1, 1]"),
    Column("chance_stir_q95", FLOAT, "95 % of the orders of `chance_stir` are below", "1",
           "[0, 1]"),
    Column("chance_stir_unbiased_q95", FLOAT, "the same with unbiased HSIC", "1", "[-1, 1]"),
)  # fmt: skip

ALIKE = (
    *LAYER_PAIR,
    Column("images", INT, "number of images", "1", "[1, inf)"),
    Column("directions", INT, "k: principal directions compared; fewer than asked for where a "
           "layer has no more; 0 if the two layers cannot be compared", "1", "[0, inf)"),
    Column("chance", FLOAT, "similarity of two random subspaces: k over units; NaN for k = 0",
               "1", "[0, 1]"),
    Column("subspace_similarity", FLOAT, "Ramasesh et al. 2021, of the images themselves: 1 for "
           "one subspace, 0 for orthogonal ones; NaN for k = 0", "1", "[0, 1]"),
)  # fmt: skip

CONDITION = (
    Column("corruption", TEXT, "its name; `clean` of the images as they are"),
    Column("severity", INT, "from 1 to 5; 0 of clean images", "1", "[0, 5]"),
)

TESTED = (
    Column(
        "images",
        INT,
        "number of held-out images, the same in every row of a model",
        "1",
        "[1, inf)",
    ),
    Column(
        "accuracy",
        FLOAT,
        "fraction of them classified rightly; NaN of a reconstruction",
        "1",
        "[0, 1]",
    ),
    Column(
        "loss",
        FLOAT,
        "mean over them of what the model was trained to make small: "
        "cross-entropy, or L1 per pixel between the image it is shown and its reconstruction",
        "nat, or pixel values",
        "[0, inf)",
    ),
    Column(
        "source",
        TEXT,
        "of the images: `regenerated` with the settings of CIFAR-10-C, "
        "`released` for the published files, or `clean`",
    ),
)
