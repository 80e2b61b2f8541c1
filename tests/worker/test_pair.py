"""Two models of different depth and width, from the job file to the page."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stir_ray import open_results
from stir_ray.job import Architecture, Job
from stir_ray.lake.parquet import images_of
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES, MATRICES
from stir_ray.measures.subspaces import SUBSPACES
from stir_ray.models import architectures, state_dicts
from tests import oracles
from tests.broken import job_file, stir_ray, study_of, unrendered, with_figures
from tests.small_job import ARCHITECTURE, small_job
from workflows import invariance

PT, FT, SCRATCH = 3, 2, 5
"""Blocks of the models."""
DEPTHS = {("finetuned", 9): FT, ("from_scratch", 1): SCRATCH}
SEED = 7


def other(**changed: Any) -> dict[str, Any]:
    """The architecture of the small job with other arguments."""
    architecture = copy.deepcopy(ARCHITECTURE)
    architecture["arguments"] |= changed
    return architecture


NARROW, DEEP = other(depth=FT, embed_dim=24), other(depth=SCRATCH, embed_dim=8)


def pair_job(lake: Path, **changed: Any) -> Job:
    """Three models that have nothing in common but the images that they take."""
    described: dict[str, Any] = {
        "name": "pair",
        "pretrained": {"architecture": ARCHITECTURE, "random_init": {"seed": 3}},
        "finetuned": {
            "architecture": NARROW,
            "checkpoints": f"{lake.parent}/{{epoch}}.safetensors",
            "epochs": [4, 9],
        },
        "from_scratch": {"architecture": DEEP, "train": {"epochs": 1}},
        "seeds": [SEED],
    }
    return small_job(lake, **described | changed)


def save(path: Path, architecture: dict[str, Any], *, seed: int) -> None:
    """Random weights in a file."""
    model = architectures.build(Architecture(**architecture), classes=5, seed=seed)
    path.write_bytes(state_dicts.encode(model.state_dict()))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """It, run with its page; what was planned is what ran."""
    folder = tmp_path_factory.mktemp("pair")
    for epoch in (4, 9):
        save(folder / f"{epoch}.safetensors", NARROW, seed=epoch)
    job = pair_job(folder / "lake")
    _, plan, _ = stir_ray("plan", job_file(job, folder), "--json")
    with pytest.MonkeyPatch.context() as patch:
        with_figures(patch)
        unrendered(patch)
        summary = invariance.run(job, serial=True)
    assert not summary.tally.failed
    assert not summary.reduced.missing
    planned = {stage["stage"]: stage["to_do"] for stage in json.loads(plan)["stages"]}
    assert {stage: count for stage, count in planned.items() if count} == dict(summary.tally.ran)
    return job


def file_of(job: Job) -> Path:
    """The job file of the fixture."""
    return Path(job.lake).parent / "job.yaml"


def test_every_layer_of_one_model_is_compared_with_every_layer_of_the_other(job: Job) -> None:
    scores = open_results(f"{job.lake}/jobs/pair")["stir"]
    for (model, epoch), depth in DEPTHS.items():
        sides = {"pt": PT, "ft": depth}
        for direction in ("pt|pt", "ft|pt", "ft|ft", "pt|ft"):
            cells = scores.sel(model=model, epoch=epoch, direction=direction, seed=SEED)
            target, inverted = (sides[side] for side in direction.split("|"))
            expected = np.zeros((SCRATCH, SCRATCH), bool)
            expected[:inverted, :target] = True
            defined = cells.notnull().transpose("reference_layer", "target_layer").values
            np.testing.assert_array_equal(defined, expected, err_msg=f"{model} {direction}")


def test_a_difference_is_there_where_both_models_have_the_layer_and_nowhere_else(job: Job) -> None:
    table = study_of(job)[1].read_object(MATRICES, "jobs/pair/matrices.parquet").to_pandas()
    table = table[table["estimator"] == "biased"].set_index(["model", "epoch", "metric"])
    for (model, epoch), depth in DEPTHS.items():
        both = min(PT, depth)
        expected = {
            "forgetting": (both, PT),
            "cka_divergence": (both, PT),
            "learning": (both, depth),
            "flow": (both, depth),
            "flow_control": (PT, PT),
            "flow_beyond_control": (both, both),
        }
        for metric, (rows, columns) in expected.items():
            cells = table.loc[(model, epoch, metric)][["row_layer", "column_layer"]]
            inside = {(i + 1, j + 1) for i in range(rows) for j in range(columns)}
            assert set(cells.itertuples(index=False, name=None)) == inside, (model, metric)


def tokens(architecture: dict[str, Any], state: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """What every block makes of images, by hooks on timm's own model."""
    model = state_dicts.load(state, Architecture(**architecture), "here").eval()
    outputs: list[Tensor] = []
    for block in model.get_submodule("blocks").children():
        block.register_forward_hook(lambda _, __, output: outputs.append(output.flatten(1)))
    with torch.no_grad():
        model((images - 0.5) / 0.5)
    return outputs


@pytest.mark.parametrize(("inverted", "target"), [(3, 1), (1, 2)])
def test_a_score_of_the_rectangle_is_that_of_a_computation_by_hand(
    job: Job, inverted: int, target: int
) -> None:
    study, lake = study_of(job)
    table = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    pixels = [np.frombuffer(image.as_py(), np.float32) for image in table["image"]]
    real = torch.from_numpy(np.stack(pixels).reshape(-1, 1, 16, 16))
    task = next(task for task in study.inversions() if task.layer == inverted)
    stored = images_of(lake.read(IMAGES, task.images_artifact.id))
    state = state_dicts.decode((Path(job.lake).parent / "9.safetensors").read_bytes(), "there")
    features = (
        tokens(NARROW, state, images)[target - 1]
        for images in (real, torch.from_numpy(stored.astype(np.float32)))
    )
    where = {"model": "finetuned", "epoch": 9, "direction": "ft|pt", "seed": SEED}
    cell = {**where, "reference_layer": inverted, "target_layer": target}
    stir = open_results(f"{job.lake}/jobs/pair")["stir"].sel(cell)
    assert float(stir) == pytest.approx(oracles.cka(oracles.hsic_biased, *features), abs=1e-6)


def test_subspaces_of_other_widths_are_not_compared(job: Job) -> None:
    key = "jobs/pair/subspace_similarity.parquet"
    frame = study_of(job)[1].read_object(SUBSPACES.result_table, key).to_pandas()
    assert not frame["shares_basis"].any()
    assert (frame["directions"] == 0).all()
    assert frame["subspace_similarity"].isna().all()
    sizes = frame.groupby(["model", "epoch"]).size().to_dict()
    assert sizes == {
        ("finetuned", 4): PT * FT,
        ("finetuned", 9): PT * FT,
        ("from_scratch", 1): PT * SCRATCH,
    }


def test_every_figure_is_drawn_and_what_is_no_finetuning_is_not_called_one(job: Job) -> None:
    folder = Path(job.lake) / "jobs/pair"
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    several = ("3-flow", "5-matrices", "5-scores")
    expected = {f"{name}-{model}" for name in several for model in ("finetuned", "from-scratch")}
    assert expected | {"8-gallery", "4-epochs-finetuned"} <= drawn
    page = (folder / "page.html").read_text()
    assert "the compared model" in page
    assert "compared, epoch 9" in page
    wrong = r"[Ff]inetuned (?:model|layer)|finetuned, epoch|\(ft |\| ft |the finetuned"
    assert re.findall(wrong, page) == []


def test_the_verbs_take_it(job: Job) -> None:
    for verb in ("status", "verify", "plan"):
        code, output, errors = stir_ray(verb, file_of(job))
        assert code == 0, (verb, output, errors)
    cell = "ft|pt epoch=9 seed=7 reference_layer=3 target_layer="
    code, output, _ = stir_ray("explain", file_of(job), f"{cell}2")
    assert code == 0
    assert "stir_unbiased" in output
    # Outside of the rectangle.
    code, _, error = stir_ray("explain", file_of(job), f"{cell}3")
    assert code == 2
    assert "this job has target_layer 1, 2" in error


def test_the_architecture_of_the_pretrained_model_may_be_said_again(tmp_path: Path) -> None:
    save(tmp_path / "4.safetensors", ARCHITECTURE, seed=4)
    files = {"checkpoints": f"{tmp_path}/{{epoch}}.safetensors", "epochs": [4]}
    plain = {"from_scratch": None, "layers": [2]}
    first = pair_job(tmp_path / "lake", finetuned=files, **plain)
    assert not invariance.run(first, serial=True).tally.failed
    expected = open_results(f"{first.lake}/jobs/pair")["stir"]
    assert expected.notnull().all()
    for name, finetuned, epoch in (
        ("again", {**files, "architecture": ARCHITECTURE}, 4),
        ("single", {"checkpoint": f"{tmp_path}/4.safetensors"}, 0),
    ):
        job = pair_job(tmp_path / "lake", name=name, finetuned=finetuned, **plain)
        assert invariance.run(job, serial=True).tally.tasks == 0
        scores = open_results(f"{job.lake}/jobs/{name}")["stir"]
        np.testing.assert_array_equal(scores.values, expected.values)
        assert scores.epoch.values.tolist() == [epoch]
    # The last one, which has no epochs.
    code, _, error = stir_ray("analyse", job_file(job, tmp_path))
    assert code == 2
    assert "no epoch after 0" in error


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"layers": [3]}, "`layers: 3` goes past the last block of the finetuned model (2)"),
        (
            {"finetuned": {"architecture": other(img_size=24), "random_init": {}}},
            "images are 1 x 16 x 16 (channels x height x width), the finetuned model takes 1 x 24",
        ),
    ],
)
def test_models_that_cannot_be_compared_are_told_in_one_line(
    tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    model = {"architecture": NARROW, "random_init": {"seed": 1}}
    job = pair_job(tmp_path / "lake", **{"finetuned": model, "from_scratch": None} | changed)
    code, _, error = stir_ray("run", job_file(job, tmp_path), "--serial")
    assert code == 2
    # After the lines that tell of the inspection.
    assert expected in error.splitlines()[-1]
