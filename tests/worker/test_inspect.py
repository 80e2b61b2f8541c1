"""What is said of a job's images while they are looked at for the first time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stir_ray.catalog.inspection import inspect, resolve
from stir_ray.lake.parquet import open_lake
from tests.small_job import ARCHITECTURE, small_job

TRAINED = {"train": {"epochs": 1}}


def put_images(folder: Path) -> None:
    """Three classes of five test images; a class in a folder of its own."""
    drawn = np.random.default_rng(3)
    for split in ("train", "test"):
        for name in "abc":
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(5):
                picture = drawn.integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(picture).save(place / f"{number}.png")


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({"count": 7}, "the first 7 images of the split have 2 of its 3 classes"),
        ({"count": 11}, ""),
        ({"count": 7, "seed": 0}, ""),
    ],
)
def test_first_images_of_a_folder_that_are_of_some_classes_alone_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, images: dict[str, Any], said: str
) -> None:
    put_images(tmp_path / "images")
    data = {"source": "folder", "path": str(tmp_path / "images"), "size": 16, "channels": 1}
    pretrained = {"architecture": ARCHITECTURE, **TRAINED}
    job = small_job(
        tmp_path / "lake",
        data=data,
        images=images,
        pretrained=pretrained,
        finetuned=TRAINED,
        from_scratch=None,
    )
    inspect(resolve(job), open_lake(job.lake))
    warned = [line.message for line in caplog.records if "classes" in line.message]
    assert bool(warned) == bool(said)
    assert not said or warned[0].startswith(said)
    assert not said or "`images.seed: 0` draws them from all" in warned[0]
