"""The job files of the paper can be planned together, and share what they should share."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import yaml
from typer.testing import CliRunner

from stir_ray.cli import app
from stir_ray.datasets.lake_dataset import import_dataset
from stir_ray.job import Architecture
from stir_ray.job.loader import read_jobs
from stir_ray.lake.parquet import open_lake
from stir_ray.models.architectures import build
from tests.datasets.archives import SOURCES, description

JOBS = Path(__file__).parents[1] / "jobs"
PAPER = sorted((JOBS / "paper").glob("*.yaml"))
VIT = "vit_base_patch32_224"
SMALL: dict[str, Any] = {
    "timm": "vit_tiny_patch16_224",
    "arguments": {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2},
}
DEPTH, SEEDS, TEST_IMAGES = 3, 3, 5


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files, of a small model and tiny datasets in a lake of their own."""
    folder = tmp_path_factory.mktemp("paper")
    lake = open_lake(str(folder / "lake"))
    with pytest.MonkeyPatch.context() as patch:
        for kind, put in SOURCES:
            put(folder / "downloads", patch)
            import_dataset(description(kind, folder / "downloads"), kind.__name__.lower(), lake)
    written = []
    for path in PAPER:
        said = replaced(yaml.safe_load(path.read_text()), folder)
        said |= {"lake": str(folder / "lake"), "images": {"count": TEST_IMAGES, "seed": 0}}
        written.append(folder / path.name)
        written[-1].write_text(yaml.safe_dump(said))
    return written


def replaced(said: Any, folder: Path) -> Any:
    """What a file says, with a small model in place of the ViT and sizes that fit it."""
    match said:
        case {"timm": str(name)} if name == VIT:
            return SMALL
        case {"timm": str(name)}:
            path = folder / f"{name}.safetensors"
            if not path.exists():
                state = build(
                    Architecture.model_validate(SMALL), classes=2, seed=len(name)
                ).state_dict()
                safetensors.torch.save_file(state, path)
            return {"architecture": SMALL, "checkpoint": str(path)}
        case dict():
            values = {key: replaced(value, folder) for key, value in said.items()}
            return values | ({"size": 16} if "size" in values else {})
        case list():
            return [replaced(value, folder) for value in said]
    return said


def test_jobs_that_share_a_lake_have_names_of_their_own() -> None:
    names = [job.name for path in PAPER for job in read_jobs(path).jobs]
    assert len(set(names)) == len(names) > len(PAPER)


def test_all_files_are_planned_together_and_share_the_pretrained_model(small: list[Path]) -> None:
    result = CliRunner().invoke(app, ["plan", "--json", *map(str, small)])
    assert result.exit_code == 0, result.stderr
    plans = json.loads(result.stdout)
    tasks = {
        name: {stage["stage"]: stage["planned"] for stage in plan["stages"]}
        for name, plan in plans.items()
    }
    total = tasks.pop("total")
    assert len(tasks) == sum(len(read_jobs(path).points) for path in PAPER)
    assert not any(stage["done"] for plan in plans.values() for stage in plan["stages"])
    # ImageNet on four datasets, and on CIFAR-10 with the published update; four other models there,
    # and two on CIFAR-100.
    pretrained = 4 + 1 + 4 + 2
    # Its last epochs, among them two of the dynamics once more, whose images are not kept.
    finetuned = 8 + 2 + 5 + 2 + 1 + 1 + 1 + 2
    every_epoch, from_scratch = 2 * 99, 1
    models = pretrained + finetuned + every_epoch + from_scratch
    assert total["invert"] == models * DEPTH * SEEDS
    # A training by its content: eight finetunings, and what only one file has.
    assert total["train"] == 8 + 3 + 3 + 1 + 5 + 2
    assert total["evaluate"] == 2 * 101
