"""What was asked for is recorded, and is enough where the files themselves are gone."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stir_ray.catalog import inspection as asking
from stir_ray.catalog.inspection import read_snapshot, save_snapshots, snapshot_keys
from stir_ray.job import Architecture
from stir_ray.job.loader import read_job
from stir_ray.lake.parquet import open_lake
from stir_ray.models.architectures import build
from tests.broken import job_file, stir_ray
from tests.small_job import ARCHITECTURE, small_job

CELL = "ft|pt epoch=7 seed=0 reference_layer=1 target_layer=2"


def write_checkpoint(path: Path, seed: int, **changed: torch.Tensor) -> None:
    """Weights of the architecture of the small job."""
    state = build(Architecture(**ARCHITECTURE), classes=3, seed=seed).state_dict()
    safetensors.torch.save_file(state | changed, path)


def write_job(folder: Path, lake: Path | None = None) -> Path:
    """The job that studies the checkpoints of a folder."""
    job = small_job(
        lake or folder / "lake",
        pretrained={"architecture": ARCHITECTURE, "checkpoint": str(folder / "e0.safetensors")},
        finetuned={"checkpoints": str(folder / "e{epoch}.safetensors"), "epochs": [3, 7]},
        from_scratch=None,
        seeds=[0],
        layers=[1, 2],
    )
    return job_file(job, folder if lake is None else lake.parent)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints of one's own and a lake with a study of them. Not to be changed."""
    folder = tmp_path_factory.mktemp("own")
    for epoch in (0, 3, 7):
        write_checkpoint(folder / f"e{epoch}.safetensors", epoch)
    path = write_job(folder)
    code, _, error = stir_ray("run", path, "--serial")
    assert code == 0, error
    return folder


@pytest.fixture
def own(studied: Path, tmp_path: Path) -> Path:
    """A job file whose lake is finished; its checkpoints lie where the study found them."""
    shutil.copytree(studied / "lake", tmp_path / "lake")
    return write_job(studied, tmp_path / "lake")


@pytest.fixture
def gone(studied: Path) -> Iterator[None]:
    """Meanwhile the checkpoints are somewhere else."""
    moved = list(studied.glob("*.safetensors"))
    for file in moved:
        file.rename(file.with_suffix(".away"))
    yield
    for file in moved:
        file.with_suffix(".away").rename(file)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is looked at."""
    counts: Counter[str] = Counter()
    really = asking.file_version

    def file_version(path: str) -> str:
        counts[path] += 1
        return really(path)

    monkeypatch.setattr(asking, "file_version", file_version)
    return counts


@pytest.mark.parametrize(
    "verb", ["run --serial", "retry --serial", "plan", "status", "failures", "explain"]
)
def test_a_command_looks_at_each_file_once(own: Path, looked: Counter[str], verb: str) -> None:
    name, *options = verb.split()
    code, _, error = stir_ray(name, own, *options, *([CELL] if name == "explain" else []))
    assert code == 0, error
    assert len(looked) == 3
    assert set(looked.values()) == {1}


@pytest.mark.parametrize("verb", ["status", "failures", "explain", "reduce", "verify", "gc"])
def test_a_job_whose_files_are_gone_is_known_to_its_lake(own: Path, gone: None, verb: str) -> None:
    code, output, error = stir_ray(verb, own, *([CELL] if verb == "explain" else []))
    assert code == 0, error
    assert output
    lines = error.strip().splitlines()
    # What is damaged or unused is read from the lake alone.
    assert len(lines) == (verb not in ("gc", "verify"))
    for line in lines:
        assert "e0.safetensors and 2 more cannot be read; the last recorded version is used" in line


@pytest.mark.parametrize("verb", ["run --serial", "retry --serial", "plan"])
def test_what_computes_needs_the_files_themselves(own: Path, gone: None, verb: str) -> None:
    name, *options = verb.split()
    code, _, error = stir_ray(name, own, *options)
    assert code == 2
    assert "e0.safetensors: not there" in error


def test_a_file_that_was_never_read_cannot_be_recalled(own: Path, gone: None) -> None:
    code, _, error = stir_ray("status", own, "--set", "finetuned.epochs=[3, 7, 9]")
    assert code == 2
    assert "e9.safetensors: not there" in error


def test_a_changed_checkpoint_is_another_model_and_the_last_one_is_recalled(
    own: Path, studied: Path, tmp_path: Path
) -> None:
    for file in studied.glob("*.safetensors"):
        shutil.copy2(file, tmp_path)
    path = write_job(tmp_path)
    assert stir_ray("run", path, "--serial")[0] == 0
    first = json.loads(stir_ray("explain", path, CELL, "--json")[1])
    write_checkpoint(tmp_path / "e7.safetensors", 11)
    assert "Tasks run: 1 inspect, 2 invert, 1 compare." in stir_ray("run", path, "--serial")[1]
    second = json.loads(stir_ray("explain", path, CELL, "--json")[1])
    assert second["target"]["weights"] != first["target"]["weights"]
    (tmp_path / "e7.safetensors").unlink()
    assert json.loads(stir_ray("explain", path, CELL, "--json")[1]) == second
    # What the lake was copied with, of files elsewhere, and the two of now.
    assert len(snapshot_keys(open_lake(str(tmp_path / "lake")))) == 3


def test_a_record_says_what_was_asked_of_the_lake_that_it_lies_in(own: Path) -> None:
    lake = open_lake(str(own.parent / "lake"))
    (key,) = snapshot_keys(lake)
    result = read_snapshot(key, lake)[0]
    output = read_job(own, ["execution={}", "lake=elsewhere"])
    assert result.job == output.model_copy(update={"lake": lake.objects.url})
    save_snapshots([result], lake)
    assert snapshot_keys(lake) == [key]


def test_a_damaged_checkpoint_of_ones_own_is_one_clear_line_and_on_record(tmp_path: Path) -> None:
    for epoch in (0, 3, 7):
        write_checkpoint(tmp_path / f"e{epoch}.safetensors", epoch)
    harmed, path = tmp_path / "e3.safetensors", write_job(tmp_path)
    whole = harmed.read_bytes()

    def fails(expected: str) -> None:
        code, _, error = stir_ray("run", path, "--serial")
        (line,) = [line for line in error.splitlines() if line.startswith("stir-ray: ")]
        assert (code, str(harmed) in line, expected in line) == (2, True, True)
        (failed,) = json.loads(stir_ray("failures", path, "--json")[1])["failed"]
        assert failed["failure_class"] == "user_error"
        assert failed["label"] == "inspect finetuned epoch 3"
        assert expected in failed["message"]

    bias = "blocks.1.norm1.bias"
    harmed.write_bytes(whole[:-7])
    fails("not a whole safetensors file")
    write_checkpoint(harmed, 0, **{bias: torch.full((16,), torch.nan)})
    fails(f"tensor `{bias}` holds NaN")
    write_checkpoint(harmed, 0, **{bias: torch.zeros(17)})
    fails(f"{bias} is (17,), expected (16,)")
    # What could never be computed is not recorded as a job.
    assert snapshot_keys(open_lake(str(tmp_path / "lake"))) == []
    harmed.write_bytes(whole)
    os.utime(harmed, (1, 1))
    code, _, error = stir_ray("failures", path)
    assert (code, "nothing of this job is there" in error) == (2, True)
