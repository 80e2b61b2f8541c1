"""Tables and lines that verbs print: status, plan, garbage, rows of a query, convergence."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table

from stir_ray.catalog.gc import GarbageReport
from stir_ray.catalog.runs import RunRecord
from stir_ray.catalog.status import Forecast, StageForecast, StageStatus, Status
from stir_ray.formatting import format_hours, format_values, pluralize
from stir_ray.numerics import criteria
from stir_ray.results.metric_info import CRITERION

if TYPE_CHECKING:
    from stir_ray.results.job_metrics import Convergence


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    totals: Sequence[object] = (),
    left_aligned: Sequence[str] = (),
    **options: Any,
) -> Table:
    """Return a table; the first column and those in `left_aligned` are aligned left.

    `totals` are cells below all rows, and `options` those of `rich.table.Table`.
    """
    made = Table(show_footer=bool(totals), **options)
    for index, title in enumerate(titles):
        footer = str(totals[index]) if index < len(totals) else ""
        is_left = not index or title in left_aligned
        made.add_column(title, justify="left" if is_left else "right", footer=footer)
    for row in rows:
        made.add_row(*map(str, row))
    return made


def status_text(status: Status) -> Iterator[RenderableType]:
    """Show how far a job is, what it stores, and how its last run ended."""
    counts = [
        (stage.planned, stage.done, stage.to_do, stage.took.ran, stage.retries)
        for stage in status.stages
    ]
    seconds = sum(stage.took.seconds + stage.took.failed_seconds for stage in status.stages)
    yield table(
        ("stage", "tasks", "done", "to do", "executed", "retries", "work", "FLOP/s", "on"),
        [
            (
                stage.stage,
                *numbers,
                _work(stage),
                f"{stage.flops_per_s:.2e}" if stage.flops_per_s else "",
                ", ".join(stage.devices),
            )
            for stage, numbers in zip(status.stages, counts, strict=True)
        ],
        totals=("all", *map(sum, zip(*counts, strict=True)), _duration(seconds)),
        left_aligned=("on",),
    )
    yield _sizes("table", {name: (h.parts, h.size) for name, h in status.holdings.items()})
    yield from map(_last_run, status.runs[-1:])


def _work(stage: StageStatus) -> str:
    if stage.gpu_hours is not None:
        return "{} GPU-{}".format(*format_hours(stage.gpu_hours))
    return _duration(stage.took.seconds + stage.took.failed_seconds)


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _sizes(title: str, sizes: dict[str, tuple[int, int]]) -> Table:
    rows = [(name, count, decimal(size)) for name, (count, size) in sizes.items()]
    count, size = (sum(numbers) for numbers in zip((0, 0), *sizes.values(), strict=True))
    return table((title, "objects", "bytes"), rows, totals=("all", count, decimal(size)))


def _last_run(run: RunRecord) -> str:
    ended = "no end is recorded: running, or killed" if run.exit_code is None else run.ended
    # A run of which no task has ended has named no machine yet.
    where = f" on {pluralize(len(run.nodes), 'machine')}" if run.nodes else ""
    return (
        f"Last run: {run.began:%Y-%m-%d %H:%M} to {run.updated:%Y-%m-%d %H:%M} UTC, "
        f"{pluralize(run.workers, 'worker')}{where}, {ended}."
    )


def garbage_text(garbage: GarbageReport) -> Iterator[RenderableType]:
    """Show what may be removed from a lake, and what stays."""
    by_table: dict[str, list[int]] = defaultdict(list)
    for unused in garbage.unused:
        by_table[unused.table].append(unused.size)
    if by_table:
        yield _sizes("unused", {name: (len(sizes), sum(sizes)) for name, sizes in by_table.items()})
    else:
        yield "Nothing is unused."
    if garbage.young:
        yield f"{garbage.young} more are younger than an hour, and stay for now."
    for key, tables in garbage.undecided.items():
        yield (
            f"{key}: its models are not all trained, so it may need anything of "
            f"{format_values(tables)}; run it to its end, or delete this record to give it up."
        )


def plan_text(plan: Forecast) -> Iterator[RenderableType]:
    """Show what a run would compute and cost."""
    rate, steps = plan.rate, plan.steps_expected
    titles = ["stage", "tasks", "done", "to do", "FLOPs at most"]
    if steps is not None:
        titles.append("FLOPs expected")
    if rate:
        titles.append("GPU-hours" if rate.is_of_gpu else "hours of one worker")
    if plan.total.money is not None:
        titles.append("money")

    def cells(stage: StageForecast) -> list[object]:
        row = [stage.stage, stage.planned, stage.done, stage.to_do, f"{stage.flops:.2e}"]
        if steps is not None:
            row.append(f"{stage.flops_expected:.2e}")
        if stage.hours is not None:
            time, unit = format_hours(stage.hours)
            row.append(time if unit == "h" else f"{time} {unit}")
        if stage.money is not None:
            row.append(f"{stage.money:,.2f}")
        return row

    if plan.jobs > 1:
        yield f"All {plan.jobs} jobs in one run, what they share counted once:"
    yield table(titles, map(cells, plan.stages), totals=cells(plan.total))
    yield from _plan_notes(plan)


def _plan_notes(plan: Forecast) -> Iterator[str]:
    rate, total, steps = plan.rate, plan.total, plan.steps_expected
    yield (
        f"To invert: {total.images:,} images. To store: {decimal(int(total.image_bytes))} of "
        f"inverted images and {decimal(int(total.checkpoint_bytes))} of checkpoints; other tables "
        "are small."
    )
    yield (
        "An inversion that converges ends before its last step, but no earlier run in this lake "
        "says when, so hours are for all steps."
        if steps is None
        else f"Expected: {steps:.0f} steps per inversion, as in earlier runs in this lake; hours "
        "are for these."
    )
    if rate:
        origin = f"as on {rate.device} in the last run" if rate.device else "as given"
        yield f"Hours at {rate.flops_per_s:.2e} FLOP/s, {origin}."
    else:
        yield (
            "GPU-hours: no rate is known; give one, e.g. `--flops-per-s 60e12`, or run a part of "
            "the job, which measures it."
        )
    if plan.price_per_gpu_hour is not None and total.money is None:
        yield "Money: needs GPU-hours; give the rate of a GPU, e.g. `--flops-per-s 60e12`."


def rows_text(rows: pa.Table, most: int) -> Iterator[RenderableType]:
    """Show the first rows of a query, and how many there are."""
    made = Table()
    for field in rows.schema:
        is_number = pa.types.is_primitive(field.type) and not pa.types.is_temporal(field.type)
        justify = "right" if is_number or pa.types.is_decimal(field.type) else "left"
        made.add_column(field.name, justify=justify, no_wrap=True)
    # Not by name: a query may give two columns the same name.
    for row in zip(*(column.to_pylist() for column in rows.slice(0, most).columns), strict=True):
        made.add_row(*map(_cell, row))
    yield made
    count = rows.num_rows
    if count <= most:
        yield pluralize(count, "row")
    else:
        yield (
            f"{most} of {count} rows; `--rows {count}` shows all, `--output FILE.csv` writes them"
        )


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def convergence_text(state: "Convergence | None") -> Iterator[str]:
    """Say whether the inversions converged, and whether the numbers still move."""
    if state is None:
        return
    # Rounded to the side on which a criterion is not met.
    residual = f"{math.ceil(1000 * state.residual.value) / 1000:.3f}"
    self_stir = f"{math.floor(1000 * state.self_stir.value) / 1000:.3f}"
    least, most = state.iterations
    steps = str(least) if least == most else f"{least} to {most}"
    remedy = (
        f"Take more steps: `--set inversion.iterations={4 * most}`, and where inversions ended "
        "before their last step `--set inversion.stop_when_converged=false`."
    )
    if state.is_enough:
        yield (
            f"All {state.inversions} inversions converged, after {steps} steps: 95 % of the images "
            f"have a centered residual of at most {residual}, self-STIR by {CRITERION} CKA is at "
            f"least {self_stir}."
        )
    else:
        yield (
            f"WARNING: {state.inversions - state.converged} of {state.inversions} inversions did "
            f"not converge in {steps} steps, and what they miss is counted as forgetting or "
            "learning. Converged means a centered residual of at most "
            f"{criteria.CONVERGED_RESIDUAL} for 95 % of the images, self-STIR of at least "
            f"{criteria.CONVERGED_SELF_STIR} by {CRITERION} CKA, and no STIR of the model and the "
            f"pretrained one that changed by more than {criteria.CONVERGED_DRIFT} since half the "
            f"steps. Largest residual: {residual} ({state.residual.where}); least self-STIR: "
            f"{self_stir} ({state.self_stir.where})."
            f"{'' if state.moving else f' {remedy}'}"
        )
    if state.stuck or state.not_inverted:
        yield (
            f"Images: {state.not_inverted} are not inverted (centered residual above "
            f"{criteria.NOT_INVERTED_RESIDUAL}), {state.stuck} are stuck (centered residual above "
            f"{criteria.CONVERGED_RESIDUAL} and more than {criteria.STUCK_RATIO} times the median)."
        )
    if state.moving:
        yield (
            f"WARNING: {state.moving} of {state.cells} values of learning, forgetting and flow are "
            "still moving: since half the steps they changed by more than 0.01, or by a third of "
            f"their size; the most by {state.drift.value:.3f} ({state.drift.where}). {remedy}"
        )
    elif state.cells:
        yield (
            "No value of learning, forgetting or flow is still moving: since half the steps none "
            f"changed by more than {state.drift.value:.3f} ({state.drift.where})."
        )
