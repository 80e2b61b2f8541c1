"""Verbs that show how far a job is and what failed, and keep its lake clean."""

from pathlib import Path
from typing import Annotated

import typer

from stir_ray.catalog.failures import unfinished
from stir_ray.catalog.gc import remove, unused
from stir_ray.catalog.inspection import missing_tasks
from stir_ray.catalog.status import status_of
from stir_ray.catalog.verify import verify as verify_lake
from stir_ray.cli.arguments import AsJson, JobFile, Overrides, SelectedJob, open_named_lake, select
from stir_ray.cli.console import show, show_each
from stir_ray.report.failures import Failures, failures_of
from stir_ray.report.text import JobStatus, Verified


def status(job: JobFile, sets: Overrides = None, *, as_json: AsJson = False) -> None:
    """Show how far a job is and what failed, from its lake.

    Example: stir-ray status jobs/digits.yaml
    """

    def answer(selected: SelectedJob) -> JobStatus:
        started = selected.require_started()
        unfinished_tasks = unfinished(started.missing(started.lake), started.lake)
        failed = failures_of(unfinished_tasks, selected.arguments)
        return JobStatus(status_of(started), failed.groups)

    show_each(select(job, sets), answer, as_json=as_json)


def failures(
    job: JobFile,
    sets: Overrides = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of each example.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what failed, kind by kind, and what to do about each.

    Example: stir-ray failures jobs/digits.yaml --traceback
    """

    def answer(selected: SelectedJob) -> Failures:
        resolved = selected.resolve()
        tasks = unfinished(missing_tasks(resolved, selected.lake), selected.lake)
        if not tasks.failed:
            selected.require_started(resolved)
        return failures_of(tasks, selected.arguments, traceback=traceback)

    show_each(select(job, sets), answer, as_json=as_json)


def explain(
    job: JobFile,
    cell: Annotated[
        list[str],
        typer.Argument(
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
    from stir_ray.report.explanation import NumberOrigin

    def answer(selected: SelectedJob) -> NumberOrigin:
        explained = explanation.explain(selected.require_started(), " ".join(cell).split())
        return NumberOrigin.from_explanation(explained, selected.arguments)

    show_each(select(job, sets), answer, as_json=as_json)


def verify(
    job: JobFile,
    sets: Overrides = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged; the next run computes it.")
    ] = False,
) -> None:
    """Read a whole lake and report what is damaged or foreign.

    Example: stir-ray verify jobs/digits.yaml
    """
    lake = select(job, sets)[0].lake
    objects = verify_lake(lake)
    verified = Verified.check(objects, lake.objects.delete if repair else None)
    show(verified)
    verified.require_intact()


def gc(
    job: Annotated[
        Path | None, typer.Argument(metavar="[JOB]", help="A job file that names the lake.")
    ] = None,
    lake: Annotated[
        str | None, typer.Option(help="The lake itself, where there is no job file.")
    ] = None,
    sets: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
) -> None:
    """List what no job of a lake needs; `--yes` removes it.

    Deleting the folder `jobs/<name>` of a lake gives all jobs of this name up. What is younger than
    an hour stays, and so does everything that stir-ray did not write.

    Example: stir-ray gc jobs/digits.yaml
    """
    opened = open_named_lake(job, lake, sets or ())
    garbage = unused(opened)
    show(garbage)
    if yes:
        remove(garbage, opened)
        print(f"Removed {len(garbage.unused)} objects.")
    elif garbage.unused:
        print("Nothing is removed without `--yes`.")
