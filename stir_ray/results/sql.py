"""DuckDB over the results of jobs: `connect`, and what the verb `sql` needs of it.

Tables are read from the lake, checked, when a query names them. The connection is locked in: no
statement reads or writes a file or an address, loads an extension or sees a variable of Python.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from stir_ray.errors import InputError, LakeError, StirRayError
from stir_ray.lake.keys import JOBS, result_folder, result_key
from stir_ray.lake.parquet import Lake, open_lake, provenance
from stir_ray.lake.schemas import ANALYSIS_TABLES, HISTORY, TableSchema
from stir_ray.lake.store import map_concurrent
from stir_ray.measures import result_tables
from stir_ray.results import analysis_inputs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS = "columns"
_DUCKDB_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # A query that does not fit into memory is an error, not a folder beside the user's files.
    "temp_directory": "",
}
_COLUMNS_SCHEMA = pa.schema(
    [("table", pa.string()), ("rows", pa.int64())]
    + [(name, pa.string()) for name in ("column", "type", "unit", "range", "meaning")]
)


@dataclass(frozen=True)
class JobTables:
    """The tables of one job: its name, and its folder in a lake (empty: the lake's own folder)."""

    name: str
    lake: Lake
    folder: str

    @property
    def location(self) -> str:
        """Path or URL of the folder."""
        return self.lake.objects.location(self.folder)

    def read(self, schema: TableSchema) -> pa.Table:
        """Return one table, without rows if it is not stored."""
        try:
            return self.lake.read_object(schema, self._key(schema))
        except FileNotFoundError:
            return schema.arrow().empty_table()

    def require_results(self, remedy: str) -> "JobTables":
        """Return the tables.

        Raises:
            LakeError: if not one is stored; ends with the remedy.
        """
        keys = [self._key(schema) for schema in queried_tables()]
        if not any(map_concurrent(self.lake.objects.exists, keys)):
            raise LakeError(f"{self.location}: no results of {self.name} yet; {remedy}")
        return self

    def _key(self, schema: TableSchema) -> str:
        return f"{self.folder}/{schema.name}.parquet".removeprefix("/")


def connect(location: str | Path, *others: str | Path) -> "DuckDBPyConnection":
    """Return a DuckDB connection to the results of jobs, wherever their lake is.

    Each result table of the jobs is a view: `results`, `matrices`, `history`, ... `columns` lists
    the views, their columns with type, unit, range and meaning, and how many rows each has. Of
    several jobs, each view begins with a column `job`. Undefined numbers are NULL. A view is read
    and checked when a query first names it. Queries reach these views alone: no file, address,
    extension or Python variable.

    Args:
        location: folder or URL of a job (`<lake>/jobs/<name>`), or of a lake for all its jobs.
        others: the same of further jobs and lakes.

    Raises:
        LakeError: if a location holds no results.

    Example:
        >>> lake = stir_ray.connect("lake")  # doctest: +SKIP
        >>> lake.sql("select job, epoch, max(mean) from matrices group by all").df()
    """
    jobs = [job for folder in (location, *others) for job in tables_at(str(folder))]
    return _connect(_Reader(with_unique_names(jobs)))


def queried_tables() -> tuple[TableSchema, ...]:
    """Return the schemas of all tables that a job's folder may hold."""
    return (*result_tables().values(), *ANALYSIS_TABLES)


def query(text: str, jobs: Sequence[JobTables]) -> pa.Table:
    """Return the rows of a query over the tables of jobs, as `connect` shows them.

    Raises:
        InputError: if the query is empty or wrong; says why and which tables there are.
        LakeError: if tables that it names are of different runs, or an analysis is out of date.
        CorruptArtifact: if one of them is not as it was written.
    """
    import duckdb

    if not text.strip():
        raise InputError("query: it is empty")
    reader = _Reader(jobs)
    with _connect(reader) as connection:
        try:
            rows = connection.sql(text)
            return pa.table({}) if rows is None else rows.to_arrow_table()
        except duckdb.Error as error:
            if reader.failure:  # DuckDB would wrap it into words of its own
                raise reader.failure from None
            line = " ".join(str(error).partition("\n\nLINE")[0].split())
            tables = ""
            if isinstance(error, duckdb.CatalogException) and "Table" in line:
                tables = f"; tables: {', '.join(s.name for s in queried_tables())}, {COLUMNS}"
            raise InputError(f"query: {line}{tables}") from None


def tables_at(folder: str) -> list[JobTables]:
    """Return the jobs at a folder or URL: of a job, or of a lake.

    Raises:
        LakeError: if there are no results.
    """
    lake = open_lake(folder)
    jobs = {parsed[0] for key in lake.objects.list(JOBS) if (parsed := result_key.parse(key))}
    if jobs:
        return [JobTables(name, lake, result_folder(name)) for name in sorted(jobs)]
    job = JobTables(lake.objects.url.rpartition("/")[2], lake, "")
    return [job.require_results(f"give <lake>/{JOBS}/<name>, and `stir-ray run` the job first")]


def with_unique_names(jobs: Sequence[JobTables]) -> list[JobTables]:
    """Return each job once, those that share a name under their locations."""
    unique = list({job.location: job for job in jobs}.values())
    counts = Counter(job.name for job in unique)
    return [replace(job, name=job.location) if counts[job.name] > 1 else job for job in unique]


def write_rows(rows: pa.Table, path: Path, file_format: str) -> None:
    """Write the rows of a query as `csv`, `json` (a list of objects) or `parquet`.

    Raises:
        InputError: if the file cannot be written.
    """
    import duckdb

    options = {"csv": "", "json": ", array true", "parquet": ", compression zstd"}[file_format]
    quoted = str(path).replace("'", "''")
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        try:
            connection.execute(f"copy rows to '{quoted}' (format {file_format}{options})")
        except duckdb.Error as error:
            raise InputError(f"{path}: cannot be written ({str(error).splitlines()[0]})") from None


def _connect(reader: "_Reader") -> "DuckDBPyConnection":
    # Here, because it takes a tenth of a second, and only queries need it.
    import duckdb

    connection = duckdb.connect(":memory:", config=_DUCKDB_CONFIG)
    for schema in queried_tables():
        connection.register(schema.name, _View(reader, schema))
    connection.register(COLUMNS, _View(reader, None))
    connection.execute("set lock_configuration = true")
    return connection


class _View:
    """A table for DuckDB: its columns at once, its rows when a query scans it."""

    def __init__(self, reader: "_Reader", schema: TableSchema | None) -> None:
        self._reader, self._schema = reader, schema

    def __arrow_c_schema__(self) -> object:
        return self._reader.empty(self._schema).schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._reader.table(self._schema).__arrow_c_stream__(requested_schema)


class _Reader:
    """Reads tables of jobs, each once; None stands for the table of all columns."""

    def __init__(self, jobs: Sequence[JobTables]) -> None:
        self.failure: StirRayError | None = None  # why a table could not be read
        self._jobs = jobs
        self._tables: dict[TableSchema | None, pa.Table] = {}
        self._inputs: dict[JobTables, str] = {}  # of the results of a job

    def empty(self, schema: TableSchema | None) -> pa.Table:
        if schema is None:
            return _COLUMNS_SCHEMA.empty_table()
        return self._joined([schema.arrow().empty_table()] * len(self._jobs))

    def table(self, schema: TableSchema | None) -> pa.Table:
        if schema not in self._tables:
            try:
                self._tables[schema] = self._read(schema) if schema else self._columns()
            except StirRayError as error:
                self.failure = error
                raise
        return self._tables[schema]

    def _read(self, schema: TableSchema) -> pa.Table:
        tables = list(map_concurrent(lambda job: job.read(schema), self._jobs))
        for job, table in zip(self._jobs, tables, strict=True):
            self._require_one_run(job, schema, table)
        return self._joined(tables)

    def _columns(self) -> pa.Table:
        job_column = [("job", "string", "", "", "name of the job")] * (len(self._jobs) > 1)
        rows = []
        for schema in queried_tables():
            count = sum(len(job.read(schema)) for job in self._jobs)
            columns = [
                (column.name, str(column.type), column.unit, column.range, column.meaning)
                for column in schema.columns
            ]
            rows += [(schema.name, count, *column) for column in job_column + columns]
        names = _COLUMNS_SCHEMA.names
        return pa.Table.from_pylist(
            [dict(zip(names, row, strict=True)) for row in rows], _COLUMNS_SCHEMA
        )

    def _require_one_run(self, job: JobTables, schema: TableSchema, table: pa.Table) -> None:
        inputs = provenance(table).get("inputs")
        if inputs is None:
            return
        if schema not in ANALYSIS_TABLES:
            if self._inputs.setdefault(job, inputs) != inputs:
                raise LakeError(
                    f"{job.location}: its tables are of different runs; `stir-ray reduce` first"
                )
            return
        for results in (HISTORY, *result_tables().values()):  # the smallest table first
            if job in self._inputs:
                break
            if made_from := provenance(job.read(results)).get("inputs"):
                self._inputs[job] = made_from
        if job in self._inputs and analysis_inputs(self._inputs[job]) != inputs:
            raise LakeError(
                f"{job.location}: its table {schema.name} is an analysis of older results; "
                "`stir-ray analyse` the job first"
            )

    def _joined(self, tables: Sequence[pa.Table]) -> pa.Table:
        nullable = [_with_nulls(table) for table in tables]
        if len(nullable) == 1:
            return nullable[0]
        return pa.concat_tables([
            table.add_column(0, "job", pa.array([job.name] * len(table), pa.string()))
            for table, job in zip(nullable, self._jobs, strict=True)
        ])  # fmt: skip


def _with_nulls(table: pa.Table) -> pa.Table:
    """Return the table with NULL for NaN, which SQL would sort above all numbers and average."""
    columns = {
        name: pa.array(column.to_numpy(), column.type, from_pandas=True)
        if pa.types.is_floating(column.type)
        else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns)
