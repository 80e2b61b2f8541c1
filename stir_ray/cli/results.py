"""Verbs that read results: figures, analyses, queries."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, get_args

import typer

from stir_ray.cli.arguments import AsJson, JobFiles, Overrides, SelectedJob, select
from stir_ray.cli.console import show, show_each, show_wide
from stir_ray.errors import InputError
from stir_ray.job.loader import read_jobs
from stir_ray.lake.keys import result_folder
from stir_ray.report.text import rows_table
from stir_ray.results import sql as queries

RowFormat = Literal["table", "csv", "json", "parquet"]


def report(
    jobs: JobFiles,
    sets: Overrides = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:SERIES]",
            help="Published numbers to draw dashed beside the job's own, e.g. "
            "jobs/paper/reference.json:imagenet,random.",
        ),
    ] = None,
) -> None:
    """Write the page and the figures of results.

    The page is one HTML file that shows all there is and needs no network. Several jobs, or those
    of a grid, are shown together too: a page, a figure, and a table of what differs between them
    (CSV), in the folder of the figures of the first file.

    Example: stir-ray report jobs/digits.yaml --compare jobs/paper/reference.json
    """
    from stir_ray.report.compare_jobs import Shown, write_side_by_side
    from stir_ray.report.page.write import write_report
    from stir_ray.report.reference_results import read_published
    from stir_ray.report.write_figures import ReducedJob, Reference
    from stir_ray.results.reduce import reduce_job
    from stir_ray.results.stored_analysis import analyse_robustness
    from stir_ray.worker.study_reader import model_card

    published = read_published(compare) if compare else None
    drawn: list[Shown] = []

    def draw(selected: SelectedJob) -> str:
        started = selected.require_started()
        reduced = reduce_job(started.resolved, started.study, started.lake)
        analyse_robustness(started.job, started.study, started.lake, reduced)
        depth = model_card(started.resolved, started.inspections)["depth"]
        job = ReducedJob(started.resolved, started.study, started.lake, reduced)
        written = write_report(job, Reference(published, depth) if published else None)
        if job.results is not None:
            drawn.append(Shown(started.job, started.lake, reduced, depth))
        return f"{written.page}\n{written.figures}"

    files = list(dict.fromkeys(jobs))
    try:
        show_each(select(files, sets, one_lake=False), draw)
    finally:
        if len(drawn) > 1:
            folder = read_jobs(files[0], sets or ()).name
            is_one_file = len(files) == 1
            together = write_side_by_side(
                drawn, folder, is_one_file=is_one_file, published=published
            )
            show(together.differences)
            print(*together.files, sep="\n")


def analyse(  # noqa: PLR0917 - typer makes an option of each
    job: Annotated[
        Path | None, typer.Argument(metavar="[JOB]", help="A job file, e.g. jobs/digits.yaml.")
    ] = None,
    sets: Overrides = None,
    dynamics: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Instead of a job, curves of your own (CSV or Parquet): epoch, layer, perhaps "
            "seed, and any of learning, forgetting, cka_divergence, subspace_similarity.",
        ),
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Its accuracies: epoch, severity (0 is clean), accuracy, perhaps corruption.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where to store the tables of curves of your own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Correlate changes of layers with accuracy over epochs.

    Tables hypotheses, correlations and learning_with_forgetting (Parquet) lie beside the results.

    Example: stir-ray analyse jobs/digits.yaml
    """
    from stir_ray.report.analysis import AnalysisReport, analyse_curves
    from stir_ray.results.reduce import reduce_job
    from stir_ray.results.stored_analysis import analyse_job, analysis_tables, store_analysis

    options = {"--dynamics": dynamics, "--accuracy": accuracy, "--output": output}
    given = [name for name, value in options.items() if value is not None]
    if job is not None and given:
        raise InputError(f"{given[0]} is for curves of your own: leave out {job}")
    if job is None and dynamics is None:
        raise InputError(
            "analyse: nothing to analyse; give a JOB file, or --dynamics TABLE --accuracy TABLE"
        )

    def answer(selected: SelectedJob) -> AnalysisReport:
        started = selected.require_started()
        reduced = reduce_job(started.resolved, started.study, started.lake)
        analyses = analyse_job(started.job, started.study, started.lake, reduced)
        tables = analysis_tables(analyses)
        stored = store_analysis(tables, started.job, started.lake, reduced)
        return AnalysisReport.summarize(analyses, tables, stored)

    if job is not None:
        show_each(select(job, sets), answer, as_json=as_json)
    elif dynamics is not None:
        show(analyse_curves(dynamics, accuracy, output), as_json=as_json)


def sql(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar='JOB... ["QUERY"]',
            help="Job files, or folders or URLs of jobs (<lake>/jobs/<name>) or lakes, and the "
            "query; without a query, all tables and columns.",
            show_default=False,
        ),
    ],
    sets: Overrides = None,
    *,
    tables: Annotated[
        bool, typer.Option("--tables", help="List tables and columns instead.")
    ] = False,
    row_format: Annotated[
        RowFormat | None,
        typer.Option("--format", help="Of the rows; default: that of FILE, or a table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all rows there: .csv, .json, .parquet."),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="Most rows that a table shows.")
    ] = 100,
) -> None:
    """Query the results of jobs in SQL.

    In DuckDB's SQL, wherever the lake is. Of a job file these are the results that were made last
    under its name. Tables go by the names of their files (results, matrices, history, ...); of
    several jobs, or a grid, each begins with a column `job`. What is undefined is NULL. A query
    reads nothing but these tables.

    Example: stir-ray sql jobs/digits.yaml "select epoch, max(mean) from matrices group by epoch"
    """
    places, query = _places_and_query(words)
    chosen = _row_format(row_format, output)
    jobs = queries.named([job for location in places for job in _tables(location, sets)])
    is_list = tables or query is None
    text = f"from {queries.COLUMNS}" if tables or query is None else query
    result = queries.query(text, jobs)
    if chosen == "table":
        show_wide(*rows_table(result, result.num_rows if is_list else rows))
    elif output:
        queries.write_rows(result, output, chosen)
        print(f"{result.num_rows} rows: {output}")
    else:
        with TemporaryDirectory(prefix="stir-ray-") as folder:
            file = Path(folder) / "rows"
            queries.write_rows(result, file, chosen)
            sys.stdout.write(file.read_text())


def _places_and_query(words: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the places, and the query: the last word if it has a space and is no place."""
    *places, last = words
    if not re.search(r"\s", last) or _is_url(last) or _exists(last):
        return words, None
    if not places:
        raise InputError(f'sql: of which job? stir-ray sql JOB "{last}"')
    return places, last


def _is_url(word: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", word) is not None


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # longer than the name of a file can be
        return False


def _tables(location: str, sets: Sequence[str] | None) -> list[queries.JobTables]:
    """Return the jobs of a file, or those at a folder or URL."""
    if _is_url(location) or Path(location).is_dir():
        return queries.tables_at(location)
    if not Path(location).exists():
        raise InputError(
            f"{location}: not there; give a job file or a job's folder (<lake>/jobs/<name>), and "
            "the query last, in quotes"
        )
    remedy = f"`stir-ray run {location}` first"
    return [
        queries.JobTables(job.name, job.lake, result_folder(job.name)).require_results(remedy)
        for job in select(Path(location), sets)
    ]


def _row_format(row_format: RowFormat | None, output: Path | None) -> RowFormat:
    if row_format is None and output is not None:
        suffix = output.suffix.removeprefix(".")
        row_format = next((name for name in get_args(RowFormat) if name == suffix), None)
        if row_format in (None, "table"):
            raise InputError(f"--output {output}: give it a suffix .csv, .json or .parquet")
    if row_format == "table" and output is not None:
        raise InputError(f"--output {output}: a table is for the terminal; `--format csv`")
    if row_format == "parquet" and output is None:
        raise InputError("--format parquet: goes into a file; give `--output FILE.parquet`")
    return row_format or "table"
