"""Where memory ends, fewer images go through a model at once, and the numbers stay."""

from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from stir_ray import open_results
from stir_ray.execution.retry import FailureClass, classify
from stir_ray.job import Architecture, Digits, Training
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import TRAININGS
from stir_ray.models import features, training
from stir_ray.plan.preparation import Train
from stir_ray.worker import room
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.train import train_model
from tests.small_job import ARCHITECTURE, COUNT, small_job
from workflows import invariance

_ROOM = 3


def test_a_job_for_which_memory_is_short_ends_with_the_same_scores(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = features.intermediates
    seen: list[int] = []

    def intermediates(module: torch.nn.Module, images: Tensor, *, up_to: int | None) -> list:
        if len(images) > _ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        seen.append(len(images))
        return really(module, images, up_to=up_to)

    monkeypatch.setattr(features, "intermediates", intermediates)
    summary = invariance.run(small_job(tmp_path, from_scratch=None), serial=True)
    assert not summary.tally.failed
    # 11 images are halved to 6 and to 3.
    assert max(seen) == -(-COUNT // 4) == _ROOM
    whole, parts = (open_results(str(lake / "jobs" / "small")) for lake in (finished, tmp_path))
    whole = whole.sel(model=["finetuned"])
    # As with another batch size: products of other sizes round differently.
    np.testing.assert_allclose(parts["stir"], whole["stir"], atol=1e-3)
    np.testing.assert_allclose(parts["cka"], whole["cka"], atol=1e-6)


BATCH, FREE = 67, 1e6
"""Bytes for some images of a batch."""


def train_with(lake: Path, free: float | None) -> WorkerContext:
    """Train the small job's model where so many bytes are free."""
    settings = Training(epochs=2, batch_size=BATCH, learning_rate=0.01, seed=3)
    data = Digits(source="digits", classes=(5, 6), size=16)
    task = Train("from_scratch", Architecture(**ARCHITECTURE), settings, data)
    bench = WorkerContext(WorkerSettings(str(lake), "", None, 0.0), threads=1)
    bench.begin(task.label)
    with pytest.MonkeyPatch.context() as patch:
        if free is not None:
            patch.setattr(room, "free_bytes", lambda *_: free)
        train_model(task, bench)
    return bench


def rows(lake: Path) -> list[dict]:
    """Of the record of the one training of a lake."""
    found = open_lake(str(lake))
    (part,) = found.stored(TRAININGS)
    return found.read(TRAININGS, part).to_pylist()


def test_a_training_for_which_memory_is_short_takes_slices_from_the_beginning(
    tmp_path: Path,
) -> None:
    whole = train_with(tmp_path / "whole", None)
    assert whole.micro.fitting == BATCH
    seen: list[int] = []

    def note(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, VisionTransformer):
            seen.append(len(inputs[0]))

    with register_module_forward_pre_hook(note):
        parts = train_with(tmp_path / "parts", FREE)
    fitting = parts.micro.fitting
    assert fitting is not None
    assert 2 < fitting < BATCH
    assert max(seen) == fitting
    assert parts.micro.halvings == 0
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert other["test_loss"] == pytest.approx(one["test_loss"], rel=1e-4)


def test_where_one_image_alone_does_not_fit_one_line_says_what_is_needed_and_what_is_free(
    tmp_path: Path,
) -> None:
    with pytest.raises(MemoryError) as caught:
        train_with(tmp_path, 2e4)
    assert classify(caught.value) is FailureClass.OUT_OF_MEMORY
    said = str(caught.value)
    assert "\n" not in said
    for part in (
        "from_scratch",
        "67 images, one at once",
        "GB on cpu",
        "2e-05 GB are free",
        "take",
    ):
        assert part in said


def test_a_trial_for_which_memory_is_short_says_so_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")

    monkeypatch.setattr(training, "training_footprint", short)
    with pytest.raises(MemoryError, match=r"one at once, need more than there is on .* are free"):
        train_with(tmp_path, 2e4)
