"""Images are corrupted at the size that the settings are made for, wherever their dataset lies."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stir_ray.job import Cifar10, EuroSat, InLake, Robustness
from stir_ray.lake.tables import open_lake
from stir_ray.plan.robustness import Condition, CorruptedTest
from stir_ray.stages.datasets import import_dataset
from stir_ray.stages.held_out import open_held_out
from tests.data.archives import described, put_cifar, put_eurosat

SNOW = Condition("snow", 3, "regenerated")
ASKED = Robustness(corruptions=("snow",), images=7)


@pytest.mark.parametrize(
    ("kind", "put", "own"), [(Cifar10, put_cifar, 32), (EuroSat, put_eurosat, 48)]
)
def test_a_dataset_in_the_lake_is_corrupted_as_it_is_outside(
    kind: Any, put: Any, own: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "downloads", monkeypatch)
    lake = open_lake(str(tmp_path / "lake"))
    outside = described(kind, tmp_path / "downloads", 48)
    import_dataset(outside, "under-another-name", lake)
    inside = InLake(source="lake", name="under-another-name", size=48)
    there, here = (open_held_out(CorruptedTest(data, ASKED), lake) for data in (outside, inside))
    assert there.under(SNOW).shape[-2:] == (own, own)
    assert torch.equal(there.under(SNOW), here.under(SNOW))
    assert torch.equal(there.clean.images, here.clean.images)
    assert here.size == 48
