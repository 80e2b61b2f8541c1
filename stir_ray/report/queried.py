"""What a query comes to, as a table for a terminal, as CSV, as JSON and as Parquet."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from stir_ray.results.sql import JOB, JobTables, queried_tables

Format = Literal["table", "csv", "json", "parquet"]

_WRAPPED = {"unit": 12, "range": 18, "meaning": None}
"""Columns of a list of tables that may take several lines, and how wide they are at most."""


def query_table(found: pa.Table, most: int) -> Table:
    """The first rows of a result, for a terminal; NULL is what is undefined."""
    table = Table()
    for field in found.schema:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        is_number = is_number or pa.types.is_decimal(field.type)
        table.add_column(field.name, justify="right" if is_number else "left", no_wrap=True)
    for row in _rows(found.slice(0, most)):
        table.add_row(*(_cell(value) for value in row))
    return table


def query_tally(found: pa.Table, most: int) -> str:
    """How many rows there are, and how to see those that are not shown."""
    count = found.num_rows
    if count <= most:
        return f"{count} row{'' if count == 1 else 's'}"
    return f"{most} of {count} rows; `--rows {count}` shows all, `--output FILE.csv` writes them"


def query_content(found: pa.Table, kind: Format) -> bytes:
    """A whole result as a file.

    - CSV: a line of names, then the rows; what is undefined is empty.
    - JSON: a list of objects; what is undefined, and infinity, is null.
    - Parquet: as pandas, polars and DuckDB read it.
    """
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(found, buffer, compression="zstd")
        return buffer.getvalue()
    return (_csv(found) if kind == "csv" else _json(found)).encode()


def table_list(jobs: Sequence[JobTables]) -> pa.Table:
    """Every column of every table of jobs, with its meaning, and how many rows there are."""
    lines = []
    for schema in queried_tables():
        rows = sum(len(job.read(schema)) for job in jobs)
        place = {"table": schema.name, "rows": rows}
        if len(jobs) > 1:
            lines.append({**place, "column": JOB, "type": "string", "unit": "", "range": "",
                          "meaning": "name of the job"})  # fmt: skip
        lines += [
            {
                **place,
                "column": column.name,
                "type": str(column.type),
                "unit": column.unit,
                "range": column.range,
                "meaning": column.meaning,
            }
            for column in schema.columns
        ]
    return pa.Table.from_pylist(lines)


def table_list_table(found: pa.Table) -> Table:
    """The same for a terminal."""
    table = Table()
    for name in found.column_names:
        side = "right" if name == "rows" else "left"
        is_short = name not in _WRAPPED
        table.add_column(name, justify=side, no_wrap=is_short, max_width=_WRAPPED.get(name))
    before = None
    for line in found.to_pylist():
        name, rows, *of_column = line.values()
        is_first = name != before
        if is_first and before:
            table.add_section()
        table.add_row(*((name, str(rows)) if is_first else ("", "")), *of_column)
        before = name
    return table


def _rows(found: pa.Table) -> Iterator[tuple[Any, ...]]:
    # Not by name: a query may give two columns the same one.
    columns = [column.to_pylist() for column in found.columns]
    return zip(*columns, strict=True)


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _csv(found: pa.Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.column_names)
    writer.writerows(_rows(found))
    return text.getvalue()


def _json(found: pa.Table) -> str:
    rows = [
        {name: _plain(value) for name, value in zip(found.column_names, row, strict=True)}
        for row in _rows(found)
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False, default=str) + "\n"


def _plain(value: Any) -> Any:
    """A value that JSON can say: sums of integers come as decimals, and it knows no infinity."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
