"""The verb that asks whether what happened to the layers goes with accuracy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from stir_ray.cli.arguments import AsJson, Overrides, begun
from stir_ray.cli.console import show
from stir_ray.cli.each_job import for_each_job
from stir_ray.errors import InputError
from stir_ray.lake.parquet import encode, open_lake
from stir_ray.lake.schemas import TableSchema
from stir_ray.report.analysis import analysis_json, analysis_table
from stir_ray.results.analysis.analyse import Analysis
from stir_ray.results.analysis.analyse import analyse as analysis_of
from stir_ray.results.analysis.analysis_tables import analysis_tables
from stir_ray.results.analysis.job_analysis import analyse_job, store_analysis
from stir_ray.results.analysis.user_curves import user_curves
from stir_ray.results.reduce import reduce_job


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
    """Correlate what happened to the layers with accuracy over the epochs, in every way we know.

    Tables hypotheses, correlations and learning_with_forgetting (Parquet) lie beside the results.

    Example: stir-ray analyse jobs/digits.yaml
    """
    of_own = {"--dynamics": dynamics, "--accuracy": accuracy, "--output": output}
    if job is not None:
        given = [name for name, value in of_own.items() if value is not None]
        if given:
            raise InputError(f"{given[0]} is for curves of your own: leave out {job}")
        _of_job(job, sets=sets, as_json=as_json)
    elif dynamics is None:
        raise InputError(
            "analyse: nothing to analyse; give a JOB file, or --dynamics TABLE --accuracy TABLE"
        )
    else:
        analyses = (analysis_of(user_curves(dynamics, accuracy)),)
        tables = analysis_tables(analyses)
        _show(analyses, tables, _stored(tables, output) if output else {}, as_json=as_json)


@for_each_job
def _of_job(job: Path, sets: Sequence[str] | None = None, *, as_json: bool) -> None:
    known = begun(job, sets)
    reduced = reduce_job(known.asked, known.study, known.lake)
    analyses = analyse_job(known.job, known.study, known.lake, reduced)
    tables = analysis_tables(analyses)
    stored = store_analysis(tables, known.job, known.lake, reduced)
    _show(analyses, tables, stored, as_json=as_json)


def _stored(tables: Mapping[TableSchema, pa.Table], folder: str) -> dict[str, str]:
    objects = open_lake(folder).objects
    keys = {schema: f"{schema.name}.parquet" for schema in tables}
    for schema, table in tables.items():
        objects.put(keys[schema], encode(table, {}))
    return {schema.name: objects.location(key) for schema, key in keys.items()}


def _show(
    analyses: Sequence[Analysis],
    tables: Mapping[TableSchema, pa.Table],
    stored: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    if as_json:
        print(analysis_json(analyses, tables, stored))
        return
    show(analysis_table(analyses), *stored.values())
