"""The READMEs show what there is: every command is run, or listed here with why it is not."""

from __future__ import annotations

import re
import shlex
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from stir_ray.cli import app
from stir_ray.job.loader import validate_job
from stir_ray.lake.keys import result_folder
from tests.broken import stir_ray, without_figures
from tests.readme import FILES, README, ROOT, Shown, blocks, shown_commands
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
LIKE_THE_DIGITS = Shape(
    layers=tuple(range(1, 13)), epochs=tuple(range(9)), scratch_epoch=20, severities=(2, 5)
)
"""As the job that the README is about: so many layers and epochs."""
COMMANDS = shown_commands()


def _is_run(command: Shown) -> bool:
    return not any(command.text.startswith(begin) for begin in NOT_RUN_HERE)


RUN = list({command.text: command for command in COMMANDS if _is_run(command)}.values())
"""Those that are run, each once: the one whose output is shown, if it is."""
JOB_FILES = {Path(word) for command in RUN for word in command.words if word.endswith(".yaml")}


def _of_stir_ray() -> list[str]:
    after = (re.split(r"(?:^|\s)stir-ray ", c.text, maxsplit=1)[1:] for c in COMMANDS)
    return sorted({re.split(r"&&|;", words[0])[0].strip() for words in after if words})


@pytest.mark.parametrize("command", _of_stir_ray())
def test_every_verb_and_option_of_a_shown_command_exists(command: str) -> None:
    verb, *arguments = shlex.split(command, comments=True)
    help_text = CliRunner().invoke(app, [verb, "--help"]).stdout
    assert f"stir-ray {verb}" in help_text
    for option in (word.split("=")[0] for word in arguments if word.startswith("--")):
        assert option in help_text
    for path in (word for word in arguments if word.startswith("jobs/")):
        files = list(ROOT.glob(path))
        assert files
        assert all(file.is_file() for file in files)


def test_commands_are_run_here_or_listed_and_what_is_listed_is_shown() -> None:
    # All else would have to be known to a shell of this machine.
    assert all(command.text.startswith("stir-ray ") for command in RUN)
    texts = [command.text for command in COMMANDS]
    assert not [
        begin for begin in NOT_RUN_HERE if not any(text.startswith(begin) for text in texts)
    ]
    assert sum(len(_headers(command.output)) for command in COMMANDS) >= 3


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which small jobs go by the names of those that are shown, with their lake."""
    shutil.copytree(finished, tmp_path / "lake")
    (tmp_path / "jobs").mkdir()
    for path in JOB_FILES:
        content = small_job("./lake", name=path.stem).model_dump(mode="json", exclude_none=True)
        (tmp_path / path).write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    without_figures(monkeypatch)
    return tmp_path


@pytest.fixture
def results(tmp_path: Path, folder: Path) -> Path:
    """The same with results of a job as large as the one that is shown, for questions to it."""
    synthetic_results(tmp_path / "made_up", LIKE_THE_DIGITS)
    made_up = tmp_path / "made_up" / result_folder("synthetic")
    # Beside the jobs of files one that was asked for with other settings.
    for name in (*(path.stem for path in JOB_FILES), "digits-published"):
        there = folder / "lake" / result_folder(name)
        shutil.copytree(made_up, there, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize("command", RUN, ids=lambda command: command.text[:60])
def test_a_command_runs_and_prints_the_columns_that_are_shown(
    command: Shown, request: pytest.FixtureRequest
) -> None:
    text = command.text
    for shown, here in IN_SMALL.items():
        text = text.replace(shown, here)
    _, verb, *arguments = replace(command, text=text).words
    request.getfixturevalue("results" if verb == "sql" else "folder")
    if verb in {"run", "retry", "finetune", "robustness"}:
        arguments.append("--serial")
    code, output, error = stir_ray(verb, *arguments)
    assert code == 0, error
    for header in _headers(command.output):
        rows = map(iter, _headers(output.splitlines()))
        # In their order; some may be left out.
        assert any(all(column in row for column in header) for row in rows), header


def _headers(lines: Any) -> list[list[str]]:
    """Cells of the rows of tables that name columns: those above numbers."""
    rows = [
        [cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")]
        for line in lines
        if line.startswith(("│", "┃"))
    ]
    return [row for row in rows if row[0] in {"stage", "table", "epoch", "layer", "unused"}]


def test_the_python_runs_from_top_to_bottom(results: Path) -> None:
    assert (results / "lake" / "jobs" / "digits").is_dir()
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore", UserWarning)  # of random weights
        for block in blocks("python"):
            exec(block, names)  # noqa: S102 - ours


def test_job_files_are_valid() -> None:
    jobs = [job for block in blocks("yaml") if "schema_version" in (job := yaml.safe_load(block))]
    assert jobs
    for job in jobs:
        validate_job(job, "README.md")


def test_the_architecture_section_names_every_room() -> None:
    tree = README.split("## Architecture")[1]
    drawn = set(re.findall(r"^([a-z_]+(?:\.py|/)) ", tree, re.MULTILINE))
    rooms = {f"{path.parent.name}/" for path in ROOT.glob("stir_ray/*/__init__.py")}
    modules = {path.name for path in ROOT.glob("stir_ray/*.py")}
    assert rooms | modules - {"__init__.py"} == drawn - {"workflows/"}


@pytest.mark.parametrize("readme", FILES, ids=lambda path: path.parent.name)
def test_every_link_leads_somewhere(readme: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", readme.read_text()):
        path, _, heading = link.partition("#")
        target = readme.parent / path if path else readme
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^a-z0-9 -]", "", text.lower()) for text in headings]
            assert heading in [text.replace(" ", "-") for text in anchors], link


def test_the_first_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 250


def test_every_fault_in_the_table_has_its_test() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?: -k (\w+))?` \|$", README, re.MULTILINE)
    assert len(named) >= 12
    for path, word in named:
        names = re.findall(r"^def (test_\w+)", (ROOT / path).read_text(), re.MULTILINE)
        assert any(word in name for name in names), (path, word)
