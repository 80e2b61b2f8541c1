"""What the verbs show: each value as tables and lines for a terminal."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import pyarrow as pa
from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table

from stir_ray.catalog.gc import GarbageReport
from stir_ray.catalog.runs import RunRecord
from stir_ray.catalog.status import Holding, StageStatus, Status
from stir_ray.catalog.verify import Finding
from stir_ray.errors import TasksFailed
from stir_ray.formatting import pluralize, spelled, timed


@singledispatch
def render(value: object) -> Iterable[RenderableType]:
    """Return the tables and lines that show a value."""
    return (str(value),)


def table(
    columns: Mapping[str, Callable[[Any], object]],
    rows: Iterable[object],
    *,
    totals: Sequence[str] = (),
    left_aligned: Sequence[str] = (),
    **options: Any,
) -> Table:
    """Return a table.

    Args:
        columns: by title, the cell of a row. The first is aligned left, the others right.
        rows: a value each.
        totals: cells below all rows.
        left_aligned: titles of further columns that are aligned left.
        options: of `rich.table.Table`.
    """
    made = Table(show_footer=bool(totals), **options)
    for column, title in enumerate(columns):
        is_left = not column or title in left_aligned
        footer = totals[column] if column < len(totals) else ""
        made.add_column(title, justify="left" if is_left else "right", footer=footer)
    for row in rows:
        made.add_row(*(str(cell(row)) for cell in columns.values()))
    return made


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one class and fingerprint: how many tasks, one of them, and its message."""

    failure_class: str
    fingerprint: str
    tasks: int
    example: str
    message: str


@dataclass(frozen=True)
class JobStatus:
    """How far a job is, and its failures by kind, the most frequent first."""

    status: Status
    failures: tuple[FailureGroup, ...]


@render.register
def _(job: JobStatus) -> Iterator[RenderableType]:
    status = job.status
    yield _stages(status.stages)
    yield _holdings(status.holdings)
    yield from map(_last_run, status.runs[-1:])
    for group in job.failures:
        yield (
            f"{group.tasks} failed, {group.failure_class} ({group.fingerprint}), "
            f"e.g. {group.example}: {group.message}"
        )


def _stages(stages: Sequence[StageStatus]) -> Table:
    def work(stage: StageStatus) -> str:
        if stage.gpu_hours is not None:
            return "{} GPU-{}".format(*timed(stage.gpu_hours))
        return _duration(stage.took.seconds + stage.took.failed_seconds)

    counts: dict[str, Callable[[StageStatus], int]] = {
        "tasks": lambda stage: stage.planned,
        "done": lambda stage: stage.done,
        "to do": lambda stage: stage.to_do,
        "executed": lambda stage: stage.took.ran,
        "retries": lambda stage: stage.retries,
    }
    seconds = sum(stage.took.seconds + stage.took.failed_seconds for stage in stages)
    return table(
        {
            "stage": lambda stage: stage.stage,
            **counts,
            "work": work,
            "FLOP/s": lambda stage: f"{stage.flops_per_s:.2e}" if stage.flops_per_s else "",
            "on": lambda stage: ", ".join(stage.devices),
        },
        stages,
        totals=("all", *(str(sum(map(count, stages))) for count in counts.values()),
                _duration(seconds)),
        left_aligned=("on",),
    )  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


def _holdings(holdings: Mapping[str, Holding]) -> Table:
    held = holdings.values()
    return table(
        {
            "table": lambda row: row[0],
            "objects": lambda row: row[1].parts,
            "bytes": lambda row: decimal(row[1].size),
        },
        holdings.items(),
        totals=(
            "all",
            str(sum(row.parts for row in held)),
            decimal(sum(row.size for row in held)),
        ),
    )


def _last_run(run: RunRecord) -> str:
    ended = "no end is recorded: it runs, or was killed" if run.exit_code is None else run.ended
    # A run of which no task has ended has named no machine yet.
    where = f" on {pluralize(len(run.nodes), 'machine')}" if run.nodes else ""
    return (
        f"Last run: {run.began:%Y-%m-%d %H:%M} to {run.updated:%Y-%m-%d %H:%M} UTC, "
        f"{pluralize(run.workers, 'worker')}{where}, {ended}."
    )


@render.register
def _(garbage: GarbageReport) -> Iterator[RenderableType]:
    by_table: dict[str, list[int]] = {}
    for unused in garbage.unused:
        by_table.setdefault(unused.table, []).append(unused.size)
    sizes = [size for of_table in by_table.values() for size in of_table]
    if not sizes:
        yield "Nothing is unused."
    else:
        yield table(
            {
                "unused": lambda row: row[0],
                "objects": lambda row: len(row[1]),
                "bytes": lambda row: decimal(sum(row[1])),
            },
            by_table.items(),
            totals=("all", str(len(sizes)), decimal(sum(sizes))),
        )
    if garbage.young:
        yield f"{garbage.young} more are younger than an hour, and stay for now."
    for key, tables in garbage.undecided.items():
        yield (
            f"{key}: its models are not all trained, so it may need anything of "
            f"{spelled(tables)}; run it to its end, or delete this record to give it up."
        )


@dataclass(frozen=True)
class Verified:
    """What reading a whole lake found: how many objects are intact, and what is wrong."""

    intact: int
    findings: tuple[Finding, ...]
    removed: frozenset[str]

    @classmethod
    def check(
        cls, objects: Iterable[Finding | str], remove: Callable[[str], object] | None
    ) -> "Verified":
        """Read objects; remove what is damaged and what the next run computes again."""
        intact, findings, removed = 0, list[Finding](), set[str]()
        for checked in objects:
            if isinstance(checked, str):
                intact += 1
                continue
            findings.append(checked)
            if remove and checked.may_be_removed:
                remove(checked.key)
                removed.add(checked.key)
        return cls(intact, tuple(findings), frozenset(removed))

    @property
    def damaged(self) -> list[Finding]:
        """What is damaged, removed or not."""
        return [finding for finding in self.findings if finding.is_damage]

    def require_intact(self) -> None:
        """Go on only if nothing damaged is left.

        Raises:
            TasksFailed: with what to do.
        """
        remaining = [finding for finding in self.damaged if finding.key not in self.removed]
        if remaining and not self.removed:
            raise TasksFailed(
                "`stir-ray verify --repair` removes them, and the next run computes them; verify "
                "again after it"
            )
        if remaining:
            raise TasksFailed(f"{remaining[0].key}: stays until its job is run again")


@render.register
def _(verified: Verified) -> Iterator[RenderableType]:
    for finding in verified.findings:
        removed = " (removed)" if finding.key in verified.removed else ""
        yield f"{finding.key}: {finding.problem}{removed}"
    damaged = len(verified.damaged)
    yield (
        f"{verified.intact} objects are right, {damaged} are damaged, "
        f"{len(verified.findings) - damaged} do not belong here"
    )


def rows_table(rows: pa.Table, most: int) -> Iterator[RenderableType]:
    """Return the first rows of a query as a table, and how many there are."""
    made = Table()
    for field in rows.schema:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        is_number = is_number or pa.types.is_decimal(field.type)
        made.add_column(field.name, justify="right" if is_number else "left", no_wrap=True)
    # Not by name: a query may give two columns the same one.
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
