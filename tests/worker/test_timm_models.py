"""Two models of timm's hub, from their names to the results; the hub is a folder here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from timm.models import _hub

from stir_ray.errors import InputError
from stir_ray.job import Architecture, Job
from stir_ray.lake.keys import result_key
from stir_ray.models import architectures, state_dicts
from tests.broken import job_file, stir_ray, study_of
from tests.small_job import small_job
from workflows import invariance

# Of 6 and of 8 blocks; the second has no class token.
ONE, OTHER = "test_vit.r160_in1k", "test_vit2.r160_in1k"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub has, and photographs to look at."""
    folder = tmp_path_factory.mktemp("hub")
    for seed, name in enumerate((ONE, OTHER)):
        model = architectures.build(Architecture(timm=name), classes=1000, seed=seed)
        file = folder / "timm" / name / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(state_dicts.encode(model.state_dict()))
    drawn = np.random.default_rng(5)
    for split, count in (("train", 2), ("test", 7)):
        for number in range(count):
            target = folder / "images" / split / "ab"[number % 2]
            target.mkdir(parents=True, exist_ok=True)
            smooth = drawn.integers(0, 256, (5, 5, 3)).astype(np.uint8)
            Image.fromarray(smooth).resize((160, 160)).save(target / f"{number}.png")
    return folder


@pytest.fixture
def downloads(files: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The repositories that are downloaded from the hub."""
    names: list[str] = []

    def hf_hub_download(repo_id: str, filename: str, **_: Any) -> str:
        names.append(repo_id)
        path = files / repo_id / filename
        if not path.exists():
            raise LocalEntryNotFoundError(f"{repo_id}/{filename} cannot be reached")
        return str(path)

    monkeypatch.setattr(_hub, "hf_hub_download", hf_hub_download)
    return names


def job(files: Path, lake: Path, **changed: Any) -> Job:
    """Two models of the hub, and photographs."""
    described: dict[str, Any] = {
        "data": {"source": "folder", "path": str(files / "images"), "size": 160},
        "images": {"count": 5},
        "pretrained": {"timm": ONE},
        "finetuned": {"timm": OTHER},
        "from_scratch": None,
        "layers": [1, 5],
        "seeds": [7],
        "inversion": {"iterations": 2},
    }
    return small_job(lake, **described | changed)


def numbers(finished: Job) -> pd.DataFrame:
    """The results, by model, direction, epoch, seed and layers."""
    table = pd.read_parquet(Path(finished.lake) / result_key(finished.name, "results"))
    keys = ["model", "direction", "epoch", "seed", "reference_layer", "target_layer"]
    return table.set_index(keys).sort_index()


def test_names_of_the_hub_give_what_their_files_give(
    files: Path, tmp_path: Path, downloads: list[str]
) -> None:
    hub = job(files, tmp_path / "lake")
    assert not invariance.run(hub, serial=True).tally.failed
    assert set(downloads) == {f"timm/{name}" for name in (ONE, OTHER)}
    downloads.clear()

    def local_file(name: str) -> dict[str, Any]:
        file = files / "timm" / name / "model.safetensors"
        return {"architecture": {"timm": name}, "checkpoint": str(file)}

    by_file = job(
        files, tmp_path / "other", pretrained=local_file(ONE), finetuned=local_file(OTHER)
    )
    assert not invariance.run(by_file, serial=True).tally.failed
    assert not downloads
    first, second = numbers(hub), numbers(by_file)
    assert set(first.reset_index()["direction"]) == {"pt|pt", "ft|pt", "ft|ft", "pt|ft"}
    for name in ("stir", "cka", "residual_max"):
        pd.testing.assert_series_equal(first[name], second[name])
    study = study_of(hub)[0]
    compared = study.compared["finetuned"][0]
    assert (study.pretrained.architecture.timm, compared.architecture.timm) == (ONE, OTHER)


def test_a_hub_that_is_away_is_told_before_anything_is_computed(
    files: Path, tmp_path: Path, downloads: list[str]
) -> None:
    there = files / "timm" / OTHER / "model.safetensors"
    hidden = there.rename(there.with_suffix(".hidden"))
    try:
        file = job_file(job(files, tmp_path / "lake"), tmp_path)
        code, _, error = stir_ray("run", file, "--serial")
    finally:
        hidden.rename(there)
    assert code == 2
    assert f"timm weights `{OTHER}`: cannot be downloaded" in error
    assert f"timm/{OTHER}" in downloads
    assert not (tmp_path / "lake" / "artifacts" / "inversions").exists()


def test_weights_that_the_hub_changed_meanwhile_are_found(
    files: Path, tmp_path: Path, downloads: list[str]
) -> None:
    assert not invariance.run(job(files, tmp_path / "lake", layers=[1]), serial=True).tally.failed
    larger = job(files, tmp_path / "lake")
    there = files / "timm" / OTHER / "model.safetensors"
    before = there.read_bytes()
    state = safetensors.torch.load(before)
    state["blocks.3.attn.qkv.weight"][7, 11] += 0.5
    try:
        there.write_bytes(safetensors.torch.save(state))
        with pytest.raises(InputError, match="its weights changed since it was inspected"):
            invariance.run(larger, serial=True)
        assert downloads.count(f"timm/{OTHER}") > 1
    finally:
        there.write_bytes(before)
