"""Verbs that compute a job and show what is there."""

from rich.console import Console

from stir_ray.cli.arguments import AsJson, JobFile, Overrides, Serial, begun
from stir_ray.cli.points import for_each_job
from stir_ray.errors import TasksFailed
from stir_ray.job.files import read_job, read_jobs, schema_text
from stir_ray.plan.words import enumerated
from stir_ray.report import summary, tables
from stir_ray.report.publish import write_figures
from stir_ray.stages.asked import lake_of, look
from stir_ray.stages.failures import failed_tasks
from stir_ray.stages.forecast import forecast, inspected, missing_tasks, progress
from stir_ray.stages.reduce import reduce_job
from workflows import finetune as finetuning
from workflows import invariance


def run(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Compute what is missing of a job, then its matrices and figures.

    Running again resumes: what the lake holds is not computed twice.

    Example: stir-ray run jobs/digits.yaml --set seeds=[0]
    """
    grid = read_jobs(job, sets or ())
    done = invariance.run_all(grid, serial=serial)
    print(summary.of_tasks(done.tally.ran))
    for said in grid.jobs:
        of_job = done.of_jobs[said.name]
        if len(grid.jobs) > 1:
            print(summary.of_one_of_many(said, of_job.reduced))
        else:
            print(summary.of_results(said, of_job.reduced))
            print(f"Figures: {of_job.figures}")
    done.nothing_missing()


def finetune(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Train the models of a job and nothing more.

    Example: stir-ray finetune jobs/digits.yaml
    """
    grid = read_jobs(job, sets or ())
    done = finetuning.run_all(grid, serial=serial)
    print(f"{done.tally.tasks} tasks ran, {len(done.tally.failures)} failed")
    if done.tally.failures:
        untrained = f"{enumerated(done.untrained)}: " if len(grid.jobs) > 1 else ""
        raise TasksFailed(f"{untrained}{done.tally.failures[-1].message}; run again to retry")


@for_each_job
def plan(job: JobFile, sets: Overrides = None, as_json: AsJson = False) -> None:
    """Say what a run would do and cost, without doing it.

    Example: stir-ray plan jobs/digits.yaml
    """
    said = read_job(job, sets or ())
    stages = forecast(inspected(look(said), lake_of(said)))
    print(tables.plan_json(stages)) if as_json else Console().print(tables.plan_table(stages))


@for_each_job
def status(job: JobFile, sets: Overrides = None) -> None:
    """Say how far a job is and what failed, from its lake alone.

    Example: stir-ray status jobs/digits.yaml
    """
    known = begun(job, sets)
    Console().print(tables.status_table(progress(known)))
    failed = failed_tasks(missing_tasks(known.asked, known.lake), known.lake)
    for line in summary.of_failures(failed):
        print(line)


@for_each_job
def reduce(job: JobFile, sets: Overrides = None) -> None:
    """Make the results from the parts that are there.

    Example: stir-ray reduce jobs/digits.yaml
    """
    known = begun(job, sets)
    print(summary.of_results(known.job, reduce_job(known.asked, known.study, known.lake)))


@for_each_job
def report(job: JobFile, sets: Overrides = None) -> None:
    """Draw the figures of the results that are there, and name their folder.

    Example: stir-ray report jobs/digits.yaml
    """
    known = begun(job, sets)
    study = known.study
    reduced = reduce_job(known.asked, study, known.lake)
    print(write_figures(known.job, study, known.lake, reduced))


def schema() -> None:
    """Print the JSON Schema of a job file, for editors.

    Example: stir-ray schema > jobs/schema.json
    """
    print(schema_text(), end="")
