"""Where the time of a run's workers went, as a table."""

from collections.abc import Sequence

from rich.table import Table

from stir_ray.stages.meter import Phase
from stir_ray.stages.profile import StageProfile


def profile_table(stages: Sequence[StageProfile]) -> Table:
    """A row per stage that ran tasks, and one of all: shares of its workers' time, in percent.

    They add up to 100: phases of tasks, what lies between those, and waiting for a task.
    """
    table = Table(title="Where the time of the workers went (percent)")
    for name in ("stage", "tasks", "started after", "took", "workers"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    seen = [one for one in Phase if any(one in stage.phase_s for stage in stages)]
    for name in (*seen, "between", "waiting"):
        table.add_column(str(name), justify="right")
    for stage in stages:
        what = (f"{stage.start_s:.1f} s", f"{stage.wall_s:.1f} s", str(stage.workers))
        table.add_row(stage.stage, str(stage.tasks), *what, *_shares([stage], seen))
    if len(stages) > 1:
        tasks = str(sum(stage.tasks for stage in stages))
        took = sum(stage.wall_s for stage in stages), sum(stage.start_s for stage in stages)
        what = (f"{took[1]:.1f} s", f"{took[0]:.1f} s", "")
        table.add_section()
        table.add_row("all", tasks, *what, *_shares(stages, seen))
    return table


def _shares(stages: Sequence[StageProfile], phases: Sequence[Phase]) -> list[str]:
    # A task may begin before the first that ended did: then tasks took more than there seems to be.
    of_all = sum(max(stage.worker_s, stage.task_s) for stage in stages)
    seconds = [sum(stage.phase_s.get(phase, 0.0) for stage in stages) for phase in phases]
    seconds.append(sum(stage.other_s for stage in stages))
    seconds.append(sum(stage.waiting_s for stage in stages))
    return [f"{100 * one / of_all:.1f}" if of_all else "" for one in seconds]
