"""Plans and states of jobs as tables for a terminal, and as JSON for scripts."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.filesize import decimal
from rich.table import Table

from stir_ray.plan.cost import Cost
from stir_ray.stages.forecast import StageForecast


def plan_table(stages: Sequence[StageForecast]) -> Table:
    """Tasks by stage, planned, done and to do, with what is left to compute and to store."""
    table = _counts(stages, footer=True)
    left = sum((stage.left for stage in stages), Cost())
    table.add_column("FLOPs to do", justify="right", footer=_flops(left))
    table.add_column("bytes to store", justify="right", footer=decimal(int(left.stored_bytes)))
    for stage in stages:
        cost = (_flops(stage.left), decimal(int(stage.left.stored_bytes)))
        table.add_row(*_numbers(stage), *cost)
    return table


def status_table(stages: Sequence[StageForecast]) -> Table:
    """Tasks by stage: planned, done and to do."""
    table = _counts(stages, footer=True)
    for stage in stages:
        table.add_row(*_numbers(stage))
    return table


def plan_json(stages: Sequence[StageForecast]) -> str:
    """The same as JSON: a list of stages with `planned`, `done` and `left`."""
    return json.dumps([asdict(stage) for stage in stages], indent=2)


def _counts(stages: Sequence[StageForecast], *, footer: bool) -> Table:
    table = Table(show_footer=footer)
    planned, done = sum(s.planned for s in stages), sum(s.done for s in stages)
    table.add_column("stage", footer="all")
    for name, total in (("tasks", planned), ("done", done), ("to do", planned - done)):
        table.add_column(name, justify="right", footer=str(total))
    return table


def _numbers(stage: StageForecast) -> tuple[str, str, str, str]:
    left = stage.planned - stage.done
    return stage.stage, str(stage.planned), str(stage.done), str(left)


def _flops(cost: Cost) -> str:
    return f"{cost.flops:.2e}"
