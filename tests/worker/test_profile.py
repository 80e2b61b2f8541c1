"""Where the workers' time went adds up, and goes to what it was spent on."""

import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from rich.console import Console

from stir_ray.execution.executor import TaskResult
from stir_ray.job.grid import Grid
from stir_ray.plan.tasks import Task
from stir_ray.report.profile import profile_table
from stir_ray.worker.phases import Phase
from stir_ray.worker.profile import Profile, StageProfile
from stir_ray.worker.task_metrics import TaskMetrics
from tests.small_job import small_job
from workflows.invariance import run_all


def metered() -> TaskMetrics:
    """A meter whose clock is only moved by hand."""
    return TaskMetrics(torch.device("cpu"))


def test_time_goes_to_the_innermost_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = metered()
    now += 1  # between
    with meter.spending(Phase.LOOK):
        now += 2
        with meter.spending(Phase.LOAD):
            now += 4
        now += 8
    now += 16  # between
    with meter.spending(Phase.LOOK):
        now += 32
    assert {name: value for name, value in meter.read().items() if name.endswith("_s")} == {
        "look_s": 2 + 8 + 32,
        "load_s": 4,
        "waited_s": 0,
    }


def test_a_phase_that_fails_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = metered()
    with suppress(OSError), meter.spending(Phase.PUT):
        now += 2
        raise OSError
    now += 4
    assert meter.read()["put_s"] == 2


def test_a_task_begins_with_no_time_spent() -> None:
    meter = metered()
    with meter.spending(Phase.PUT):
        pass
    meter.begin()
    assert "put_s" not in meter.read()


def test_the_shares_of_a_stage_add_up(tmp_path: Path) -> None:
    summaries = run_all(Grid.of(small_job(tmp_path / "lake")), serial=True)
    stages = {stage.stage: stage for stage in summaries.profile}
    assert stages["invert"].phase_s[Phase.SEARCH] > 0
    assert stages["compare"].phase_s.keys() >= {Phase.LOOK, Phase.COMPARE, Phase.PUT}
    assert Phase.SEARCH not in stages["compare"].phase_s
    for stage in stages.values():
        accounted = sum(stage.phase_s.values()) + stage.other_s + stage.waiting_s
        assert accounted == pytest.approx(max(stage.worker_s, stage.task_s), abs=1e-6)
    table = profile_table(summaries.profile)
    assert [column.header for column in table.columns] == ["stage", *stages, "all"]
    for column in list(table.columns)[1:]:
        shares = list(column.cells)[4:]
        assert sum(float(str(share)) for share in shares) == pytest.approx(100, abs=0.3)
    # Where there is no terminal, a console is 80 wide.
    shown = Console(width=80)
    with shown.capture() as said:
        shown.print(table)
    assert "…" not in said.get()
    again = run_all(Grid.of(small_job(tmp_path / "lake")), serial=True)
    assert not again.profile


def test_workers_that_have_no_task_are_seen_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    profile = Profile(lambda: 3)
    profile.begin("invert", planned=2)
    now += 7  # until the workers are up
    now += 5
    profile.ended(outcome(5.0, search_s=4.0))
    now += 6
    profile.ended(outcome(6.0, search_s=3.0, put_s=2.0))
    profile.end()
    phases = {Phase.SEARCH: 7.0, Phase.PUT: 2.0}
    assert profile.stages == [StageProfile("invert", 2, 7.0, 11.0, 3, 11.0, phases)]
    assert profile.stages[0].waiting_s == 3 * 11 - 11
    assert profile.stages[0].other_s == 2


def outcome(seconds: float, **measures: float) -> TaskResult[Task]:
    """Of some task, which nobody looks at."""
    return TaskResult(None, None, seconds, "here", 1, measures=measures)  # type: ignore[arg-type]
