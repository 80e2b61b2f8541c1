"""Where a number comes from agrees with the results, and a missing one leads to its cause."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stir_ray.catalog.explain import explain
from stir_ray.catalog.inspection import inspected_in_lake, resolve
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key, result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import RESULTS
from stir_ray.plan.measurement import Inversion
from tests.broken import job_file, stir_ray, study_of, watched
from tests.small_job import LAYERS, SEEDS, small_job

CELL = "ft|pt epoch=2 seed=1 reference_layer=2 target_layer=3"


@pytest.fixture
def path(finished_copy: Callable[[], Job], tmp_path: Path) -> Path:
    """A job file whose lake is finished."""
    return job_file(finished_copy(), tmp_path)


@pytest.fixture
def unchanged(finished: Path, tmp_path: Path) -> Path:
    """A job file whose lake is finished, and shared with other tests."""
    return job_file(small_job(finished), tmp_path)


def explained(path: Path, *words: str) -> dict[str, Any]:
    """What is said of a cell, for scripts."""
    code, output, error = stir_ray("explain", path, *words, "--json")
    assert code == 0, error
    return json.loads(output)


def lose(path: Path, *tables: str, cell: str = CELL) -> None:
    """Remove parts that a cell comes from."""
    lake = open_lake(str(path.parent / "lake"))
    for part in explained(path, cell)["parts"]:
        if part["table"] in tables:
            lake.objects.delete(part["key"])


def test_every_number_is_that_of_the_results(finished: Path) -> None:
    job = small_job(finished)
    lake = open_lake(job.lake)
    inspected = inspected_in_lake(resolve(job), lake)
    assert inspected
    rows = lake.read_object(RESULTS, result_key("small", "results")).to_pylist()
    assert len(rows) == (3 + 1) * 4 * SEEDS * LAYERS**2
    # Every model, epoch, direction, seed and layer is among them.
    for row in rows[::13]:
        columns = {name: row.pop(name) for name in RESULTS.key}
        words = [f"{name}={value}" for name, value in columns.items()]
        result = explain(inspected, reversed(words))
        assert result.cell == columns
        assert result.numbers == row
        assert not result.blocked_by
        # Scores, residuals, images; of the pretrained model's also those after half of the steps.
        is_whole = columns["direction"].endswith("|pt") or columns["epoch"] == 0
        assert [part.state for part in result.artifacts] == ["right"] * (4 if is_whole else 3)


def test_a_number_tells_who_made_it_of_which_models(finished: Path, unchanged: Path) -> None:
    result = explained(unchanged, CELL)
    study, _ = study_of(small_job(finished))
    target = study.compared["finetuned"][2]
    assert result["reference"]["weights"] == study.pretrained.weights
    assert result["target"] == {
        "label": "finetuned epoch 2",
        "weights": target.weights,
        "location": target.location,
    }
    made = {part["table"]: part["made"] for part in result["parts"]}
    assert made["comparisons"]["task"] == "show pretrained to finetuned epoch 2, seed 1"
    assert made["inversions"]["task"] == "invert pretrained, layer 2, seed 1"
    assert {each["job"] for each in made.values()} == {"small"}
    assert result["do"] == result["waits"] == []
    _, output, _ = stir_ray("explain", unchanged, CELL)
    for word in (f"{result['numbers']['stir']:.6f}", "right", "by job small", "on cpu", "(code "):
        assert word in output


def test_words_stand_in_any_order_and_the_model_need_not_be_said(unchanged: Path) -> None:
    words = CELL.split()
    turned = explained(unchanged, "model=finetuned", *reversed(words))
    assert turned == explained(unchanged, CELL)
    other = CELL.replace("epoch=2", "epoch=1")
    scratch = explained(unchanged, "model=from_scratch", *other.split())
    assert scratch["cell"]["model"] == "from_scratch"
    assert scratch["numbers"] != explained(unchanged, other)["numbers"]


def test_a_slip_is_one_line_that_says_what_there_is(unchanged: Path) -> None:
    for cell, expected in (
        (CELL.replace("epoch=2", "epoch=3"), ["epoch=3", "epoch 0-2", "finetuned"]),
        (CELL.replace("seed=1", "seed=one"), ["seed=one", "seed 0, 1"]),
        (CELL.replace("target_layer=3", "target_layer=0"), ["target_layer 1-3"]),
        (CELL.replace("ft|pt", "pt/ft"), ["direction=pt/ft", "pt|pt, ft|pt, ft|ft, pt|ft"]),
        (CELL.replace("seed=1 ", ""), ["`seed` is missing"]),
        (f"{CELL} model=other", ["model=other", "finetuned, from_scratch"]),
        (f"{CELL} layer=3", ["layer=3", "reference_layer"]),
        (f"{CELL} seed=0", ["`seed` is given twice"]),
    ):
        code, _, error = stir_ray("explain", unchanged, cell)
        assert (code, error.strip().count("\n")) == (2, 0)
        assert [word for word in expected if word not in error] == []


def test_epoch_0_shares_the_parts_of_the_pretrained_model(unchanged: Path) -> None:
    result = explained(unchanged, CELL.replace("epoch=2", "epoch=0"))
    same = explained(unchanged, CELL.replace("ft|pt", "pt|pt"))
    assert result["shares"] == "finetuned epoch 0 has the weights of pretrained: they share parts"
    assert result["numbers"] == same["numbers"]
    assert result["parts"] == same["parts"]
    assert same["shares"] == ""


def test_what_was_never_tried_is_computed_by_a_run(path: Path) -> None:
    before = explained(path, CELL)["numbers"]
    lose(path, "comparisons")
    # The same task needs them, but not for this number.
    lose(path, "images", cell=CELL.replace("reference_layer=2", "reference_layer=1"))
    result = explained(path, CELL)
    assert result["numbers"] is None
    ((label, is_root_cause),) = [(each["label"], each["is_root_cause"]) for each in result["waits"]]
    assert (label, is_root_cause) == ("show pretrained to finetuned epoch 2, seed 1", True)
    assert "not tried yet: show pretrained" in stir_ray("explain", path, CELL)[1]
    (command,) = result["do"]
    assert stir_ray(*shlex.split(command)[1:], "--serial")[0] == 0
    assert explained(path, CELL)["numbers"] == before


def test_a_missing_number_leads_to_the_failure_that_is_its_cause(path: Path) -> None:
    before = explained(path, CELL)["numbers"]
    lose(path, "comparisons", "inversions", "images")
    with watched(broken=True):
        assert stir_ray("run", path, "--serial")[0] == 3
    result = explained(path, CELL)
    assert [(each["label"], each["is_root_cause"]) for each in result["waits"]] == [
        ("invert pretrained, layer 2, seed 1", True),
        ("show pretrained to finetuned epoch 2, seed 1", False),
    ]
    cause = result["waits"][0]
    assert cause["failure"]["message"] == "seed 1 diverged"
    # The other layers of the same task are there, and lead to nothing.
    assert explained(path, CELL.replace("reference_layer=2", "reference_layer=1"))["waits"] == []
    (command,) = result["do"]
    assert cause["task"].startswith(shlex.split(command)[-1])
    with watched() as ran:
        stir_ray(*shlex.split(command)[1:], "--serial")
    assert ran[0] == cause["label"]
    assert explained(path, CELL)["numbers"] == before


def test_a_number_of_a_model_that_is_not_trained_waits_for_its_training(unchanged: Path) -> None:
    sets = ["--set", "finetuned.train.seed=7"]
    result = explained(unchanged, CELL, *sets)
    assert [(each["label"], each["is_root_cause"]) for each in result["waits"]] == [
        ("train finetuned", True),
        ("show pretrained to finetuned epoch 2, seed 1", False),
    ]
    # Ids that depend on its weights are not known.
    assert [bool(each["task"]) for each in result["waits"]] == [True, False]
    states = {part["table"]: part["state"] for part in result["parts"]}
    assert states == {"comparisons": "unnamed", "inversions": "right", "images": "right"}
    assert result["do"] == [shlex.join(["stir-ray", "run", str(unchanged), *sets])]
    _, output, _ = stir_ray("explain", unchanged, CELL, *sets)
    assert "not tried yet: train finetuned" in output


def test_a_number_from_a_damaged_part_is_not_told(path: Path) -> None:
    before = explained(path, CELL)["numbers"]
    study, lake = study_of(small_job(path.parent / "lake"))
    inversion = Inversion(study.spec, study.pretrained, 2, 1).inversion
    lake.objects.put(artifact_key("inversions", inversion.id), b"something else")
    result = explained(path, CELL)
    assert result["numbers"] is None
    assert [part["state"] for part in result["parts"]] == ["right", "damaged", "right", "right"]
    assert "not readable as Parquet" in result["parts"][1]["problem"]
    for command in result["do"]:
        stir_ray(*shlex.split(command)[1:], *(["--serial"] if " run " in command else []))
    assert explained(path, CELL)["numbers"] == before


def test_images_that_are_not_kept_are_said_so(unchanged: Path) -> None:
    none = explained(unchanged, CELL.replace("ft|pt", "ft|ft"), "--set", "keep_images=none")
    assert [part["state"] for part in none["parts"]] == ["right", "right", "not kept"]
    assert none["numbers"]
