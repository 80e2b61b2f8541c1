"""`stir-ray report`, of one job, of several, and beside what others published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stir_ray.job import Job
from stir_ray.job.loader import read_jobs
from tests import reference
from tests.broken import job_file, stir_ray, unrendered, without_figures


@pytest.fixture(autouse=True)
def _unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    unrendered(monkeypatch)


def report(*arguments: object) -> tuple[int, str, str]:
    """Return the exit code, output and errors."""
    return stir_ray("report", *arguments)


def test_a_job_is_drawn_beside_the_paper_until_its_results_change(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path = job_file(job, tmp_path)
    code, output, error = report(path, "--compare", f"{reference.PRINTED}")
    assert code == 0, error
    figures = Path(job.lake) / "jobs" / "small" / "figures"
    page = figures.parent / "page.html"
    assert output.splitlines() == [str(page), str(figures)]
    assert "<h1>small</h1>" in page.read_text()
    stems = ("15-curves-beside-published", "16-flow-beside-published-finetuned")
    beside = {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert beside <= {file.name for file in figures.iterdir()}
    content = (figures / "16-flow-beside-published-finetuned.png").read_bytes()
    mine = {"notes.png": b"", "3-mine.png": b"drawn by hand", "16-flow-of-monday.png": content}
    for name, put in mine.items():
        (figures / name).write_bytes(put)
    assert report(path)[0] == 0
    before = {file.name for file in figures.iterdir()}
    # The same results: what was drawn beside them is right.
    assert before >= beside | set(mine)
    # Self-STIR is assumed instead of measured: other results, of the same artifacts.
    assert report(path, "--set", "assume_self_stir_one=true")[0] == 0
    now = {file.name for file in figures.iterdir()}
    assert before - now == {name for name in before if name[:2] in {"15", "16"}} - set(mine)
    assert {name: (figures / name).read_bytes() for name in mine} == mine
    assert "1-learning-forgetting-by-layer.png" in now


def test_jobs_of_a_grid_or_of_several_files_are_drawn_together(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    content = job.model_dump(mode="json", exclude_none=True) | {"grid": {"seeds": [[0], [1]]}}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        assert stir_ray("run", path, "--serial")[0] == 0
    code, _, error = report(path)
    assert code == 0, error
    figures = Path(job.lake) / "jobs" / "small" / "figures"
    assert (figures / "20-jobs-by-layer.png").exists()
    assert (figures / "compared.html").exists()
    assert len(pd.read_csv(figures / "20-jobs-by-layer.csv")) == 2
    assert "0 do not belong here" in stir_ray("verify", path)[1]
    # The same jobs, each in a file.
    first, second = read_jobs(path).jobs
    files = [job_file(each, tmp_path, f"{each.name}.yaml") for each in (first, second)]
    code, output, error = report(*files, files[0])
    assert code == 0, error
    figures = Path(job.lake) / "jobs" / first.name / "figures"
    (table,) = figures.glob("20-jobs-by-layer-*.csv")
    assert table.with_suffix(".png").exists()
    (page,) = figures.glob("compared-*.html")
    assert all(str(file) in output for file in (page, table))
    rows = pd.read_csv(table, index_col="job", dtype=str)
    assert rows["seeds"].tolist() == ["0", "1"]
    assert f"<h1>{', '.join(rows.index)}</h1>" in page.read_text()
    assert "seeds" in output


def test_a_job_without_results_is_one_line_and_the_others_are_drawn(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    never = [
        job_file(
            job.model_copy(update={"name": name, "lake": str(tmp_path / name)}),
            tmp_path,
            f"{name}.yaml",
        )
        for name in ("never", "neither")
    ]
    code, output, error = report(never[0], job_file(job, tmp_path), never[1])
    assert code == 2
    assert "figures" in output
    *lines, last = error.splitlines()
    assert last.startswith("stir-ray: 2 of 3 jobs failed; ")
    for path, line in zip(never, lines, strict=True):
        assert line.startswith(f"{path.stem}: lake ")
        assert "nothing of this job is there" in line


def test_bad_numbers_of_others_are_one_line_before_anything_is_drawn(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    path = job_file(finished_copy(), tmp_path)
    code, output, error = report(path, "--compare", f"{reference.PRINTED}:resnet")
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert "no series `resnet`; there is classify" in error
