"""The command line as a person meets it: verbs, exit codes, one clear line."""

import inspect
import json
import logging
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import typer
import yaml
from typer.testing import CliRunner

from stir_ray.cli import app
from stir_ray.job import Architecture, Job
from stir_ray.job.loader import schema_text
from stir_ray.models.architectures import build
from stir_ray.worker import inspect as inspections
from tests.readme import ROOT
from tests.small_job import ARCHITECTURE, small_job


def stir_ray(*arguments: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small job to a file, with top-level keys changed."""

    def write(**changed: Any) -> Path:
        said = small_job(tmp_path / "fresh").model_dump(mode="json", exclude_none=True) | changed
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(said))
        return path

    return write


@pytest.fixture
def of_finished(finished_copy: Callable[[], Job], tmp_path: Path) -> Path:
    """A job file whose lake is finished."""
    path = tmp_path / "finished.yaml"
    path.write_text(yaml.safe_dump(finished_copy().model_dump(mode="json", exclude_none=True)))
    return path


def test_a_run_names_results_and_figures(of_finished: Path) -> None:
    code, said, _ = stir_ray("run", of_finished, "--serial")
    assert code == 0
    folder = Path(said.split("Figures: ")[1].strip())
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".png", ".svg"}
    assert len({path.stem for path in folder.iterdir()}) >= 8
    for table in ("results", "matrices", "history"):
        assert (folder.parent / f"{table}.parquet").is_file()
        assert str(folder.parent / f"{table}.parquet") in said


def planned(*arguments: object) -> dict[str, Any]:
    """A plan as JSON, its stages by name."""
    code, said, error = stir_ray("plan", "--json", *arguments)
    assert code == 0, error
    plan = json.loads(said)
    return plan | {"stages": {stage["stage"]: stage for stage in plan["stages"]}}


def counts(plan: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Tasks planned and done by stage."""
    return {name: (stage["planned"], stage["done"]) for name, stage in plan["stages"].items()}


def test_a_plan_counts_what_is_left(written: Callable[..., Path], of_finished: Path) -> None:
    fresh = planned(written())
    expected = {"inspect": (2, 0), "train": (3, 0), "invert": (24, 0), "compare": (6, 0)}
    assert counts(fresh) == expected
    assert all(fresh["stages"][name]["flops"] > 0 for name in ("train", "invert", "compare"))
    assert not (written().parent / "fresh").exists()
    finished = planned(of_finished)
    assert all(planned == done for planned, done in counts(finished).values())
    assert finished["total"]["flops"] == finished["total"]["hours"] == 0
    assert finished["comparisons_read"]["bytes_once_per_machine"] == 0


def test_a_plan_has_hours_and_money_at_a_given_rate(written: Callable[..., Path]) -> None:
    path = written()
    plan = planned(path, "--flops-per-s", "7e6", "--price-per-gpu-hour", "3")
    flops = plan["total"]["flops"]
    assert plan["total"]["gpu_hours"] == pytest.approx(flops / 7e6 / 3600)
    assert plan["total"]["money"] == pytest.approx(3 * flops / 7e6 / 3600)
    assert plan["rate"]["source"] == "given"
    unknown = planned(path)
    assert unknown["rate"] is unknown["total"]["gpu_hours"] is unknown["total"]["money"] is None
    assert "--flops-per-s" in stir_ray("plan", path)[1]


@pytest.mark.parametrize(
    ("hours", "said"), [(0.05, "3 min"), (0.0004, "0.024 min"), (7, "7"), (1234, "1,234")]
)
def test_a_time_of_few_minutes_is_said_in_minutes(
    written: Callable[..., Path], hours: float, said: str
) -> None:
    path = written()
    per_s = planned(path, "--flops-per-s", "1")["total"]["flops"] / (3600 * hours)
    lines = stir_ray("plan", path, "--flops-per-s", f"{per_s:.9g}")[1].splitlines()
    # The last row of the first table is the total.
    (total,) = (line for line in lines if "all" in line and "e+" in line)
    assert total.rstrip(" │┃|").endswith(f" {said}")


def test_a_plan_takes_the_rate_that_earlier_runs_achieved(of_finished: Path) -> None:
    plan = planned(of_finished, "--set", "seeds=[5]")
    assert (plan["rate"]["source"], plan["rate"]["device"]) == ("measured", "cpu")
    assert plan["total"]["hours"] > 0
    # Hours of a CPU are no GPU-hours.
    assert plan["total"]["gpu_hours"] is None
    assert "measured on cpu" in stir_ray("plan", of_finished, "--set", "seeds=[5]")[1]


def test_what_comparisons_read_grows_with_machines_up_to_each_task_for_itself(
    written: Callable[..., Path],
) -> None:
    one = planned(written())["comparisons_read"]
    # 3 layers, 2 seeds, 11 images of 16 x 16 in float16; and 3 models that look.
    # After all steps, and after half of them.
    assert one["bytes_once_per_machine"] == 2 * 3 * 2 * 11 * 16 * 16 * 2
    assert one["bytes_every_task"] == 3 * one["bytes_once_per_machine"]
    many = planned(written(), "--machines", "2")["comparisons_read"]
    assert many["bytes_once_per_machine"] == 2 * one["bytes_once_per_machine"]
    most = planned(written(), "--machines", "99")["comparisons_read"]
    assert most["bytes_once_per_machine"] == most["bytes_every_task"]


def test_a_plan_of_other_images_knows_what_is_trained(of_finished: Path) -> None:
    plan = planned(of_finished, "--set", "images.count=7")
    assert counts(plan) == {
        "inspect": (2, 1),
        "train": (3, 3),
        "invert": (24, 0),
        "compare": (6, 0),
    }


def test_status_compares_what_is_there_with_what_was_planned(
    of_finished: Path, tmp_path: Path
) -> None:
    code, said, _ = stir_ray("status", of_finished, "--json")
    status = json.loads(said)
    assert code == 0
    for stage in status["stages"]:
        assert stage["planned"] == stage["done"] == stage["ran"]
        assert stage["to_do"] == stage["failed"] == stage["again"] == 0
    work = {stage["stage"]: stage for stage in status["stages"]}
    for name in ("train", "invert", "compare"):
        assert work[name]["devices"] == ["cpu"]
        assert work[name]["gpu_hours"] is None
        assert work[name]["flops_per_s"] == work[name]["flops"] / work[name]["seconds"] > 0
    for table, held in status["tables"].items():
        folder = tmp_path / "lake" / ("artifacts" if table != "checkpoints" else "") / table
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert (held["parts"], held["bytes"]) == (len(files), sum(f.stat().st_size for f in files))
        # A model of sizes, not the sizes; images of few different values become smaller.
        assert 2 / 3 < held["planned_bytes"] / held["bytes"] < (3 if "image" in table else 3 / 2)
    assert [(run["ended"], run["exit_code"]) for run in status["runs"]] == [("done", 0)]
    shown = stir_ray("status", of_finished)[1]
    assert "Last run: " in shown


def test_status_needs_the_lake_alone(of_finished: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'timm', 'ray', 'sklearn', 'torchvision'): sys.modules[name] = None\n"
        "from stir_ray.cli import main\n"
        f"sys.argv = ['stir-ray', 'status', {str(of_finished)!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "invert" in done.stdout


def test_status_before_the_first_run_says_so(written: Callable[..., Path]) -> None:
    code, _, error = stir_ray("status", written())
    assert code == 2
    assert "nothing of this job is there" in error


def test_verify_says_what_is_right_and_wrong(of_finished: Path, tmp_path: Path) -> None:
    code, said, _ = stir_ray("verify", of_finished)
    assert (code, "0 are damaged" in said) == (0, True)
    part = min((tmp_path / "lake").glob("artifacts/images/*/*"))
    part.write_bytes(part.read_bytes()[:99])
    code, said, _ = stir_ray("verify", of_finished)
    assert code == 3
    assert part.name in said
    assert stir_ray("verify", of_finished, "--repair")[0] == 0
    assert not part.exists()


def test_reduce_and_report_work_from_the_lake(of_finished: Path) -> None:
    assert stir_ray("reduce", of_finished)[0] == 0
    code, said, _ = stir_ray("report", of_finished)
    assert code == 0
    page, figures = map(Path, said.splitlines())
    assert page.is_file()
    assert figures.is_dir()


def test_schema_is_that_of_the_job_file() -> None:
    assert stir_ray("schema")[:2] == (0, schema_text())


def test_every_verb_has_help_with_an_example() -> None:
    for verb in app.registered_commands:
        assert verb.callback
        name = verb.callback.__name__.replace("_", "-")
        code, said, _ = stir_ray(name, "--help")
        assert code == 0
        assert f"Example: stir-ray {name}" in said


def _examples() -> list[str]:
    docs = [inspect.getdoc(verb.callback) or "" for verb in app.registered_commands]
    found = [
        re.search(r"^Example: (stir-ray .*?)(?:\n\n|\Z)", doc, re.DOTALL | re.MULTILINE)
        for doc in docs
    ]
    return [" ".join(match[1].split()) for match in found if match]


@pytest.mark.parametrize("example", _examples())
def test_the_example_of_a_verb_is_a_command(example: str) -> None:
    group = typer.main.get_group(app)
    _, verb, *arguments = shlex.split(example.partition(" > ")[0])
    # Unknown options and arguments that are too many or too few end this.
    context = group.commands[verb].make_context(verb, arguments)
    files = [Path(one) for one in arguments if one.startswith("jobs/")]
    assert all((ROOT / path).is_file() for path in files)
    context.close()


def _folder(path: Path) -> dict[str, Any]:
    return {"source": "folder", "path": str(path), "size": 16, "channels": 1}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"sedes": [1]}, ["unknown key `sedes`", "did you mean `seeds`"]),
        ({"seeds": "many"}, ["`seeds", "many", "expected a list"]),
        ({"layers": [2, 4]}, ["`layers: 4`", "last block", "use 1 to 3"]),
        ({"images": {"count": 3}}, ["`images.count: 3`", "greater than or equal to 4"]),
        ({"images": {"count": 5000}}, ["images.count: 5000", "but the split has"]),
        ({"data": {"source": "digits", "size": 24}}, ["1 x 24 x 24", "1 x 16 x 16", "`size`"]),
        ({"data": _folder(Path("/no/such"))}, ["/no/such: not there; correct the path"]),
        (
            {"pretrained": {"architecture": ARCHITECTURE, "checkpoint": "/no/such.safetensors"}},
            ["/no/such.safetensors: not there"],
        ),
        (
            {"pretrained": {"architecture": {"timm": "vit_nope"}, "train": {"epochs": 1}}},
            ["vit_nope", "Unknown model"],
        ),
        ({"representation": "cls", "pretrained": {"architecture": {**ARCHITECTURE, "arguments": {
            **ARCHITECTURE["arguments"], "class_token": False, "global_pool": "avg"}},
            "train": {"epochs": 1}}}, ["`representation: cls`", "no class token"]),
        (
            {"pretrained": {"architecture": {**ARCHITECTURE, "arguments": {"depth": 0}},
             "train": {"epochs": 1}}},
            ["vit_tiny_patch16_224", "depth"],
        ),
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
    assert not list((tmp_path / "fresh").glob("artifacts/trainings/*/*"))
    assert not list((tmp_path / "fresh").glob("checkpoints/*"))


def test_a_checkpoint_that_does_not_fit_names_its_tensors(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    state = build(Architecture(**ARCHITECTURE), classes=3).state_dict()
    state["blocks.1.attn.qkv.weight"] = torch.zeros(5, 7)
    del state["pos_embed"]
    path = tmp_path / "bad.safetensors"
    safetensors.torch.save_file(state, path)
    source = {"architecture": ARCHITECTURE, "checkpoint": str(path)}
    code, _, error = stir_ray("run", written(pretrained=source), "--serial")
    last = error.strip().splitlines()[-1]
    assert code == 2
    for part in (str(path), "blocks.1.attn.qkv.weight is (5, 7), expected (48, 16)", "pos_embed"):
        assert part in last


def test_checkpoints_of_ones_own_are_studied_like_trained_ones(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    for epoch in (0, 3, 7):
        model = build(Architecture(**ARCHITECTURE), classes=3, seed=epoch)
        safetensors.torch.save_file(model.state_dict(), tmp_path / f"e{epoch}.safetensors")
    job = written(
        pretrained={
            "architecture": ARCHITECTURE,
            "checkpoint": str(tmp_path / "e0.safetensors"),
        },
        finetuned={"checkpoints": str(tmp_path / "e{epoch}.safetensors"), "epochs": [3, 7]},
    )
    text = yaml.safe_load(job.read_text())
    del text["from_scratch"]
    job.write_text(yaml.safe_dump(text))
    code, said, error = stir_ray("run", job, "--serial")
    assert code == 0, error
    # Two epochs, four directions, two seeds, three layers.
    assert "48 of 48 cells" in said


def test_a_path_that_is_relative_is_told_in_full(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = stir_ray("plan", written(data=_folder(Path("pictures"))))
    assert code == 2
    assert f"pictures: not there, looked for as {tmp_path / 'pictures'}; correct" in error


def test_a_plan_says_nothing_of_what_goes_well(
    written: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("stir_ray").setLevel(logging.INFO)
    assert stir_ray("plan", written())[0] == 0
    assert not [line for line in caplog.records if line.name.startswith("stir_ray")]
    assert logging.getLogger("stir_ray").level == logging.INFO


def test_jobs_of_several_files_are_planned_together(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    first = written().rename(tmp_path / "first.yaml")
    second = written(name="second").rename(tmp_path / "second.yaml")
    code, said, error = stir_ray("plan", "--json", first, second)
    assert code == 0, error
    plans = json.loads(said)
    assert list(plans) == ["small", "second", "total"]
    # They differ in their names alone: together they are one.
    tasks = [[stage["planned"] for stage in plan["stages"]] for plan in plans.values()]
    assert tasks[0] == tasks[1] == tasks[2]
    assert "All 2 jobs in one run" in stir_ray("plan", first, second)[1]


def test_what_several_jobs_share_is_inspected_once_for_their_plan(
    written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Counter[str] = Counter()
    for name in ("collect_images", "select_test_images", "inspect_model"):
        really = getattr(inspections, name)

        def counted(task: Any, ctx: Any, name: str = name, really: Any = really) -> None:
            found[name] += 1
            really(task, ctx)

        monkeypatch.setattr(inspections, name, counted)
    asked = {"robustness": {"corruptions": ["fog"], "images": 5}}
    files = [
        written(**asked, **changed).rename(tmp_path / f"{place}.yaml")
        for place, changed in enumerate(
            ({}, {"name": "b", "seeds": [3]}, {"name": "c", "images": {"count": 7}})
        )
    ]
    apart = [json.loads(stir_ray("plan", "--json", file)[1]) for file in files]
    assert found["collect_images"] == 3
    alone = found["inspect_model"] // 3
    assert alone
    found.clear()
    code, said, error = stir_ray("plan", "--json", *files)
    assert code == 0, error
    # One of them has other images; all have the same models, tested on the same.
    assert found == {"collect_images": 2, "select_test_images": 2, "inspect_model": alone}
    assert list(json.loads(said).values())[:3] == apart


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "second.yaml: `name: small` as in"),
        ({"name": "total"}, "second.yaml: `name: total`; give each job its own name"),
        ({"name": "b", "lake": "elsewhere"}, "second.yaml: its lake is elsewhere, and that of"),
    ],
)
def test_jobs_that_cannot_be_planned_together_are_named(
    written: Callable[..., Path], tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    first = written().rename(tmp_path / "first.yaml")
    second = written(**changed).rename(tmp_path / "second.yaml")
    code, _, error = stir_ray("plan", first, second)
    assert code == 2
    assert expected in error
