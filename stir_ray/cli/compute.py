"""Verbs that compute a job and show what is there."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stir_ray.catalog.failures import failed_tasks
from stir_ray.catalog.forecast import (
    Forecast,
    InspectedJob,
    forecast,
    forecast_of_all,
    missing_tasks,
)
from stir_ray.catalog.rates import mean_steps, measured_rate
from stir_ray.catalog.status import status_of
from stir_ray.cli.arguments import (
    AsJson,
    FlopsPerS,
    JobFile,
    JobFiles,
    Overrides,
    Price,
    Serial,
    begun,
)
from stir_ray.cli.console import show
from stir_ray.cli.each_job import for_each_job, inspected_for, lake_for, runs_for
from stir_ray.errors import TasksFailed
from stir_ray.job.loader import read_job, read_jobs, schema_text
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import ROBUSTNESS
from stir_ray.plan.estimate import Rate
from stir_ray.plan.formatting import format_list
from stir_ray.report import summary, tables
from stir_ray.report.status import status_json, status_table
from stir_ray.results.reduce import reduce_job
from workflows import finetune as finetuning
from workflows import invariance
from workflows import robustness as testing


def run(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Compute what is missing of a job, then its matrices and figures.

    Running again resumes: what the lake holds is not computed twice.

    Example: stir-ray run jobs/digits.yaml --set seeds=[0]
    """
    grid = read_jobs(job, sets or ())
    done = invariance.run_all(grid, serial=serial)
    print(summary.of_tasks(done.tally.ran))
    for line in done.lines(grid):
        print(line)
    done.nothing_missing()


def finetune(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Train the models of a job and nothing more.

    Example: stir-ray finetune jobs/digits.yaml
    """
    grid = read_jobs(job, sets or ())
    done = finetuning.run_all(grid, serial=serial)
    print(f"{done.tally.tasks} tasks ran, {done.tally.failed} failed")
    if done.tally.last_failure:
        untrained = f"{format_list(done.untrained)}: " if len(grid.jobs) > 1 else ""
        raise TasksFailed(f"{untrained}{done.tally.last_failure.message}; run again to retry")


def robustness(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Test every epoch on corrupted images, training what is not trained, and nothing more.

    Example: stir-ray robustness jobs/digits.yaml --set robustness.corruptions=all
    """
    grid = read_jobs(job, sets or ())
    done = testing.run_all(grid, serial=serial)
    print(summary.of_tasks(done.tally.ran))
    for said in grid.jobs:
        if said.name in done.errors:
            print(f"{said.name}: {done.errors[said.name]}")
            continue
        for line in summary.of_tests(done.of_jobs[said.name]):
            print(line if len(grid.jobs) == 1 else f"{said.name}: {line}")
        print(f"  {lake_for(said).objects.location(result_key(said.name, ROBUSTNESS.name))}")
    done.nothing_missing()


def _plan_of_all(
    everyone: Sequence[InspectedJob],
    *,
    flops_per_s: float | None,
    price_per_gpu_hour: float | None,
    as_json: bool,
) -> None:
    """What all jobs cost together."""
    if not as_json:
        print(f"All {len(everyone)} jobs in one run, what they share counted once:")
    terms = _terms(everyone[0].lake, flops_per_s, price_per_gpu_hour)
    found = forecast_of_all(everyone, mean_steps(runs_for(everyone[0].lake)))
    _say_plan(found, terms, as_json=as_json)


def _terms(lake: Lake, flops_per_s: float | None, price_per_gpu_hour: float | None) -> tables.Terms:
    rate = Rate(flops_per_s, {}) if flops_per_s else measured_rate(runs_for(lake))
    return tables.Terms(rate, price_per_gpu_hour)


def _say_plan(found: Forecast, terms: tables.Terms, *, as_json: bool) -> None:
    print(tables.plan_json(found, terms)) if as_json else show(tables.plan_table(found, terms))


@partial(for_each_job, together=_plan_of_all)
def _plan_of_one(
    job: Path,
    sets: Sequence[str] | None = None,
    *,
    flops_per_s: float | None,
    price_per_gpu_hour: float | None,
    as_json: bool,
) -> None:
    found = inspected_for(read_job(job, sets or ()))
    terms = _terms(found.lake, flops_per_s, price_per_gpu_hour)
    _say_plan(forecast(found, mean_steps(runs_for(found.lake))), terms, as_json=as_json)


def plan(
    jobs: JobFiles,
    sets: Overrides = None,
    *,
    flops_per_s: FlopsPerS = None,
    price_per_gpu_hour: Price = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run would do and cost, without doing it.

    Hours are at the rate that is given, or else at what earlier runs in the same lake achieved. Of
    several jobs each is planned as if it were run alone, and last all together.

    Example: stir-ray plan jobs/digits.yaml --flops-per-s 60e12 --price-per-gpu-hour 2.5
    """
    _plan_of_one(
        jobs,
        sets=sets,
        flops_per_s=flops_per_s,
        price_per_gpu_hour=price_per_gpu_hour,
        as_json=as_json,
    )


@for_each_job
def status(job: JobFile, sets: Overrides = None, *, as_json: AsJson = False) -> None:
    """Say how far a job is, what it took and what failed, from its lake alone.

    Example: stir-ray status jobs/digits.yaml
    """
    known = begun(job, sets)
    found = status_of(known)
    failed = failed_tasks(missing_tasks(known.asked, known.lake), known.lake)
    if as_json:
        print(status_json(found, failed))
        return
    show(status_table(found))
    for line in summary.of_failures(failed):
        print(line)


@for_each_job
def reduce(job: JobFile, sets: Overrides = None) -> None:
    """Make the results from the parts that are there.

    Example: stir-ray reduce jobs/digits.yaml
    """
    known = begun(job, sets)
    print(summary.of_results(known.job, reduce_job(known.asked, known.study, known.lake)))


def schema() -> None:
    """Print the JSON Schema of a job file, for editors.

    Example: stir-ray schema > jobs/schema.json
    """
    print(schema_text(), end="")
