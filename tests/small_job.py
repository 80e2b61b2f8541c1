"""A whole job that runs in seconds: three blocks, eleven images, two epochs, two seeds."""

from pathlib import Path
from typing import Any

from stir_ray.job import Job
from stir_ray.job.loader import validate_job

ARCHITECTURE: dict[str, Any] = {
    "timm": "vit_tiny_patch16_224",
    "arguments": {
        "img_size": 16,
        "patch_size": 8,
        "in_chans": 1,
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
    },
}
LAYERS, EPOCHS, SEEDS, COUNT = 3, 2, 2, 11


def small_job(lake: Path | str, **changed: Any) -> Job:
    """The job, with whole top-level keys changed."""
    digits = {"source": "digits", "size": 16}
    adam = {"optimizer": "adamw", "learning_rate": 0.002}
    said: dict[str, Any] = {
        "schema_version": 1,
        "name": "small",
        "lake": str(lake),
        "data": {**digits, "classes": [5, 6, 7]},
        "images": {"count": COUNT},
        "pretrained": {
            "architecture": ARCHITECTURE,
            "train": {"data": {**digits, "classes": [0, 1, 2]}, "epochs": 1, **adam},
        },
        "finetuned": {"train": {"epochs": EPOCHS, "learning_rate": 0.01}},
        "from_scratch": {"train": {"epochs": 1, "seed": 1, **adam}},
        "seeds": list(range(SEEDS)),
        "inversion": {"iterations": 7},
        "keep_images": {"sample": 3},
        "execution": {"threads_per_worker": 1, "workers": 2},
    }
    return validate_job(said | changed, "small job")
