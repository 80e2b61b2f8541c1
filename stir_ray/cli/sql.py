"""The verb that answers questions about results."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, get_args

import pyarrow as pa
import typer

from stir_ray.catalog.snapshots import lake_of
from stir_ray.cli.arguments import Overrides
from stir_ray.cli.console import show, show_wide
from stir_ray.errors import InputError
from stir_ray.job.loader import read_jobs
from stir_ray.lake.atomic_write import write_atomic
from stir_ray.lake.keys import result_folder
from stir_ray.report.queried import (
    Format,
    query_content,
    query_table,
    query_tally,
    table_list,
    table_list_table,
)
from stir_ray.results.sql import JobTables, answered, tables_at, tables_of


def sql(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar='JOB... ["QUERY"]',
            help="Job files, or folders or URLs of jobs in a lake (<lake>/jobs/<name>), and what "
            "to ask of them; without a query, which tables and columns there are.",
            show_default=False,
        ),
    ],
    sets: Overrides = None,
    *,
    tables: Annotated[
        bool, typer.Option("--tables", help="List tables and columns, whatever is asked.")
    ] = False,
    kind: Annotated[
        Format | None,
        typer.Option("--format", help="Of the rows; by the name of FILE, or a table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all rows there: .csv, .json, .parquet."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="That a table shows at most.")
    ] = 100,
) -> None:
    """Ask the results of jobs in SQL (DuckDB's), wherever their lake is.

    Of a job file these are the results that were made last under its name. Tables go by the names
    of their files (results, matrices, history, ...); of several jobs, or a grid, each begins with
    a column `job`. What is undefined is NULL. A query reads nothing but these tables.

    Example: stir-ray sql jobs/digits.yaml "select epoch, max(mean) from matrices group by epoch"
    """
    places, query = _told_apart(words)
    chosen = _format(kind, output)
    jobs = _named([job for place in places for job in _tables(place, sets)])
    if tables or query is None:
        found = table_list(jobs)
        if chosen == "table":
            show(table_list_table(found))
            return
    else:
        found = answered(query, jobs)
    if chosen == "table":
        show_wide(query_table(found, rows), query_tally(found, rows))
    else:
        _write(found, chosen, output)


def _told_apart(words: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """The jobs and the query: what stands last, has a space in it and is no place."""
    *places, last = words
    if not re.search(r"\s", last) or _is_url(last) or _is_there(last):
        return words, None
    if not places:
        raise InputError(f'sql: of which job? stir-ray sql JOB "{last}"')
    return places, last


def _is_url(word: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", word) is not None


def _is_there(word: str) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # longer than the name of a file can be
        return False


def _tables(place: str, sets: Sequence[str] | None) -> list[JobTables]:
    """The jobs of a file, or the one at a folder or URL."""
    if _is_url(place) or Path(place).is_dir():
        return [tables_at(place)]
    if not Path(place).exists():
        raise InputError(
            f"{place}: not there; give a job file or a job's folder (<lake>/jobs/<name>), and the "
            "query last, in quotes"
        )
    grid = read_jobs(place, sets or ())
    lake = lake_of(grid.shared)
    return [
        tables_of(job.name, lake, result_folder(job.name), remedy=f"`stir-ray run {place}` first")
        for job in grid.jobs
    ]


def _named(jobs: Sequence[JobTables]) -> list[JobTables]:
    """The jobs under names that tell them apart: those of one name by where they lie."""
    unique = list({job.location: job for job in jobs}.values())
    counts = Counter(job.name for job in unique)
    return [replace(job, name=job.location) if counts[job.name] > 1 else job for job in unique]


def _format(kind: Format | None, output: Path | None) -> Format:
    known = get_args(Format)
    if kind is None and output is not None:
        kind = next((one for one in known if output.suffix == f".{one}"), None)
        if kind in (None, "table"):
            raise InputError(f"--output {output}: give it a suffix .csv, .json or .parquet")
    if kind == "table" and output is not None:
        raise InputError(f"--output {output}: a table is for the terminal; `--format csv`")
    if kind == "parquet" and output is None:
        raise InputError("--format parquet: goes into a file; give `--output FILE.parquet`")
    return kind or "table"


def _write(found: pa.Table, kind: Format, output: Path | None) -> None:
    content = query_content(found, kind)
    if output is None:
        sys.stdout.write(content.decode())
        return
    try:
        write_atomic(output, content)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror})") from None
    print(f"{found.num_rows} rows: {output}")
