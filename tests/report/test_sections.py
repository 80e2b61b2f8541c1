"""A job has the figures that its results allow, whatever is missing."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from stir_ray.charts.blocks import FORMATS, Chart, render_estimators
from stir_ray.lake.parquet import open_lake
from stir_ray.report.job_results import JobResults
from stir_ray.report.sections import sections
from stir_ray.report.write_report import write_figures
from tests.report.made import shown
from tests.report.synthetic import Shape

LACKING = {
    "one epoch, one seed": Shape(epochs=(3,), seeds=(1,), scratch_epoch=None, history=False),
    "one layer": Shape(layers=(4,), scratch_epoch=None),
    "no finetuned model": Shape(epochs=()),
    "a layer": Shape(without=frozenset({("finetuned", "ft|pt", 3), ("finetuned", "pt|pt", 3)})),
}


def figures(of: JobResults) -> dict[str, Chart]:
    drawn = [item for section in sections(of) for item in section.charts.items()]
    assert len(dict(drawn)) == len(drawn)
    return dict(drawn)


@pytest.mark.parametrize("lacking", LACKING)
def test_every_figure_draws_whatever_is_missing(tmp_path: Path, lacking: str) -> None:
    shape = LACKING[lacking]
    drawn = figures(shown(tmp_path, shape, analysed=None))
    assert "1-learning-forgetting-by-layer" in drawn
    assert ("4-epochs-finetuned" in drawn) == (len(shape.epochs) > 1)
    assert ("3-flow-finetuned" in drawn) == bool(shape.epochs)
    for figure in drawn.values():
        spec = figure.to_dict()
        assert spec["datasets"]["rows"]
        assert re.search(r"\w", spec["usermeta"]["title"])


def test_a_job_without_numbers_has_no_figure() -> None:
    assert figures(JobResults()) == {}


def test_a_figure_by_biased_cka_stands_beside_the_one_by_unbiased_cka(tmp_path: Path) -> None:
    shape = Shape(layers=(1, 2), epochs=(1,), seeds=(0,), scratch_epoch=None)
    drawn = figures(shown(tmp_path, shape, analysed=None, images=None))
    files = render_estimators(drawn["3-flow-finetuned"], "3-flow-finetuned")
    stems = ("3-flow-finetuned", "3-flow-finetuned-biased")
    assert set(files) == {f"{stem}.{kind}" for stem in stems for kind in FORMATS}
    assert b"(biased CKA)" in files["3-flow-finetuned-biased.svg"]
    assert b"(unbiased CKA)" in files["3-flow-finetuned.svg"]


def test_a_folder_draws_anew_what_changed_and_touches_nothing_else(tmp_path: Path) -> None:
    shape = Shape(layers=(1, 2), epochs=(1,), seeds=(0,), scratch_epoch=None)
    drawn = figures(shown(tmp_path, shape, analysed=None, images=None))
    lake = open_lake(str(tmp_path / "lake"))
    folder = partial(write_figures, lake, "small")
    names = ["10-learning-against-forgetting", "18-metamers-by-layer"]
    folder("job", "first", lambda: [(name, drawn[name]) for name in names])
    place = tmp_path / "lake" / "jobs" / "small" / "figures"
    own = place / "18-mine.png"
    own.write_bytes(b"drawn by hand")
    folder("job", "first", lambda: pytest.fail("nothing changed"))
    (place / f"{names[0]}.svg").unlink()
    folder("job", "first", lambda: [(name, drawn[name]) for name in names])
    assert (place / f"{names[0]}.svg").exists()
    folder("job", "second", lambda: [(names[0], drawn[names[0]])])
    left = {file.name for file in place.iterdir()}
    assert own.name in left
    assert f"{names[0]}-biased.pdf" in left
    assert not any(name.startswith(names[1]) for name in left)
