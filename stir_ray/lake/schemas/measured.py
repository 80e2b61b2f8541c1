"""Columns that parts have, and results too."""

from stir_ray.lake.schemas.columns import FLOAT, INT, TEXT, Column

LAYER_PAIR = (
    Column("reference_layer", INT, "block of the inverted model, from 1"),
    Column("target_layer", INT, "block of the model that looks, from 1"),
)
SCORES = (
    Column("stir", FLOAT, "STIR: biased linear CKA of the target's view of images and inverted "
           "images; 1 is full agreement"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; about 0 for unrelated views"),
    Column("cka", FLOAT, "biased linear CKA of target and reference on the images themselves"),
    Column("cka_unbiased", FLOAT, "the same with unbiased HSIC"),
    Column("noise_stir", FLOAT, "baseline: STIR if nothing were optimised (inverted images = "
           "starts); NaN of a grey start, which is one image"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC"),
    Column("shuffled_stir", FLOAT, "null: STIR if the inverted images were other real images"),
    Column("shuffled_stir_unbiased", FLOAT, "the same with unbiased HSIC"),
)  # fmt: skip

ALIKE = (
    *LAYER_PAIR,
    Column("images", INT, "number of images"),
    Column("directions", INT, "k: principal directions compared; fewer than asked for where a "
           "layer has no more; 0 if the two layers cannot be compared"),
    Column("chance", FLOAT, "similarity of two random subspaces: k over units; NaN for k = 0"),
    Column("subspace_similarity", FLOAT, "Ramasesh et al. 2021, of the images themselves: 1 for "
           "one subspace, 0 for orthogonal ones; NaN for k = 0"),
)  # fmt: skip

CONDITION = (
    Column("corruption", TEXT, "its name; `clean` of the images as they are"),
    Column("severity", INT, "from 1 to 5; 0 of clean images"),
)

TESTED = (
    Column("images", INT, "number of held-out images, the same in every row of a model"),
    Column("accuracy", FLOAT, "fraction of them classified rightly; NaN of a reconstruction"),
    Column(
        "loss",
        FLOAT,
        "mean over them of what the model was trained to make small: "
        "cross-entropy, or L1 per pixel between the image it is shown and its reconstruction",
    ),
    Column(
        "source",
        TEXT,
        "of the images: `regenerated` with the settings of CIFAR-10-C, "
        "`released` for the published files, or `clean`",
    ),
)
