"""Verbs that read a lake, and keep it clean: status, failures, explain, sql, verify, gc, import."""

import os.path
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import ValidationError
from typer import Argument, Option

from stir_ray.catalog.failures import unfinished
from stir_ray.catalog.gc import remove, unused
from stir_ray.catalog.inspection import missing_tasks
from stir_ray.catalog.status import status_of
from stir_ray.catalog.verify import Finding
from stir_ray.catalog.verify import verify as verify_lake
from stir_ray.cli.arguments import (
    Answer,
    AsJson,
    JobFile,
    Overrides,
    SelectedJob,
    open_named_lake,
    select,
    show,
    show_each,
    show_wide,
)
from stir_ray.errors import InputError, TasksFailed
from stir_ray.job import InLake
from stir_ray.lake.keys import result_folder
from stir_ray.report import problems
from stir_ray.report.text import garbage_text, rows_text
from stir_ray.results import sql as queries


def status(job: JobFile, sets: Overrides = None, *, as_json: AsJson = False) -> None:
    """Show how far a job is and what failed, from its lake.

    Example: stir-ray status jobs/digits.yaml
    """

    def answer(selected: SelectedJob) -> Answer:
        started = selected.require_started()
        failed = unfinished(started.missing(started.lake), started.lake).failed
        value = problems.job_status(status_of(started), failed)
        return value, problems.job_status_text(value)

    show_each(select(job, sets=sets), answer, as_json=as_json)


def failures(
    job: JobFile,
    sets: Overrides = None,
    traceback: Annotated[bool, Option("--traceback", help="Show a traceback of each.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what failed, kind by kind, and what to do about each.

    Example: stir-ray failures jobs/digits.yaml --traceback
    """

    def answer(selected: SelectedJob) -> Answer:
        resolved, words = selected.resolve(), selected.words
        tasks = unfinished(missing_tasks(resolved, selected.lake), selected.lake)
        if not tasks.failed:
            selected.require_started(resolved)
        failed = [problems.failure_record(task, words) for task in tasks.failed]
        value = {"failed": failed, "not_attempted": tasks.not_attempted}
        return value, problems.failures_text(tasks, words, traceback=traceback)

    show_each(select(job, sets=sets), answer, as_json=as_json)


def explain(
    job: JobFile,
    cell: Annotated[
        list[str],
        Argument(
            metavar="CELL",
            help='Columns of results.parquet: "ft|pt epoch=8 seed=0 reference_layer=3 '
            'target_layer=5"; `model=from_scratch` if it is not the finetuned one.',
        ),
    ],
    sets: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show where one number comes from, or why it is missing.

    Example: stir-ray explain jobs/digits.yaml "ft|pt epoch=8 seed=0 reference_layer=3
    target_layer=5"
    """
    from stir_ray.catalog import explain as explanation

    def answer(selected: SelectedJob) -> Answer:
        explained = explanation.explain(selected.require_started(), " ".join(cell).split())
        value = problems.explanation_record(explained, selected.words)
        return value, problems.explanation_text(explained, selected.words)

    show_each(select(job, sets=sets), answer, as_json=as_json)


def verify(
    job: JobFile,
    sets: Overrides = None,
    repair: Annotated[bool, Option("--repair", help="Remove what is damaged.")] = False,
) -> None:
    """Read a whole lake and report what is damaged or foreign.

    What `--repair` removes, the next run computes again.

    Example: stir-ray verify jobs/digits.yaml
    """
    lake = select(job, sets=sets)[0].lake
    intact, findings, damaged = 0, list[Finding](), list[str]()
    for result in verify_lake(lake):
        if isinstance(result, str):
            intact += 1
            continue
        findings.append(result)
        is_removed = repair and result.may_be_removed
        if is_removed:
            lake.objects.delete(result.key)
        elif result.is_damage:
            damaged.append(result.key)
        print(f"{result.key}: {result.problem}{' (removed)' if is_removed else ''}", flush=True)
    count = sum(finding.is_damage for finding in findings)
    print(
        f"{intact} objects are intact, {count} are damaged, {len(findings) - count} do not belong "
        "here"
    )
    if damaged and repair:
        raise TasksFailed(f"{damaged[0]}: stays until its job is run again")
    if damaged:
        raise TasksFailed(
            "`stir-ray verify --repair` removes them, and the next run computes them; verify again "
            "after it"
        )


def gc(
    job: Annotated[Path | None, Argument(metavar="[JOB]", help="Names the lake.")] = None,
    lake: Annotated[str | None, Option(help="The lake itself, where there is no job file.")] = None,
    sets: Overrides = None,
    yes: Annotated[bool, Option("--yes", help="Remove it.")] = False,
) -> None:
    """List what no job of a lake needs; `--yes` removes it.

    Deleting the folder `jobs/<name>` of a lake gives all jobs of this name up. What is younger than
    an hour stays, and so does everything that stir-ray did not write.

    Example: stir-ray gc jobs/digits.yaml
    """
    opened = open_named_lake(job, lake, sets)
    garbage = unused(opened)
    show((garbage, garbage_text(garbage)))
    if yes:
        remove(garbage, opened)
        print(f"Removed {len(garbage.unused)} objects.")
    elif garbage.unused:
        print("Nothing is removed without `--yes`.")


def import_data(
    source: Annotated[
        Literal["cifar10", "cifar100", "pets", "eurosat", "folder"],
        Argument(
            metavar="SOURCE",
            help="cifar10, cifar100, pets, eurosat or folder: <root>/<split>/<class>/<image>.",
        ),
    ],
    root: Annotated[Path, Option(metavar="FOLDER", help="Of the dataset, and of its download.")],
    lake: Annotated[str | None, Option(help="Folder or URL of the lake.")] = None,
    job: Annotated[Path | None, Option(help="A job file, in place of --lake.")] = None,
    name: Annotated[str | None, Option(help="Its name in the lake; default: SOURCE.")] = None,
) -> None:
    """Put a dataset into the lake.

    Then no other machine needs its files or the internet. Public datasets are downloaded if they
    are not in FOLDER. Running again puts there only what is missing. A job then says
    `data: {source: lake, name: cifar10, size: 224}`.

    Example: stir-ray import-data cifar10 --root ./downloads --lake ./lake
    """
    from stir_ray.datasets.lake_dataset import dataset_to_import, import_dataset

    name = name or source
    try:
        InLake(source="lake", name=name, size=1)
    except ValidationError:
        raise InputError(
            f"--name {name}: expected letters, digits and `._=-` after the first"
        ) from None
    opened = open_named_lake(job, lake, option="--job")
    opened.objects.check()
    done = import_dataset(dataset_to_import(source, str(root)), name, opened)
    counts = ", ".join(f"{count} {split}" for split, count in done.images.items())
    shards = f"{done.stored} shards stored, {done.already_stored} already there"
    print(f"{name}: {counts} images; {shards}.")


def sql(
    words: Annotated[
        list[str],
        Argument(
            metavar='JOB... ["QUERY"]',
            help="Job files, or folders or URLs of jobs (<lake>/jobs/<name>) or lakes, and the "
            "query; without a query, all tables and columns.",
            show_default=False,
        ),
    ],
    sets: Overrides = None,
    *,
    tables: Annotated[bool, Option("--tables", help="List tables and columns instead.")] = False,
    row_format: Annotated[
        Literal["table", "csv", "json", "parquet"] | None,
        Option("--format", help="Of the rows; default: that of FILE, or a table."),
    ] = None,
    output: Annotated[
        Path | None, Option(metavar="FILE", help="Write all rows there: .csv, .json, .parquet.")
    ] = None,
    rows: Annotated[int, Option(min=0, metavar="NUMBER", help="Most rows of a table.")] = 100,
) -> None:
    """Query the results of jobs in SQL.

    In DuckDB's SQL, wherever the lake is. Of a job file these are the results that were made last
    under its name. Tables go by the names of their files (results, matrices, history, ...); of
    several jobs, or a grid, each begins with a column `job`. What is undefined is NULL. A query
    reads nothing but these tables.

    Example: stir-ray sql jobs/digits.yaml "select epoch, max(mean) from matrices group by epoch"
    """
    chosen = row_format or (output.suffix.removeprefix(".") if output else "table")
    if output and chosen not in {"csv", "json", "parquet"}:
        raise InputError(f"--output {output}: expected a suffix .csv, .json or .parquet")
    if chosen == "parquet" and not output:
        raise InputError("--format parquet: goes into a file; give `--output FILE.parquet`")
    *locations, last = words
    is_query = bool(re.search(r"\s", last)) and not _is_url(last) and not os.path.exists(last)  # noqa: PTH110 - Path raises where a query is too long for a name
    if not is_query:
        locations.append(last)
    if not locations:
        raise InputError(f'sql: of which job? stir-ray sql JOB "{last}"')
    jobs = queries.with_unique_names(
        [job for location in locations for job in _tables(location, sets)]
    )
    is_list = tables or not is_query
    result = queries.query(f"from {queries.COLUMNS}" if is_list else last, jobs)
    if chosen == "table":
        show_wide(rows_text(result, result.num_rows if is_list else rows))
    elif output:
        queries.write_rows(result, output, chosen)
        print(f"{result.num_rows} rows: {output}")
    else:
        with TemporaryDirectory(prefix="stir-ray-") as folder:
            file = Path(folder) / "rows"
            queries.write_rows(result, file, chosen)
            sys.stdout.write(file.read_text())


def _is_url(word: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", word) is not None


def _tables(location: str, sets: Sequence[str] | None) -> list[queries.JobTables]:
    # Of the jobs of a file, or of those at a folder or URL.
    if _is_url(location) or Path(location).is_dir():
        return queries.tables_at(location)
    if not Path(location).exists():
        raise InputError(
            f"{location}: not there; give a job file or a job's folder (<lake>/jobs/<name>), and "
            "the query last, in quotes"
        )
    remedy = f"`stir-ray run {location}` first"
    return [
        queries.JobTables(
            selected.job.name, selected.lake, result_folder(selected.job.name)
        ).require_results(remedy)
        for selected in select(Path(location), sets=sets)
    ]
