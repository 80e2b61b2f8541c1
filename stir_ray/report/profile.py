"""Where the time of a run's workers went, as a table."""

from collections.abc import Callable, Sequence
from functools import partial

from rich.table import Table

from stir_ray.worker.phases import Phase
from stir_ray.worker.profile import StageProfile

Stages = Sequence[StageProfile]


def profile_table(stages: Stages) -> Table:
    """A column per stage that ran tasks, and one of all: shares of its workers' time, in percent.

    They add up to 100: phases of tasks, what lies between those, and waiting for a task.
    """
    columns = [[stage] for stage in stages]
    if len(stages) > 1:
        columns.append(list(stages))
    table = Table(title="Where the time of the workers went (percent)")
    table.add_column("stage")
    for column in columns:
        table.add_column(column[0].stage if len(column) == 1 else "all", justify="right")

    def row(name: str, say: Callable[[Stages], str], *, ends_section: bool = False) -> None:
        table.add_row(name, *map(say, columns), end_section=ends_section)

    row("tasks", lambda these: str(sum(one.tasks for one in these)))
    row("workers", lambda these: str(max(one.workers for one in these)))
    row("started after", lambda these: f"{sum(one.start_s for one in these):.1f} s")
    row("took", lambda these: f"{sum(one.wall_s for one in these):.1f} s", ends_section=True)
    for name, seconds in _parts(stages).items():
        row(name, partial(_share, seconds))
    return table


def _parts(stages: Stages) -> dict[str, Callable[[StageProfile], float]]:
    """What the workers' time is made of, and where a stage says how many seconds that is."""

    def in_phase(phase: Phase) -> Callable[[StageProfile], float]:
        return lambda stage: stage.phase_s.get(phase, 0.0)

    seen = [phase for phase in Phase if any(phase in one.phase_s for one in stages)]
    return {phase: in_phase(phase) for phase in seen} | {
        "between": lambda stage: stage.other_s,
        "waiting": lambda stage: stage.waiting_s,
    }


def _share(seconds: Callable[[StageProfile], float], stages: Stages) -> str:
    # A task may begin before the first that ended did: then tasks took more than there seems to be.
    of_all = sum(max(one.worker_s, one.task_s) for one in stages)
    return f"{100 * sum(map(seconds, stages)) / of_all:.1f}" if of_all else ""
