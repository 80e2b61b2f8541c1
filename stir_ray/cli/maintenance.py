"""Verbs for when something failed or is no longer needed."""

from pathlib import Path
from typing import Annotated

import typer

from stir_ray.catalog import explain as explanation
from stir_ray.catalog import verify as verification
from stir_ray.catalog.failures import unfinished
from stir_ray.catalog.forecast import missing_tasks
from stir_ray.catalog.gc import remove, unused
from stir_ray.catalog.snapshots import lake_of
from stir_ray.cli.arguments import (
    AsJson,
    JobFile,
    Overrides,
    Serial,
    begun,
    recalled,
    recalled_all,
    started,
    words_of,
)
from stir_ray.cli.console import show
from stir_ray.cli.each_job import for_each_job
from stir_ray.errors import InputError, TasksFailed
from stir_ray.job.loader import read_job, read_jobs
from stir_ray.lake.parquet import open_lake
from stir_ray.plan.failure_filter import FailureFilter
from stir_ray.report import summary
from stir_ray.report.explanation import explanation_json, explanation_lines
from stir_ray.report.failures import failure_lines, failures_json, tally_line
from stir_ray.report.unused import left_alone, unused_table
from workflows import invariance


@for_each_job
def failures(
    job: JobFile,
    sets: Overrides = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where each example failed in the code.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what failed, kind by kind, and what to do about each.

    Example: stir-ray failures jobs/digits.yaml --traceback
    """
    asked, lake = recalled(job, sets)
    left = unfinished(missing_tasks(asked, lake), lake)
    if not left.failed:
        started(asked, lake, job)
    words = words_of(job, sets)
    if as_json:
        print(failures_json(left.failed, words))
        return
    for line in failure_lines(left.failed, words, traceback=traceback):
        print(line)
    print(tally_line(left, words))


def retry(  # noqa: PLR0917 - typer makes an option of each
    job: JobFile,
    sets: Overrides = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Of this class, e.g. memory.")
    ] = None,
    fingerprint: Annotated[
        list[str] | None, typer.Option(help="Failed alike, as `failures` names it.")
    ] = None,
    epoch: Annotated[list[int] | None, typer.Option(help="Of a model at this epoch.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Of this noise start.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Of this inverted layer.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Of this id, or the one that begins so.")
    ] = None,
    serial: Serial = False,
) -> None:
    """Run failed tasks again, and what waited for them; then matrices and figures.

    Options choose among the failed tasks: one that is given twice takes either value, and different
    ones must all fit. What builds on a task that succeeds now is run too, chosen or not.

    Example: stir-ray retry jobs/digits.yaml --class memory --layer 11 --layer 12
    """
    said = read_job(job, sets or ())
    choice = FailureFilter(
        classes=frozenset(classes or ()),
        fingerprints=frozenset(fingerprint or ()),
        epochs=frozenset(epoch or ()),
        seeds=frozenset(seed or ()),
        layers=frozenset(layer or ()),
        tasks=frozenset(task or ()),
    )
    done = invariance.retry(said, choice, serial=serial)
    if done is None:
        print("No task of this job failed; `stir-ray run` computes what is missing.")
        return
    print(f"{done.chosen} of {done.failed} failed tasks chosen.")
    print(summary.of_tasks(done.summary.tally.ran))
    is_analysed = done.summary.is_analysed
    print(summary.of_results(said, done.summary.reduced, is_analysed=is_analysed))
    print(f"Page: {done.summary.report.page}")
    print(f"Figures: {done.summary.report.figures}")
    done.summary.nothing_missing()


@for_each_job
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
    """Say where one number of the results comes from, or why it is missing and what computes it.

    Example: stir-ray explain jobs/digits.yaml "ft|pt epoch=8 seed=0 reference_layer=3
    target_layer=5"
    """
    known = begun(job, sets)
    explained = explanation.explain(known, " ".join(cell).split())
    words = words_of(job, sets)
    if as_json:
        print(explanation_json(explained, words))
        return
    for line in explanation_lines(explained, words):
        print(line)


def verify(
    job: JobFile,
    sets: Overrides = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is bad; the next run computes it again.")
    ] = False,
) -> None:
    """Read everything in a job's lake and report what is not as it was written or planned.

    Example: stir-ray verify jobs/digits.yaml
    """
    everyone, lake = recalled_all(job, sets)
    right, wrong = 0, []
    for seen in verification.verify(lake, *everyone):
        if isinstance(seen, str):
            right += 1
            continue
        wrong.append(seen)
        removed = repair and seen.may_be_removed
        if removed:
            lake.objects.delete(seen.key)
        print(f"{seen.key}: {seen.problem}{' (removed)' if removed else ''}")
    damaged = [seen for seen in wrong if seen.is_damage]
    foreign = len(wrong) - len(damaged)
    print(f"{right} objects are right, {len(damaged)} are damaged, {foreign} do not belong here")
    if damaged and not repair:
        raise TasksFailed(
            "`stir-ray verify --repair` removes them, and the next run computes them; verify again "
            "after it"
        )
    left = [seen for seen in damaged if not seen.may_be_removed]
    if left:
        raise TasksFailed(f"{left[0].key}: stays until its job is run again")
    in_the_way = [seen for seen in wrong if seen.is_in_the_way]
    if in_the_way:
        raise TasksFailed(
            f"{in_the_way[0].key}: a job of this lake needs this place; remove it by hand, or use "
            "another lake"
        )


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
    """List what no job needs that was ever run in a lake; `--yes` removes it.

    Deleting the folder `jobs/<name>` of a lake gives all jobs of this name up. What is younger than
    an hour stays, and so does everything that stir-ray did not write.

    Example: stir-ray gc jobs/digits.yaml
    """
    if (job is None) == (lake is None):
        raise InputError("give a job file, or a lake by `--lake`")
    opened = open_lake(lake) if lake else lake_of(read_jobs(job or "", sets or ()).shared)
    surplus = unused(opened)
    show(unused_table(surplus) if surplus.unused else "Nothing is unused.")
    for line in left_alone(surplus):
        print(line)
    if yes:
        remove(surplus, opened)
        print(f"Removed {len(surplus.unused)} objects.")
    elif surplus.unused:
        print("Nothing is removed without `--yes`.")
