"""Warnings about a job's images when they are collected."""

from __future__ import annotations

from pathlib import Path

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
            target = folder / split / name
            target.mkdir(parents=True)
            for number in range(5):
                picture = drawn.integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(picture).save(target / f"{number}.png")


def test_first_images_of_a_folder_that_are_of_some_classes_alone_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_images(tmp_path / "images")
    data = {"source": "folder", "path": str(tmp_path / "images"), "size": 16, "channels": 1}
    models = {"pretrained": {"architecture": ARCHITECTURE, **TRAINED}, "finetuned": TRAINED}

    def warnings(**images: int) -> list[str]:
        caplog.clear()
        job = small_job(tmp_path / "lake", data=data, images=images, from_scratch=None, **models)
        inspect(resolve(job), open_lake(job.lake))
        return [line.message for line in caplog.records if "classes" in line.message]

    (message,) = warnings(count=7)
    assert message.startswith("the first 7 images of the split have 2 of its 3 classes")
    assert "`images.seed: 0` draws them from all" in message
    assert not warnings(count=11)
    assert not warnings(count=7, seed=0)
