"""The command line as a person meets it: verbs, exit codes, one clear line."""

from __future__ import annotations

import inspect
import json
import logging
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import typer
import yaml

from stir_ray.cli import app
from stir_ray.formatting import format_hours
from stir_ray.job import Architecture
from stir_ray.job.loader import schema_text
from stir_ray.models.architectures import build
from stir_ray.worker import inspect as inspections
from tests.broken import modules_of_verb, stir_ray, without_figures
from tests.readme import ROOT
from tests.small_job import ARCHITECTURE, small_job

HEAVY = {"torch", "timm", "ray", "pandas", "xarray", "altair", "duckdb"}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small job to a file, with top-level keys changed."""

    def write(stem: str = "job", /, **changed: Any) -> Path:
        content = small_job(tmp_path / "fresh").model_dump(mode="json", exclude_none=True)
        path = tmp_path / f"{stem}.yaml"
        path.write_text(yaml.safe_dump(content | changed))
        return path

    return write


def test_a_run_names_results_and_figures(finished_file: Path) -> None:
    code, output, _ = stir_ray("run", finished_file, "--serial")
    assert code == 0
    folder = Path(output.split("Figures: ")[1].strip())
    assert {".png", ".svg"} <= {path.suffix for path in folder.iterdir()}
    assert len({path.stem for path in folder.iterdir()}) >= 8
    assert f"Results: {folder.parent} " in output
    for table in ("results", "matrices", "history"):
        assert (folder.parent / f"{table}.parquet").is_file()
    assert stir_ray("reduce", finished_file)[0] == 0
    code, output, _ = stir_ray("report", finished_file)
    page, figures = map(Path, output.splitlines())
    assert (code, page.is_file(), figures) == (0, True, folder)


def planned(*arguments: object) -> dict[str, Any]:
    """Return a plan, its stages by name."""
    code, output, error = stir_ray("plan", "--json", *arguments)
    assert code == 0, error
    plan = json.loads(output)
    return plan | {"stages": {stage["stage"]: stage for stage in plan["stages"]}}


def counts(plan: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return tasks planned and done by stage."""
    return {name: (stage["planned"], stage["done"]) for name, stage in plan["stages"].items()}


def test_a_plan_counts_what_is_to_do_and_logs_nothing(
    written: Callable[..., Path], finished_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("stir_ray").setLevel(logging.INFO)
    fresh = planned(written())
    assert not [line for line in caplog.records if line.name.startswith("stir_ray")]
    expected = {"inspect": (2, 0), "train": (3, 0), "invert": (24, 0), "compare": (6, 0)}
    assert counts(fresh) == expected
    assert all(fresh["stages"][name]["flops"] > 0 for name in ("train", "invert", "compare"))
    assert not (written().parent / "fresh").exists()
    finished = planned(finished_file)
    assert all(planned == done for planned, done in counts(finished).values())
    assert finished["total"]["flops"] == finished["total"]["hours"] == 0
    other_images = planned(finished_file, "--set", "images.count=7")
    assert counts(other_images) == expected | {"inspect": (2, 1), "train": (3, 3)}


def test_a_plan_has_hours_and_money_at_a_given_rate_or_hours_at_that_of_earlier_runs(
    written: Callable[..., Path], finished_file: Path
) -> None:
    path = written()
    plan = planned(path, "--flops-per-s", "7e6", "--price-per-gpu-hour", "3")
    hours = plan["total"]["flops"] / 7e6 / 3600
    assert plan["total"]["gpu_hours"] == pytest.approx(hours)
    assert plan["total"]["money"] == pytest.approx(3 * hours)
    assert plan["rate"]["device"] == ""
    unknown = planned(path)
    assert unknown["rate"] is unknown["total"]["gpu_hours"] is unknown["total"]["money"] is None
    assert "--flops-per-s" in stir_ray("plan", path)[1]
    more = (finished_file, "--set", "seeds=[5]")
    plan = planned(*more)
    assert plan["rate"]["device"] == "cpu"
    assert plan["total"]["hours"] > 0
    # Hours of a CPU are no GPU-hours.
    assert plan["total"]["gpu_hours"] is None
    assert "as on cpu in the last run" in stir_ray("plan", *more)[1]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(0.05, "3 min"), (0.0004, "0.024 min"), (7, "7 h"), (1234, "1,234 h")],
)
def test_a_time_of_few_minutes_is_in_minutes(hours: float, expected: str) -> None:
    assert " ".join(format_hours(hours)) == expected


def test_jobs_of_several_files_are_planned_together_and_share_inspections(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: Counter[str] = Counter()
    for name in ("collect_images", "select_test_images", "inspect_model"):
        original = getattr(inspections, name)

        def counted(task: Any, ctx: Any, name: str = name, original: Any = original) -> None:
            ran[name] += 1
            original(task, ctx)

        monkeypatch.setattr(inspections, name, counted)
    robust = {"robustness": {"corruptions": ["fog"], "images": 5}}
    files = [
        written(f"{index}", **robust, **changed)
        for index, changed in enumerate(({}, {"name": "b"}, {"name": "c", "images": {"count": 7}}))
    ]
    apart = [json.loads(stir_ray("plan", "--json", file)[1]) for file in files]
    alone = ran["inspect_model"] // 3
    ran.clear()
    code, output, error = stir_ray("plan", "--json", *files)
    assert code == 0, error
    # One of them has other images; all have the same models, tested on the same.
    assert ran == {"collect_images": 2, "select_test_images": 2, "inspect_model": alone}
    plans = json.loads(output)
    assert list(plans) == ["small", "b", "c", "total"]
    assert list(plans.values())[:3] == apart
    # The first two differ in their names alone: together they are one.
    inversions = [plan["stages"][2]["planned"] for plan in plans.values()]
    assert inversions == [24, 24, 24, 48]
    assert "All 3 jobs in one run" in stir_ray("plan", *files)[1]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "second.yaml: the name `small` is used in"),
        ({"name": "total"}, "second.yaml: the name `total` is used in JSON of all jobs"),
        ({"name": "b", "lake": "elsewhere"}, "second.yaml: its lake is elsewhere, and that of"),
    ],
)
def test_jobs_that_cannot_be_planned_together_are_named(
    written: Callable[..., Path], changed: dict[str, Any], expected: str
) -> None:
    code, _, error = stir_ray("plan", written("first"), written("second", **changed))
    assert (code, expected in error) == (2, True)


def test_status_counts_what_is_done_stored_and_took(finished_file: Path, tmp_path: Path) -> None:
    code, output, _ = stir_ray("status", finished_file, "--json")
    status = json.loads(output)["status"]
    assert code == 0
    stages = {stage["stage"]: stage for stage in status["stages"]}
    for stage in stages.values():
        assert stage["planned"] == stage["done"] == stage["took"]["ran"]
        assert stage["to_do"] == stage["took"]["failed"] == stage["retries"] == 0
    for name in ("train", "invert", "compare"):
        assert stages[name]["devices"] == ["cpu"]
        assert stages[name]["gpu_hours"] is None
        assert stages[name]["flops_per_s"] > 0
    for table, held in status["holdings"].items():
        folder = tmp_path / "lake"
        files = [path for path in folder.glob(f"*/{table}/**/*") if path.is_file()]
        files += [path for path in folder.glob(f"{table}/**/*") if path.is_file()]
        assert (held["parts"], held["size"]) == (len(files), sum(f.stat().st_size for f in files))
    assert [(run["ended"], run["exit_code"]) for run in status["runs"]] == [("done", 0)]
    assert "Last run: " in stir_ray("status", finished_file)[1]


def test_status_before_the_first_run_names_the_command(written: Callable[..., Path]) -> None:
    path = written()
    code, _, error = stir_ray("status", path)
    assert code == 2
    assert f"nothing of this job is there; `stir-ray run {path}` first" in error


@pytest.mark.parametrize("arguments", [("--help",), ("schema",), ("status", "JOB")])
def test_light_verbs_import_no_heavy_module(
    finished_file: Path, arguments: tuple[str, ...]
) -> None:
    words = (finished_file if word == "JOB" else word for word in arguments)
    assert HEAVY & modules_of_verb(*words) == set()


def test_schema_is_that_of_the_job_file() -> None:
    assert stir_ray("schema")[:2] == (0, schema_text())


VERBS = {
    (verb.callback.__name__.replace("_", "-"), inspect.getdoc(verb.callback) or "")
    for verb in app.registered_commands
    if verb.callback
}


@pytest.mark.parametrize(("verb", "doc"), sorted(VERBS))
def test_every_verb_has_help_with_an_example_that_is_a_command(verb: str, doc: str) -> None:
    code, output, _ = stir_ray(verb, "--help")
    assert (code, f"Example: stir-ray {verb}" in output) == (0, True)
    example = re.search(r"^Example: (stir-ray .*)", doc, re.DOTALL | re.MULTILINE)
    assert example
    words = shlex.split(" ".join(example[1].split()).partition(" > ")[0])
    # Unknown options, and arguments that are too many or too few, raise here.
    context = typer.main.get_group(app).commands[verb].make_context(verb, words[2:])
    context.close()
    assert all((ROOT / word).is_file() for word in words if word.startswith("jobs/"))


def _folder(path: str) -> dict[str, Any]:
    return {"source": "folder", "path": path, "size": 16, "channels": 1}


def _model(**changed: Any) -> dict[str, Any]:
    arguments = {**ARCHITECTURE["arguments"], **changed}
    return {"architecture": {**ARCHITECTURE, "arguments": arguments}, "train": {"epochs": 1}}


def _checkpoint(path: Path) -> dict[str, Any]:
    return {"architecture": ARCHITECTURE, "checkpoint": str(path)}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sedes": [1]}, ["unknown key `sedes`", "did you mean `seeds`"]),
        ({"layers": [2, 4]}, ["`layers: 4`", "last block", "use 1 to 3"]),
        ({"images": {"count": 5000}}, ["images.count: 5000", "but the split has"]),
        ({"data": {"source": "digits", "size": 24}}, ["1 x 24 x 24", "1 x 16 x 16", "`size`"]),
        ({"data": _folder("/no/such")}, ["/no/such: not there; correct the path"]),
        ({"data": _folder("pictures")}, ["pictures: not there, looked for as /", "; correct"]),
        ({"pretrained": _checkpoint(Path("/no/such.pt"))}, ["/no/such.pt: not there"]),
        (
            {"pretrained": {"architecture": {"timm": "vit_nope"}, "train": {"epochs": 1}}},
            ["vit_nope", "Unknown model"],
        ),
        (
            {"representation": "cls",
             "pretrained": _model(class_token=False, global_pool="avg")},
            ["`representation: cls`", "no class token"],
        ),
        ({"pretrained": _model(depth=0)}, ["vit_tiny_patch16_224", "depth"]),
        ({"lake": "/proc/lake"}, ["lake /proc/lake: cannot "]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_computed(
    written: Callable[..., Path], tmp_path: Path, changed: dict[str, Any], expected: list[str]
) -> None:
    code, _, error = stir_ray("run", written(**changed), "--serial")
    last = error.strip().splitlines()[-1]
    assert code == 2
    assert last.startswith("stir-ray: ")
    assert [part for part in expected if part not in last] == []
    assert not list((tmp_path / "fresh").glob("*/trainings/*/*"))
    assert not list((tmp_path / "fresh").glob("checkpoints/*"))


def test_a_checkpoint_that_does_not_fit_names_its_tensors(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    state = build(Architecture(**ARCHITECTURE), classes=3).state_dict()
    state["blocks.1.attn.qkv.weight"] = torch.zeros(5, 7)
    del state["pos_embed"]
    path = tmp_path / "bad.safetensors"
    safetensors.torch.save_file(state, path)
    code, _, error = stir_ray("run", written(pretrained=_checkpoint(path)), "--serial")
    last = error.strip().splitlines()[-1]
    assert code == 2
    for part in (str(path), "blocks.1.attn.qkv.weight is (5, 7), expected (48, 16)", "pos_embed"):
        assert part in last


def test_checkpoints_of_the_user_are_studied_like_trained_ones(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_figures(monkeypatch)
    for epoch in (0, 3, 7):
        model = build(Architecture(**ARCHITECTURE), classes=3, seed=epoch)
        safetensors.torch.save_file(model.state_dict(), tmp_path / f"e{epoch}.safetensors")
    job = written(
        pretrained=_checkpoint(tmp_path / "e0.safetensors"),
        finetuned={"checkpoints": str(tmp_path / "e{epoch}.safetensors"), "epochs": [3, 7]},
        from_scratch=None,
        seeds=[0],
    )
    code, output, error = stir_ray("run", job, "--serial")
    assert code == 0, error
    # Two epochs, four directions, one seed, three layers.
    assert "24 of 24 cells" in output
