"""Two models of different depth and width, from the job file to the figures."""

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
from stir_ray.plan.measurement import Inversion
from stir_ray.plan.study import Study
from tests import oracles
from tests.broken import job_file, stir_ray, study_of, with_figures
from tests.small_job import ARCHITECTURE, small_job
from workflows import invariance

PT, FT, SCRATCH = 3, 2, 5
"""Blocks of the models."""
SEED = 7


def other(**changed: Any) -> dict[str, Any]:
    """The architecture of the small job with other arguments."""
    found = copy.deepcopy(ARCHITECTURE)
    found["arguments"] |= changed
    return found


NARROW, DEEP = other(depth=FT, embed_dim=24), other(depth=SCRATCH, embed_dim=8)


def pair_job(lake: Path, **changed: Any) -> Job:
    """Three models that have nothing in common but the images that they take."""
    said: dict[str, Any] = {
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
    return small_job(lake, **said | changed)


def save(path: Path, architecture: dict[str, Any], *, seed: int) -> None:
    """Random weights as a file of somebody's."""
    model = architectures.build(Architecture(**architecture), classes=5, seed=seed)
    path.write_bytes(state_dicts.encode(model.state_dict()))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """It, run with its figures."""
    folder = tmp_path_factory.mktemp("pair")
    for epoch in (4, 9):
        save(folder / f"{epoch}.safetensors", NARROW, seed=epoch)
    job = pair_job(folder / "lake")
    before = stir_ray("plan", job_file(job, folder), "--json")
    with pytest.MonkeyPatch.context() as patch:
        with_figures(patch)
        summary = invariance.run(job, serial=True)
    assert not summary.tally.failed
    assert not summary.reduced.missing
    planned = {one["stage"]: one["to_do"] for one in json.loads(before[1])["stages"]}
    assert {stage: count for stage, count in planned.items() if count} == dict(summary.tally.ran)
    return job


def file_of(job: Job) -> Path:
    """The job file of the fixture."""
    return Path(job.lake).parent / "job.yaml"


@pytest.fixture(scope="module")
def study(job: Job) -> Study:
    return study_of(job)[0]


def test_every_layer_of_one_model_is_compared_with_every_layer_of_the_other(job: Job) -> None:
    rows = open_results(f"{job.lake}/jobs/pair")["stir"]
    depths = {("finetuned", 9): FT, ("from_scratch", 1): SCRATCH}
    for (model, epoch), depth in depths.items():
        sides = {"pt": PT, "ft": depth}
        for direction in ("pt|pt", "ft|pt", "ft|ft", "pt|ft"):
            found = rows.sel(model=model, epoch=epoch, direction=direction, seed=SEED)
            looks, inverted = (sides[one] for one in direction.split("|"))
            expected = np.zeros((SCRATCH, SCRATCH), bool)
            expected[:inverted, :looks] = True
            known = found.notnull().transpose("reference_layer", "target_layer").values
            np.testing.assert_array_equal(known, expected, err_msg=f"{model} {direction}")


def test_a_difference_is_there_where_both_models_have_the_layer_and_nowhere_else(job: Job) -> None:
    lake = study_of(job)[1]
    table = lake.read_object(MATRICES, "jobs/pair/matrices.parquet").to_pandas()
    for model, depth in (("finetuned", FT), ("from_scratch", SCRATCH)):
        both = min(PT, depth)
        expected = {
            "forgetting": (both, PT),
            "cka_divergence": (both, PT),
            "learning": (both, depth),
            "flow": (both, depth),
            "flow_control": (PT, PT),
            "flow_beyond_control": (both, both),
        }
        for metric, shape in expected.items():
            rows = table[(table["model"] == model) & (table["metric"] == metric)]
            rows = rows[(rows["estimator"] == "biased") & (rows["epoch"] == rows["epoch"].max())]
            cells = set(zip(rows["row_layer"], rows["column_layer"], strict=True))
            every = {(i + 1, j + 1) for i in range(shape[0]) for j in range(shape[1])}
            assert cells == every, (model, metric)


def tokens(architecture: dict[str, Any], state: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """What every block makes of images, by hooks on timm's own model."""
    model = state_dicts.load(state, Architecture(**architecture), "here").eval()
    seen: list[Tensor] = []
    for block in model.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda _, __, output: seen.append(output.flatten(1)))
    with torch.no_grad():
        model((images - 0.5) / 0.5)
    return seen


@pytest.mark.parametrize(("inverted", "looks"), [(3, 1), (1, 2)])
def test_a_score_of_the_rectangle_is_that_of_a_computation_by_hand(
    job: Job, study: Study, inverted: int, looks: int
) -> None:
    lake = study_of(job)[1]
    spec, pt = study.spec, study.pretrained
    row = lake.read(IMAGE_SETS, spec.image_artifact.id)
    pixels = [np.frombuffer(image.as_py(), np.float32) for image in row["image"]]
    real = torch.from_numpy(np.stack(pixels).reshape(-1, 1, 16, 16))
    part = Inversion(spec, pt, inverted, SEED).images()
    found = torch.from_numpy(images_of(lake.read(IMAGES, part.id)).astype(np.float32))
    path = Path(job.lake).parent / "9.safetensors"
    state = state_dicts.decode(path.read_bytes(), "there")
    of_real, of_found = (tokens(NARROW, state, images)[looks - 1] for images in (real, found))
    expected = oracles.cka(oracles.hsic_biased, of_real, of_found)
    stir = open_results(f"{job.lake}/jobs/pair")["stir"].sel(
        model="finetuned", epoch=9, direction="ft|pt", seed=SEED,
        reference_layer=inverted, target_layer=looks,
    )  # fmt: skip
    assert float(stir) == pytest.approx(expected, abs=1e-6)


def test_subspaces_of_other_widths_are_not_compared(job: Job) -> None:
    lake = study_of(job)[1]
    table = lake.read_object(SUBSPACES.result_table, "jobs/pair/subspace_similarity.parquet")
    assert not any(table["shares_basis"].to_pylist())
    frame = table.to_pandas()
    assert (frame["directions"] == 0).all()
    assert frame["subspace_similarity"].isna().all()
    sizes = frame.groupby(["model", "epoch"]).size().to_dict()
    assert sizes == {
        ("finetuned", 4): PT * FT, ("finetuned", 9): PT * FT, ("from_scratch", 1): PT * SCRATCH,
    }  # fmt: skip


def test_every_figure_is_drawn(job: Job) -> None:
    drawn = {path.stem for path in (Path(job.lake) / "jobs/pair/figures").glob("*.png")}
    several = ("3-flow", "5-matrices", "5-scores")
    of_models = {f"{one}-{model}" for one in several for model in ("finetuned", "from-scratch")}
    assert of_models | {"8-gallery", "4-epochs-finetuned"} <= drawn


def test_what_is_no_finetuning_is_not_called_one(job: Job) -> None:
    page = (Path(job.lake) / "jobs" / "pair" / "page.html").read_text()
    assert "the compared model" in page
    wrong = r"[Ff]inetuned (?:model|layer)|finetuned, epoch|\(ft |\| ft |the finetuned"
    assert re.findall(wrong, page) == []
    figures = Path(job.lake) / "jobs" / "pair" / "figures"
    for stem in ("3-flow", "5-matrices", "5-scores"):
        text = (figures / f"{stem}-finetuned.svg").read_text()
        assert "compared, epoch 9" in text
        assert "finetuned" not in text
        assert "(ft " not in text


def test_the_verbs_take_it(job: Job) -> None:
    for verb in ("status", "verify", "plan"):
        code, output, errors = stir_ray(verb, file_of(job))
        assert code == 0, (verb, output, errors)
    forecast = json.loads(stir_ray("plan", file_of(job), "--json")[1])
    assert forecast["total"]["to_do"] == 0


def test_a_cell_outside_of_the_rectangle_is_told_with_what_there_is(job: Job) -> None:
    place = "ft|pt epoch=9 seed=7 reference_layer=3 target_layer="
    code, output, _ = stir_ray("explain", file_of(job), f"{place}2")
    assert code == 0
    assert "stir_unbiased" in output
    code, _, error = stir_ray("explain", file_of(job), f"{place}3")
    assert code == 2
    assert "this job has target_layer 1, 2" in error


def test_the_architecture_of_the_pretrained_model_may_be_said_again(tmp_path: Path) -> None:
    save(tmp_path / "4.safetensors", ARCHITECTURE, seed=4)
    files = {"checkpoints": f"{tmp_path}/{{epoch}}.safetensors", "epochs": [4]}
    plain, single = {"from_scratch": None, "layers": [2, 3]}, f"{tmp_path}/4.safetensors"
    first = pair_job(tmp_path / "lake", finetuned=files, **plain)
    assert not invariance.run(first, serial=True).tally.failed
    of_first = open_results(f"{first.lake}/jobs/pair")["stir"]
    assert of_first.notnull().all()
    again = {**files, "architecture": ARCHITECTURE}
    for name, said in {"again": again, "single": {"checkpoint": single}}.items():
        job = pair_job(tmp_path / "lake", name=name, finetuned=said, **plain)
        assert invariance.run(job, serial=True).tally.tasks == 0
        found = open_results(f"{job.lake}/jobs/{name}")["stir"]
        np.testing.assert_array_equal(found.values, of_first.values)
        assert found.epoch.values.tolist() == [0 if name == "single" else 4]
    # The last one, which has no epochs.
    code, _, error = stir_ray("analyse", job_file(job, tmp_path))
    assert code == 2
    assert "no epoch after 0" in error


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": [3]}, "`layers: 3` goes past the last block of the finetuned model (2)"),
        (
            {"finetuned": {"architecture": other(img_size=24), "random_init": {}}},
            "images are 1 x 16 x 16 (channels x height x width), the finetuned model takes 1 x 24",
        ),
    ],
)
def test_models_that_cannot_be_compared_are_told_in_one_line(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    model = {"architecture": NARROW, "random_init": {"seed": 1}}
    job = pair_job(tmp_path / "lake", **{"finetuned": model, "from_scratch": None} | changed)
    code, _, error = stir_ray("run", job_file(job, tmp_path), "--serial")
    assert code == 2
    # After the lines that tell of the inspection.
    assert said in error.splitlines()[-1]
