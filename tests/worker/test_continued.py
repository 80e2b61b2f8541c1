"""A stored inversion goes on where it ended, as if it had never stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stir_ray.catalog.inspection import lake_of, resolve
from stir_ray.job import Job
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS
from stir_ray.numerics import settings
from stir_ray.numerics.inversion import SearchState
from stir_ray.results.study_reader import read_study
from stir_ray.worker import invert, layer_inverter
from tests.small_job import small_job
from workflows.invariance import run

Taken = list[tuple[int, int]]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate after 2, 4, 8 ... steps, and restart after 4, 8 ..."""
    monkeypatch.setattr(settings, "_FIRST_EVALUATION", 2)
    monkeypatch.setattr(settings, "RESTART", 4)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """The first and last step of every part of a search."""
    really, steps = layer_inverter.LayerInverter._advance, Taken()  # noqa: SLF001 - one call per stretch of steps

    def counted(self: layer_inverter.LayerInverter, *args: Any) -> SearchState:
        steps.append((args[1].taken, args[2]))
        return really(self, *args)

    monkeypatch.setattr(layer_inverter.LayerInverter, "_advance", counted)
    return steps


def job(lake: Path, iterations: int, **changed: Any) -> Job:
    """Without a from-scratch model; every image is kept."""
    inversion = {"iterations": iterations, "stop_when_converged": False, **changed}
    more = {"from_scratch": None, "seeds": [0], "keep_images": "all"}
    return small_job(lake, inversion=inversion, **more)


def tables_of(job: Job) -> Iterator[list[dict[str, Any]]]:
    """What was measured in every inversion of a job."""
    lake, study = lake_of(job), read_study(resolve(job), lake_of(job))
    # In an order that does not depend on the job, as that of the plan does.
    for task in sorted(study.inversions(), key=lambda task: task.label):
        for schema, parts in (
            (INVERSIONS, [task.inversion]),
            (IMAGES, task.image_artifacts),
            (COMPARISONS, [one.artifact for one in task.comparisons]),
        ):
            yield from (lake.read(schema, part.id).to_pylist() for part in parts)


@pytest.mark.parametrize("stops", [True, False], ids=["stops", "takes all"])
@pytest.mark.parametrize("iterations", [16, 20])
def test_a_job_with_more_steps_goes_on_from_what_is_stored(
    tmp_path: Path, taken: Taken, iterations: int, *, stops: bool
) -> None:
    # Whether or not it may stop, nothing has converged after so few steps.
    stopping = {"stop_when_converged": stops}
    run(job(tmp_path / "lake", 8, **stopping), serial=True)
    begun = len(taken)
    run(job(tmp_path / "lake", iterations, **stopping), serial=True)
    if iterations == 16:
        assert {first for first, _ in taken[begun:]} == {8}
    else:
        # Its last look is compared with one after 10 steps, which the shorter job did not have.
        assert {first for first, _ in taken[begun:]} == {0, 2, 4, 8, 10, 16}
    run(job(tmp_path / "fresh", iterations, **stopping), serial=True)
    continued, at_once = (
        job(tmp_path / name, iterations, **stopping) for name in ("lake", "fresh")
    )
    assert list(tables_of(continued)) == list(tables_of(at_once))


def test_what_converged_takes_no_more_steps(
    tmp_path: Path, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invert, "residuals_converged", lambda _: True)
    monkeypatch.setattr(invert, "self_stir_converged", lambda *_: True)
    monkeypatch.setattr(invert, "largest_change", lambda *_: 0.0)
    run(job(tmp_path, 16, stop_when_converged=True), serial=True)
    # The first look that has one after half as many steps.
    assert max(until for _, until in taken) == 4
    taken.clear()
    run(job(tmp_path, 32, stop_when_converged=True), serial=True)
    assert taken == []
    short, long = (job(tmp_path, count, stop_when_converged=True) for count in (16, 32))
    assert list(tables_of(short)) == list(tables_of(long))
    run(job(tmp_path, 32), serial=True)
    # From 4 steps, after which a search restarts.
    assert min(taken) == (4, 8)


@pytest.mark.parametrize(
    ("cap", "taken", "ends"),
    [(16, 4, True), (16, 2, False), (6, 6, True), (6, 3, False), (12, 6, False), (12, 4, True)],
)
def test_an_inversion_ends_where_a_look_has_one_after_half_as_many_steps(
    cap: int, taken: int, *, ends: bool
) -> None:
    assert settings.InversionSettings(iterations=cap).may_end_after(taken) is ends
