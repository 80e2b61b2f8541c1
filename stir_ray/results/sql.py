"""SQL over the results of jobs: their tables by name, read when a query names them.

DuckDB runs the query in memory, on the tables as the lake has vouched for them. It is locked in:
no statement reads a file, an address or a variable of Python, loads an extension or writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from stir_ray.errors import InputError, LakeError, StirRayError
from stir_ray.lake.keys import JOBS, parse_result_key, result_folder
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, open_lake, provenance
from stir_ray.lake.schemas import ANALYSIS_TABLES, HISTORY, TableSchema
from stir_ray.measures import result_tables
from stir_ray.results.provenance_digests import analysis_inputs

JOB = "job"
"""The column that says of which job a row is, where there are several."""
_LOCKED_IN: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # In memory alone: what does not fit is an error, not a folder beside the user's files.
    "temp_directory": "",
}


@dataclass(frozen=True)
class JobTables:
    """The tables of one job.

    Attributes:
        name: of the job, as the column `job` has it.
        lake: that holds them.
        folder: of the job in that lake; empty if the lake was opened at the job's folder.
        stored: names of those that are there; others are read as empty.
    """

    name: str
    lake: Lake
    folder: str
    stored: frozenset[str]

    @property
    def location(self) -> str:
        """For a person."""
        return self.lake.objects.location(self.folder)

    def read(self, schema: TableSchema) -> pa.Table:
        """One table, without rows if it is not there.

        Raises:
            CorruptPart: if it is not as it was written.
        """
        if schema.name not in self.stored:
            return schema.arrow().empty_table()
        return self.lake.read_object(schema, _key(self.folder, schema.name))


def tables_of(name: str, lake: Lake, folder: str, *, remedy: str) -> JobTables:
    """What is there of a job.

    Args:
        name: as of `JobTables`.
        lake: likewise.
        folder: likewise.
        remedy: what to do if nothing is.

    Raises:
        LakeError: if there is not one table.
    """
    places = [_key(folder, schema.name) for schema in queried_tables()]
    are_there = map_concurrent(lake.objects.exists, places)
    stored = {
        schema.name
        for schema, is_there in zip(queried_tables(), are_there, strict=True)
        if is_there
    }
    found = JobTables(name, lake, folder, frozenset(stored))
    if not stored:
        raise LakeError(f"{found.location}: no results of {name} yet; {remedy}")
    return found


def tables_at(place: str) -> JobTables:
    """What is there of the job whose folder or URL in its lake is given.

    Raises:
        LakeError: as `tables_of`.
    """
    lake = open_lake(place)
    name = lake.objects.url.rpartition("/")[2]
    jobs = {parsed[0] for key in lake.objects.list(JOBS) if (parsed := parse_result_key(key))}
    if jobs:
        folders = [lake.objects.location(result_folder(job)) for job in sorted(jobs)]
        more = f" and {len(jobs) - 5} more" if len(jobs) > 5 else ""
        raise LakeError(
            f"{lake.objects.location()}: a lake, and not the folder of a job; give one of "
            f"{', '.join(folders[:5])}{more}"
        )
    remedy = f"give <lake>/{JOBS}/<name>, and `stir-ray run` the job first"
    return tables_of(name, lake, "", remedy=remedy)


def answered(query: str, jobs: Sequence[JobTables]) -> pa.Table:
    """What a query over the tables of jobs comes to.

    A number that is undefined is NULL: where the tables hold NaN, SQL would sort it above all
    numbers and carry it into every mean.

    Args:
        query: in DuckDB's SQL; the result of its last statement counts.
        jobs: at least one; of several each table begins with the column `job`.

    Returns:
        Its rows; a table without columns of a statement that has none.

    Raises:
        InputError: if it is empty or DuckDB cannot run it; says why and which tables there are.
        LakeError: if tables that it names are of different runs of a job, or of an analysis of
            older results.
        CorruptPart: if one of them is not as it was written.
    """
    # Here, because it takes a tenth of a second, and no other verb needs it.
    import duckdb

    if not query.strip():
        raise InputError("query: nothing is asked")
    reader = _Reader(jobs)
    with duckdb.connect(":memory:", config=_LOCKED_IN) as opened:
        for schema in queried_tables():
            opened.register(schema.name, _Named(schema, reader))
        opened.execute("set lock_configuration = true")
        try:
            found = opened.sql(query)
            return pa.table({}) if found is None else found.to_arrow_table()
        except duckdb.Error as error:
            # What the lake has to say of a table, DuckDB would wrap into words of its own.
            is_unknown = isinstance(error, duckdb.CatalogException)
            raise reader.failed or InputError(_explained(error, is_unknown)) from None


class _Reader:
    """Reads tables of jobs, each once.

    Attributes:
        failed: why one of them could not be read.
    """

    def __init__(self, jobs: Sequence[JobTables]) -> None:
        self.jobs = jobs
        self.failed: StirRayError | None = None
        self._read: dict[str, pa.Table] = {}
        self._inputs: dict[JobTables, str] = {}

    def columns(self, schema: TableSchema) -> pa.Schema:
        """Of a table, without reading it."""
        empty = schema.arrow().empty_table()
        return self._joined([empty] * len(self.jobs)).schema

    def table(self, schema: TableSchema) -> pa.Table:
        """Of all jobs, below each other."""
        if schema.name not in self._read:
            try:
                tables = list(map_concurrent(lambda job: job.read(schema), self.jobs))
                for job, table in zip(self.jobs, tables, strict=True):
                    self._must_be_of_one_run(job, schema, table)
            except StirRayError as error:
                self.failed = error
                raise
            self._read[schema.name] = self._joined(tables)
        return self._read[schema.name]

    def _must_be_of_one_run(self, job: JobTables, schema: TableSchema, table: pa.Table) -> None:
        inputs = provenance(table).get("inputs")
        if inputs is None:
            return
        if schema in ANALYSIS_TABLES:
            results = self._results_inputs(job)
            if results is not None and analysis_inputs(results) != inputs:
                raise LakeError(
                    f"{job.location}: its table {schema.name} is an analysis of older results; "
                    "`stir-ray analyse` the job first"
                )
        elif self._inputs.setdefault(job, inputs) != inputs:
            raise LakeError(
                f"{job.location}: its tables are of different runs; `stir-ray reduce` first"
            )

    def _results_inputs(self, job: JobTables) -> str | None:
        """What a job's results were made from; None where they do not say."""
        if job not in self._inputs:
            # The smallest table, if it is there: each of them says it.
            asked = next(
                (one for one in (HISTORY, *result_tables().values()) if one.name in job.stored),
                None,
            )
            inputs = provenance(job.read(asked)).get("inputs") if asked else None
            if inputs is None:
                return None
            self._inputs[job] = inputs
        return self._inputs[job]

    def _joined(self, tables: Sequence[pa.Table]) -> pa.Table:
        nullable = [_with_nulls(table) for table in tables]
        if len(nullable) == 1:
            return nullable[0]
        return pa.concat_tables(
            [
                table.add_column(0, JOB, pa.array([job.name] * len(table), pa.string()))
                for table, job in zip(nullable, self.jobs, strict=True)
            ]
        )


class _Named:
    """A table as DuckDB sees it: its columns at once, its rows when a query scans it."""

    def __init__(self, schema: TableSchema, reader: _Reader) -> None:
        self._schema, self._reader = schema, reader

    def __arrow_c_schema__(self) -> object:
        return self._reader.columns(self._schema).__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._reader.table(self._schema).__arrow_c_stream__(requested_schema)


def _with_nulls(table: pa.Table) -> pa.Table:
    """The table with NULL in place of NaN, so that aggregates leave it out."""
    columns = {
        name: pa.array(column.to_numpy(), column.type, from_pandas=True)
        if pa.types.is_floating(column.type)
        else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns)


def _explained(error: Exception, is_unknown: bool) -> str:
    """What DuckDB says, in one line, and the tables where it knows one of them not."""
    said = str(error).partition("\n\nLINE")[0]
    line = " ".join(said.split())
    tables = ", ".join(schema.name for schema in queried_tables())
    return f"query: {line}" + (f"; tables: {tables}" if is_unknown and "Table" in line else "")


def _key(folder: str, table: str) -> str:
    return f"{folder}/{table}.parquet" if folder else f"{table}.parquet"


def queried_tables() -> tuple[TableSchema, ...]:
    """Return all tables that a job's folder may hold."""
    return (*result_tables().values(), *ANALYSIS_TABLES)
