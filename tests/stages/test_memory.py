"""Where memory ends, fewer images go through a model at once, and the numbers stay."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stir_ray import open_results
from stir_ray.models import representations
from tests.small_job import COUNT, small_job
from workflows import invariance

_ROOM = 3


def test_a_job_for_which_memory_is_short_ends_with_the_same_scores(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = representations.intermediates
    seen: list[int] = []

    def intermediates(module: torch.nn.Module, images: Tensor, *, up_to: int | None) -> list:
        if len(images) > _ROOM:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        seen.append(len(images))
        return really(module, images, up_to=up_to)

    monkeypatch.setattr(representations, "intermediates", intermediates)
    summary = invariance.run(small_job(tmp_path, from_scratch=None), serial=True)
    assert not summary.tally.failed
    # 11 images are halved to 6 and to 3.
    assert max(seen) == -(-COUNT // 4) == _ROOM
    whole, parts = (open_results(str(lake / "jobs" / "small")) for lake in (finished, tmp_path))
    whole = whole.sel(model=["finetuned"])
    # As with another batch size: products of other sizes round differently.
    np.testing.assert_allclose(parts["stir"], whole["stir"], atol=1e-3)
    np.testing.assert_allclose(parts["cka"], whole["cka"], atol=1e-6)
