"""Verbs that plan and compute a job."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from stir_ray.catalog.failures import FailureFilter
from stir_ray.catalog.inspection import InspectedJob, inspect, lake_of, memory_lake, resolve
from stir_ray.catalog.runs import all_runs, last_throughput, mean_steps
from stir_ray.catalog.status import forecast
from stir_ray.cli.arguments import (
    AsJson,
    FlopsPerS,
    JobFile,
    JobFiles,
    Overrides,
    Price,
    SelectedJob,
    Serial,
    open_named_lake,
    select,
)
from stir_ray.cli.console import show_each
from stir_ray.errors import InputError, TasksFailed
from stir_ray.formatting import format_list
from stir_ray.job import InLake
from stir_ray.job.loader import read_job, read_jobs, schema_text
from stir_ray.lake.keys import result_key
from stir_ray.lake.schemas import ROBUSTNESS
from stir_ray.plan.tasks import Throughput
from stir_ray.report.plan import price


def run(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Compute what is missing of a job, and draw it.

    Results, figures and the page follow. Running again resumes: what the lake holds is not computed
    twice.

    Example: stir-ray run jobs/digits.yaml --set seeds=[0]
    """
    from stir_ray.report import summary
    from workflows import invariance

    grid = read_jobs(job, sets or ())
    done = invariance.run_all(grid, serial=serial)
    print(summary.format_tasks(done.tally.ran))
    for line in done.lines(grid):
        print(line)
    done.require_complete()


def retry(  # noqa: PLR0917 - typer makes an option of each
    job: JobFile,
    sets: Overrides = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Class of failure, e.g. out_of_memory.")
    ] = None,
    fingerprint: Annotated[
        list[str] | None, typer.Option(help="Fingerprint, as `failures` shows it.")
    ] = None,
    epoch: Annotated[list[int] | None, typer.Option(help="Epoch of the model.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of the inversion.")] = None,
    layer: Annotated[list[int] | None, typer.Option(help="Inverted layer.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Id of the task, or how it begins.")
    ] = None,
    serial: Serial = False,
) -> None:
    """Run failed tasks again, and what waited for them.

    Results and figures follow. Options choose among the failed tasks: one that is given twice takes
    either value, and different ones must all fit. What builds on a task that succeeds now is run
    too, chosen or not.

    Example: stir-ray retry jobs/digits.yaml --class out_of_memory --layer 11 --layer 12
    """
    from stir_ray.report import summary
    from workflows import invariance

    choice = FailureFilter(
        classes=frozenset(classes or ()),
        fingerprints=frozenset(fingerprint or ()),
        epochs=frozenset(epoch or ()),
        seeds=frozenset(seed or ()),
        layers=frozenset(layer or ()),
        tasks=frozenset(task or ()),
    )
    retried_job = read_job(job, sets or ())
    done = invariance.retry(retried_job, choice, serial=serial)
    if done is None:
        print("No task of this job failed; `stir-ray run` computes what is missing.")
        return
    print(f"{done.chosen} of {done.failed} failed tasks chosen.")
    print(summary.format_tasks(done.summary.tally.ran))
    print(summary.format_results(retried_job, done.summary.reduced))
    print(f"Page: {done.summary.report.page}")
    print(f"Figures: {done.summary.report.figures}")
    done.summary.require_complete()


def finetune(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Train the models of a job and nothing more.

    Example: stir-ray finetune jobs/digits.yaml
    """
    from workflows import finetune as training

    grid = read_jobs(job, sets or ())
    done = training.run_all(grid, serial=serial)
    print(f"{done.tally.tasks} tasks ran, {done.tally.failed} failed")
    if done.tally.last_failure:
        untrained = f"{format_list(done.untrained)}: " if len(grid.jobs) > 1 else ""
        raise TasksFailed(f"{untrained}{done.tally.last_failure.message}; run again to retry")


def robustness(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Test every epoch on corrupted images.

    Trains what is not trained; computes nothing more.

    Example: stir-ray robustness jobs/digits.yaml --set robustness.corruptions=all
    """
    from stir_ray.report import summary
    from workflows import robustness as evaluation

    grid = read_jobs(job, sets or ())
    done = evaluation.run_all(grid, serial=serial)
    print(summary.format_tasks(done.tally.ran))
    lake = lake_of(grid.shared)
    for tested in grid.jobs:
        if tested.name in done.errors:
            print(f"{tested.name}: {done.errors[tested.name]}")
            continue
        for line in summary.format_tests(done.of_jobs[tested.name].reduced):
            print(line if len(grid.jobs) == 1 else f"{tested.name}: {line}")
        print(f"  {lake.objects.location(result_key(tested.name, ROBUSTNESS.name))}")
    done.require_tested()


def reduce(job: JobFile, sets: Overrides = None) -> None:
    """Make the results from what the lake holds.

    Example: stir-ray reduce jobs/digits.yaml
    """
    from stir_ray.report import summary
    from stir_ray.results.reduce import reduce_job

    def results(selected: SelectedJob) -> str:
        started = selected.require_started()
        return summary.format_results(
            started.job, reduce_job(started.resolved, started.study, started.lake)
        )

    show_each(select(job, sets), results)


def plan(
    jobs: JobFiles,
    sets: Overrides = None,
    *,
    flops_per_s: FlopsPerS = None,
    price_per_gpu_hour: Price = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do and cost, without doing it.

    Hours are at the rate that is given, or else at what earlier runs in the same lake achieved. Of
    several jobs each is planned as if it were run alone, and last all together.

    Example: stir-ray plan jobs/digits.yaml --flops-per-s 60e12 --price-per-gpu-hour 2.5
    """
    selected = select(jobs, sets)
    runs = all_runs(selected[0].lake)
    rate = Throughput(flops_per_s) if flops_per_s else last_throughput(runs)
    steps, memory, planned = mean_steps(runs), memory_lake(), list[InspectedJob]()

    def of_one(job: SelectedJob) -> object:
        planned.append(inspect(resolve(job.job), job.lake, memory))
        return price(forecast(planned[-1], steps=steps), rate, price_per_gpu_hour)

    def of_all() -> object:
        together = forecast(*planned, steps=steps)
        return price(together, rate, price_per_gpu_hour, jobs=len(planned))

    show_each(selected, of_one, as_json=as_json, total=of_all)


def import_data(
    source: Annotated[
        Literal["cifar10", "cifar100", "pets", "eurosat", "folder"],
        typer.Argument(
            metavar="SOURCE",
            help="cifar10, cifar100, pets, eurosat or folder: <root>/<split>/<class>/<image>.",
        ),
    ],
    root: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder of the dataset, and of its download."),
    ],
    lake: Annotated[str | None, typer.Option(help="Folder or URL of the lake.")] = None,
    job: Annotated[
        Path | None, typer.Option(help="A job file that names the lake, in place of --lake.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset in the lake; default: SOURCE.")
    ] = None,
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
    shards = f"{done.stored} shards stored, {done.already_stored} were there"
    print(f"{name}: {counts} images; {shards}.")


def schema() -> None:
    """Print the JSON Schema of a job file, for editors.

    Example: stir-ray schema > jobs/schema.json
    """
    print(schema_text(), end="")
