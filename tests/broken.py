"""A lake in which something failed: what is broken, and the command line to meet it with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from stir_ray.catalog.inspection import resolve
from stir_ray.cli import app
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.study import Study
from stir_ray.report.write_report import Report, write_report
from stir_ray.results.study_reader import read_study
from stir_ray.worker import compare, invert
from stir_ray.worker.context import WorkerContext


def stir_ray(*arguments: object) -> tuple[int, str, str]:
    """Return the exit code, output and errors of a verb."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def modules_of_verb(*arguments: object) -> set[str]:
    """Run a verb in a process of its own, which must succeed; return the modules it imported."""
    script = (
        "import sys\n"
        "from stir_ray.cli import app\n"
        f"sys.argv = {['stir-ray', *map(str, arguments)]!r}\n"
        "app(standalone_mode=False)\n"
        "print('imported:', *sys.modules)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.rpartition("imported: ")[2].split())


def job_file(job: Job, folder: Path, name: str = "job.yaml") -> Path:
    """Write a job into a file of a folder."""
    path = folder / name
    path.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_none=True)))
    return path


def study_of(job: Job) -> tuple[Study, Lake]:
    """What the job's lake knows of it."""
    lake = open_lake(job.lake)
    return read_study(resolve(job), lake), lake


def is_broken(task: Invert) -> bool:
    """Layer 2 of the pretrained model, both seeds; layer 3 of one finetuned epoch, one seed."""
    if task.reference.role == "pretrained":
        return task.layer == 2
    return (task.reference.role, task.reference.epoch, task.layer, task.seed) == (
        "finetuned", 1, 3, 1,
    )  # fmt: skip


def lose(job: Job) -> int:
    """Remove what the broken tasks made, and all that was made of it; how many tasks made it."""
    study, lake = study_of(job)
    lost = [task for task in study.inversions() if is_broken(task)]
    keys = {artifact_key(part.table, part.id) for task in lost for part in task.outputs}
    waiting = 0
    for task in study.comparisons():
        builds = [each.artifact for each in task.comparisons if each.layer == 2]
        keys |= {artifact_key(part.table, part.id) for part in builds}
        waiting += bool(builds)
    for key in keys:
        lake.objects.delete(key)
    return len(lost) + waiting


@contextmanager
def watched(*, broken: bool = False, idle: bool = False) -> Iterator[list[str]]:
    """Yield labels of what is inverted and compared; broken tasks fail, idle ones do nothing."""
    really_invert, really_compare = invert.invert_layer, compare.compare_models
    ran: list[str] = []

    def invert_layer(task: Invert, ctx: WorkerContext) -> None:
        ran.append(task.label)
        if broken and is_broken(task) and task.reference.role == "pretrained":
            raise FloatingPointError(f"seed {task.seed} diverged")
        if broken and is_broken(task):
            raise ValueError("no such layer today")
        if not idle:
            really_invert(task, ctx)

    def compare_models(task: Compare, ctx: WorkerContext) -> None:
        ran.append(task.label)
        if not idle:
            really_compare(task, ctx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(invert, "invert_layer", invert_layer)
        patch.setattr(compare, "compare_models", compare_models)
        yield ran


def with_figures(patch: pytest.MonkeyPatch) -> None:
    """Of runs, where there would be none."""
    patch.setattr("stir_ray.report.summary.write_report", write_report)


def without_figures(patch: pytest.MonkeyPatch) -> None:
    """They take longer than all the rest; nor is there a page."""
    patch.setattr("stir_ray.report.summary.write_report", lambda *_: Report("nowhere", "nowhere"))


def unrendered(patch: pytest.MonkeyPatch) -> None:
    """Figures are files of their names, of which tests/charts has the real ones."""

    def render(_: object, stem: str) -> dict[str, bytes]:
        return {f"{stem}.{kind}": stem.encode() for kind in ("png", "svg", "pdf")}

    patch.setattr("stir_ray.report.write_report.render_estimators", render)
