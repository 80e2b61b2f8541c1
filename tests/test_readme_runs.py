"""What the README shows can be done: every command is run, or listed here with why it is not."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stir_ray.job import Job
from stir_ray.job.loader import validate_job
from stir_ray.lake.keys import result_folder
from tests.broken import stir_ray, without_figures
from tests.readme import Shown, blocks, shown_commands
from tests.report.synthetic import Shape, synthetic_results
from tests.small_job import small_job

INSTALL = "python3 -m venv .venv && .venv/bin/pip install --quiet uv && .venv/bin/uv run"
NOT_RUN_HERE = {
    f"{INSTALL} --no-dev": "installs everything; `.ci/run` does it in a clean clone",
    f"{INSTALL} pytest": "these tests",
    ". .venv/bin/activate": "an installation",
    "uv run": "an installation, and these tests again",
    "export ": "a store or a cluster somewhere",
    "stir-ray submit": "a cluster; tests/test_submit.py and tests/execution have one",
    "stir-ray run jobs/digits.yaml --set lake=s3://": "a bucket; tests/faults runs jobs on one",
    "stir-ray status jobs/digits.yaml --set lake=s3://": "likewise",
    "stir-ray import-data cifar10": "downloads; tests/worker/test_datasets.py imports made-up ones",
    "for name in cifar10": "downloads",
    "stir-ray plan jobs/paper": "datasets that are imported first; tests/test_paper_jobs.py",
    "stir-ray run jobs/paper": "hours on a GPU",
    "stir-ray report jobs/paper": "results of such hours",
    "stir-ray retry mine.yaml": "tasks that failed; tests/cli/test_failures.py has some",
    "ray ": "a cluster",
    "RAY_AUTH_MODE=token ray": "machines of a cluster",
    "docker ": "Docker",
    "kubectl ": "Kubernetes",
}
"""How commands begin that cannot be run in a test, and what they would need."""
IN_SMALL = {"epoch=3": "epoch=2", "target_layer=12": "target_layer=3"}
"""Of the jobs that are shown, and of those that are run here."""
OFTEN_ASKED = Shape(
    layers=tuple(range(1, 13)), epochs=tuple(range(9)), scratch_epoch=20, severities=(2, 5)
)
"""As the job that the README is about: so many layers and epochs, and what else is asked of it."""


def _reason(text: str) -> str | None:
    return next((why for begin, why in NOT_RUN_HERE.items() if text.startswith(begin)), None)


def _runs() -> list[Shown]:
    """Those that are run, each once: the one whose output is shown, if it is."""
    every = {one.text: one for one in shown_commands() if not _reason(one.text)}
    return list(every.values())


def _job_files() -> set[Path]:
    """Those of the commands that are run."""
    words = {word for one in _runs() for word in one.words}
    return {Path(word) for word in words if word.endswith(".yaml")}


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which small jobs go by the names of those that are shown, with their lake."""
    shutil.copytree(finished, tmp_path / "lake")
    (tmp_path / "jobs").mkdir()
    for path in _job_files():
        said = small_job("./lake", name=path.stem).model_dump(mode="json", exclude_none=True)
        (tmp_path / path).write_text(yaml.safe_dump(said))
    monkeypatch.chdir(tmp_path)
    without_figures(monkeypatch)
    return tmp_path


@pytest.fixture
def results(tmp_path: Path, folder: Path) -> Path:
    """The same with results of a job as large as the one that is shown, for questions to it."""
    synthetic_results(tmp_path / "made_up", OFTEN_ASKED)
    made_up = tmp_path / "made_up" / result_folder("synthetic")
    # Beside the jobs of files one that was asked for with other settings.
    for name in (*(path.stem for path in _job_files()), "digits-published"):
        there = folder / "lake" / result_folder(name)
        shutil.copytree(made_up, there, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize("command", shown_commands(), ids=lambda one: one.text[:60])
def test_a_command_is_run_here_or_it_is_said_why_not(command: Shown) -> None:
    reason = _reason(command.text)
    # All else would have to be known to a shell of this machine.
    assert reason or command.text.startswith("stir-ray ")


def test_what_is_said_not_to_run_is_shown() -> None:
    texts = [one.text for one in shown_commands()]
    assert [
        begin for begin in NOT_RUN_HERE if not any(text.startswith(begin) for text in texts)
    ] == []


@pytest.mark.parametrize("command", _runs(), ids=lambda one: one.text[:60])
def test_a_command_runs_and_prints_the_columns_that_are_shown(
    command: Shown, request: pytest.FixtureRequest
) -> None:
    _, verb, *arguments = replace(command, text=_in_small(command.text)).words
    request.getfixturevalue("results" if verb == "sql" else "folder")
    if verb in {"run", "retry", "finetune", "robustness"}:
        arguments.append("--serial")
    code, said, error = stir_ray(verb, *arguments)
    assert code == 0, error
    for header in _headers(command.output):
        assert any(_is_within(header, row) for row in _headers(said.splitlines())), header


def _in_small(text: str) -> str:
    for shown, here in IN_SMALL.items():
        text = text.replace(shown, here)
    return text


def _headers(lines: Any) -> list[list[str]]:
    """Cells of the rows of tables that name columns: those above numbers."""
    rows = [
        [cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")]
        for line in lines
        if line.startswith(("│", "┃"))
    ]
    return [row for row in rows if row[0] in {"stage", "table", "epoch", "layer", "unused"}]


def _is_within(shown: list[str], printed: list[str]) -> bool:
    """Whether the columns are among those printed, in their order; some may be left out."""
    rest = iter(printed)
    return all(column in rest for column in shown)


def test_the_python_runs_from_top_to_bottom(results: Path) -> None:
    assert (results / "lake" / "jobs" / "digits").is_dir()
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        # Of random weights; whoever sees it has asked for it.
        warnings.simplefilter("ignore", UserWarning)
        for block in blocks("python"):
            exec(block, names)  # noqa: S102 - ours


def test_tables_are_shown_whose_columns_can_be_held_against_those_printed() -> None:
    assert sum(len(_headers(one.output)) for one in shown_commands()) >= 3


def test_job_files_are_valid() -> None:
    said = [yaml.safe_load(block) for block in blocks("yaml")]
    jobs = [validate_job(one, "README.md") for one in said if "schema_version" in one]
    assert jobs
    assert all(isinstance(job, Job) for job in jobs)
