"""`stir-ray report`, of one job, of several, and beside what others published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import yaml

from stir_ray.job import Job
from tests import reference
from tests.broken import job_file, stir_ray
from workflows import invariance


def report(*arguments: object) -> tuple[int, str, str]:
    """Return the exit code, output and errors."""
    return stir_ray("report", *arguments)


def test_a_job_is_drawn_beside_the_paper(finished_copy: Callable[[], Job], tmp_path: Path) -> None:
    job = finished_copy()
    code, output, error = report(job_file(job, tmp_path), "--compare", f"{reference.PRINTED}")
    assert code == 0, error
    figures = Path(job.lake) / "jobs" / "small" / "figures"
    page = figures.parent / "page.html"
    assert output.splitlines() == [str(page), str(figures)]
    assert "<h1>small</h1>" in page.read_text()
    for stem in ("15-curves-beside-published", "16-flow-beside-published-finetuned"):
        assert (figures / f"{stem}.png").exists()
        assert (figures / f"{stem}.svg").exists()


def test_figures_of_older_results_go_and_what_a_person_put_there_stays(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path = job_file(job, tmp_path)
    assert report(path, "--compare", f"{reference.PRINTED}")[0] == 0
    figures = Path(job.lake) / "jobs" / "small" / "figures"
    beside = {"15-curves-beside-published.svg", "16-flow-beside-published-finetuned.png"}
    content = (figures / "16-flow-beside-published-finetuned.png").read_bytes()
    own = {"notes.png": b"", "3-mine.png": b"drawn by hand", "16-flow-of-monday.png": content}
    for name, put in own.items():
        (figures / name).write_bytes(put)
    assert report(path)[0] == 0
    left = {file.name for file in figures.iterdir()}
    # The same results: what was drawn beside them is right.
    assert left >= beside | set(own)
    # Self-STIR is assumed instead of measured: other results, of the same parts.
    assert report(path, "--set", "assume_self_stir_one=true")[0] == 0
    now = {file.name for file in figures.iterdir()}
    assert left - now == {name for name in left if name[:2] in {"15", "16"}} - set(own)
    assert {name: (figures / name).read_bytes() for name in own} == own
    assert "1-learning-forgetting-by-layer.png" in now


def test_jobs_are_drawn_together_and_what_differs_is_said_and_stored(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    other = job.model_copy(update={"name": "other", "seeds": (1,)})
    invariance.run(other, serial=True)
    files = [job_file(one, tmp_path, f"{one.name}.yaml") for one in (job, other)]
    code, output, error = report(*files, files[0])
    assert code == 0, error
    figures = Path(job.lake) / "jobs" / "small" / "figures"
    (table,) = figures.glob("20-jobs-by-layer-*.csv")
    assert table.with_suffix(".png").exists()
    (page,) = figures.glob("compared-*.html")
    assert all(str(file) in output for file in (page, table))
    assert "<h1>small, other</h1>" in page.read_text()
    rows = pd.read_csv(table, index_col="job")
    assert rows["seeds"].to_dict() == {"small": "0 1", "other": "1"}
    assert "seeds" in output


def test_a_grid_is_drawn_together_under_its_own_name(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    output = job.model_dump(mode="json", exclude_none=True) | {"grid": {"seeds": [[0], [1]]}}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(output))
    assert stir_ray("run", path, "--serial")[0] == 0
    code, _, error = report(path, "--compare", f"{reference.PRINTED}:imagenet,random")
    assert code == 0, error
    figures = Path(job.lake) / "jobs" / "small" / "figures"
    assert (figures / "20-jobs-by-layer.png").exists()
    assert (figures / "compared.html").exists()
    assert len(pd.read_csv(figures / "20-jobs-by-layer.csv")) == 2
    assert "0 do not belong here" in stir_ray("verify", path)[1]


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
    for compare, expected in (
        ("nowhere.json", "nowhere.json: no such file"),
        (f"{reference.PRINTED}:resnet", "no series `resnet`; there is classify"),
    ):
        code, output, error = report(path, "--compare", compare)
        assert (code, output) == (2, "")
        assert expected in error
        assert error.count("\n") == 1
