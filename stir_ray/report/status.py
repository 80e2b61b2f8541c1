"""How far a job is and what it took, as tables for a terminal and as JSON for scripts."""

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table

from stir_ray.catalog.runs import Run
from stir_ray.catalog.status import StageStatus, Status
from stir_ray.plan.failure_filter import FailedTask
from stir_ray.plan.formatting import pluralize, timed
from stir_ray.report.failures import groups


def status_table(status: Status) -> Group:
    """Tasks by stage with what they took, bytes by table, and the last run."""
    return Group(_stages(status), _holdings(status), *map(_of_run, status.runs[-1:]))


def status_json(status: Status, failed: Iterable[FailedTask]) -> str:
    """The same as JSON: numbers are numbers, and null is what is not known.

    - `stages`: a list of `stage`, `planned`, `done`, `to_do`; and over all recorded runs `ran`,
      `failed`, `again` (tasks that ran more than once, at least), `seconds` of work that succeeded,
      `failed_seconds`, `gpu_hours` (null on a CPU), `flops` planned of what did
      its whole work in one attempt, `flops_per_s` of one device at that, and `devices`.
    - `tables`: by table `parts` and `bytes`.
    - `runs`: a list of `began`, `updated`, `ended`, `exit_code`, `workers` and `nodes`.
    - `failures`: a list of `failure_class`, `fingerprint`, `tasks`, `example` and `message`.
    """
    said = {
        "stages": [_numbers(stage) for stage in status.stages],
        "tables": {
            table: {"parts": held.parts, "bytes": held.size}
            for table, held in status.holdings.items()
        },
        "runs": [
            {
                "began": run.began.isoformat(),
                "updated": run.updated.isoformat(),
                "ended": run.ended,
                "exit_code": run.exit_code,
                "workers": run.workers,
                "nodes": list(run.nodes),
            }
            for run in status.runs
        ],
        "failures": [
            {
                "failure_class": group[0].failure_class,
                "fingerprint": group[0].fingerprint,
                "tasks": len(group),
                "example": group[0].task.label,
                "message": group[0].message,
            }
            for group in groups(failed)
        ],
    }
    return json.dumps(said, indent=2)


def _numbers(stage: StageStatus) -> dict[str, Any]:
    took = stage.took
    return {
        "stage": stage.stage,
        "planned": stage.planned,
        "done": stage.done,
        "to_do": stage.planned - stage.done,
        "ran": took.ran,
        "failed": took.failed,
        "again": stage.again,
        "seconds": took.seconds,
        "failed_seconds": took.failed_seconds,
        "gpu_hours": stage.device_seconds / 3600 if stage.is_of_gpu else None,
        "flops": took.flops,
        "flops_per_s": stage.flops_per_s,
        "devices": list(stage.devices),
    }


def _stages(status: Status) -> Table:
    table, stages = Table(show_footer=True), status.stages
    table.add_column("stage", footer="all")
    totals = (
        ("tasks", sum(one.planned for one in stages)),
        ("done", sum(one.done for one in stages)),
        ("to do", sum(one.planned - one.done for one in stages)),
        ("ran", sum(one.took.ran for one in stages)),
        ("again", sum(one.again for one in stages)),
    )
    for title, total in totals:
        table.add_column(title, justify="right", footer=str(total))
    work = sum(one.took.seconds + one.took.failed_seconds for one in stages)
    table.add_column("work", justify="right", footer=_duration(work))
    table.add_column("FLOP/s", justify="right")
    table.add_column("on", footer="")
    for one in stages:
        table.add_row(*_row(one))
    return table


def _row(one: StageStatus) -> tuple[str, ...]:
    took = one.took
    counts = (one.planned, one.done, one.planned - one.done, took.ran, one.again)
    time, unit = timed(one.device_seconds / 3600)
    on_cpu = _duration(took.seconds + took.failed_seconds)
    work = f"{time} GPU-{unit}" if one.is_of_gpu else on_cpu
    rate = f"{one.flops_per_s:.2e}" if took.flops and one.flops_per_s else ""
    return one.stage, *map(str, counts), work, rate, ", ".join(one.devices)


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _holdings(status: Status) -> Table:
    table, held = Table(show_footer=True), status.holdings.values()
    table.add_column("table", footer="all")
    size = sum(one.size for one in held)
    table.add_column("objects", justify="right", footer=str(sum(one.parts for one in held)))
    table.add_column("bytes", justify="right", footer=decimal(size))
    for name, one in status.holdings.items():
        table.add_row(name, str(one.parts), decimal(one.size))
    return table


def _of_run(run: Run) -> str:
    """The last run in words."""
    ended = "no end is recorded: it runs, or was killed" if run.exit_code is None else run.ended
    # Where no task has ended, none has said where it ran.
    where = f" on {pluralize(len(run.nodes), 'machine')}" if run.nodes else ""
    return (
        f"Last run: {run.began:%Y-%m-%d %H:%M} to {run.updated:%Y-%m-%d %H:%M} UTC, "
        f"{pluralize(run.workers, 'worker')}{where}, {ended}."
    )
