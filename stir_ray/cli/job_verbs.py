"""Verbs that plan, compute, draw and analyse jobs."""

import os
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from typer import Argument, Exit, Option

from stir_ray.catalog.failures import FailureFilter
from stir_ray.catalog.inspection import InspectedJob, inspect, memory_lake, resolve
from stir_ray.catalog.runs import all_runs, last_throughput, mean_steps
from stir_ray.catalog.status import forecast
from stir_ray.cli.arguments import (
    Answer,
    AsJson,
    JobFile,
    JobFiles,
    Overrides,
    SelectedJob,
    Serial,
    job_words,
    select,
    show,
    show_each,
)
from stir_ray.errors import InputError
from stir_ray.job.loader import read_content, read_job, read_jobs, schema_text
from stir_ray.plan.tasks import Throughput
from stir_ray.report.text import plan_text
from workflows import packaging
from workflows.runtime import INTERRUPTED


def run(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Compute what is missing of a job, and draw it.

    Results, figures and the page follow. Running again resumes: what the lake holds is not computed
    twice.

    Example: stir-ray run jobs/digits.yaml --set seeds=[0]
    """
    from workflows import invariance

    invariance.program(read_jobs(job, sets or ()), serial=serial)


def retry(  # noqa: PLR0917 - typer makes an option of each
    job: JobFile,
    sets: Overrides = None,
    classes: Annotated[
        list[str] | None, Option("--class", help="Class of failure, e.g. out_of_memory.")
    ] = None,
    fingerprint: Annotated[list[str] | None, Option(help="As `failures` shows it.")] = None,
    epoch: Annotated[list[int] | None, Option(help="Epoch of the model.")] = None,
    seed: Annotated[list[int] | None, Option(help="Seed of the inversion.")] = None,
    layer: Annotated[list[int] | None, Option(help="Inverted layer.")] = None,
    task: Annotated[list[str] | None, Option(help="Id of the task, or how it begins.")] = None,
    serial: Serial = False,
) -> None:
    """Run failed tasks again, and what waited for them.

    Results and figures follow. Options choose among the failed tasks: one that is given twice takes
    either value, and different ones must all fit. What builds on a task that succeeds now is run
    too, chosen or not.

    Example: stir-ray retry jobs/digits.yaml --class out_of_memory --layer 11 --layer 12
    """
    from workflows import invariance

    criteria = FailureFilter(
        classes=frozenset(classes or ()),
        fingerprints=frozenset(fingerprint or ()),
        epochs=frozenset(epoch or ()),
        seeds=frozenset(seed or ()),
        layers=frozenset(layer or ()),
        tasks=frozenset(task or ()),
    )
    done = invariance.retry(read_job(job, sets or ()), criteria, serial=serial)
    if done is None:
        print("No task of this job failed; `stir-ray run` computes what is missing.")
        return
    failed, chosen, summary = done
    print(f"{chosen} of {failed} failed tasks chosen.", *summary.text(), sep="\n", flush=True)
    summary.require_complete()


def finetune(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Train the models of a job and nothing more.

    Example: stir-ray finetune jobs/digits.yaml
    """
    from workflows import finetune as training

    training.program(read_jobs(job, sets or ()), serial=serial)


def robustness(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Test every epoch on corrupted images.

    Trains what is not trained; computes nothing more.

    Example: stir-ray robustness jobs/digits.yaml --set robustness.corruptions=all
    """
    from workflows import robustness as evaluation

    evaluation.program(read_jobs(job, sets or ()), serial=serial)


def reduce(job: JobFile, sets: Overrides = None) -> None:
    """Make the results from what the lake holds.

    Example: stir-ray reduce jobs/digits.yaml
    """
    from stir_ray.report.summary import results_text
    from stir_ray.results.reduce import reduce_job

    def answer(selected: SelectedJob) -> Answer:
        started = selected.require_started()
        reduced = reduce_job(started.resolved, started.study, started.lake)
        return reduced, results_text(started.job, reduced)

    show_each(select(job, sets=sets), answer)


def plan(
    jobs: JobFiles,
    sets: Overrides = None,
    *,
    flops_per_s: Annotated[
        float | None,
        Option(
            min=1, metavar="NUMBER", help="FLOP/s of one GPU, e.g. 60e12; default: of earlier runs."
        ),
    ] = None,
    price_per_gpu_hour: Annotated[
        float | None, Option(min=0, metavar="MONEY", help="Price of one GPU-hour, any currency.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do and cost, without doing it.

    Hours are at the rate that is given, or else at what earlier runs in the same lake achieved. Of
    several jobs each is planned as if it were run alone, and last all together.

    Example: stir-ray plan jobs/digits.yaml --flops-per-s 60e12 --price-per-gpu-hour 2.5
    """
    selected = select(*jobs, sets=sets)
    runs = all_runs(selected[0].lake)
    rate = Throughput(flops_per_s) if flops_per_s else last_throughput(runs)
    steps, memory, planned = mean_steps(runs), memory_lake(), list[InspectedJob]()

    def priced(*inspected: InspectedJob) -> Answer:
        value = forecast(*inspected, steps=steps, rate=rate, price_per_gpu_hour=price_per_gpu_hour)
        return value, plan_text(value)

    def answer(selected: SelectedJob) -> Answer:
        planned.append(inspect(resolve(selected.job), selected.lake, memory))
        return priced(planned[-1])

    show_each(selected, answer, as_json=as_json, total=lambda: priced(*planned))


def report(
    jobs: JobFiles,
    sets: Overrides = None,
    compare: Annotated[
        str | None,
        Option(
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
    from stir_ray.report.compare_jobs import differences_table, write_comparison
    from stir_ray.report.job_results import ReducedJob
    from stir_ray.report.reference_results import read_published
    from stir_ray.report.write_report import write_report
    from stir_ray.results.correlation_study import analyse_robustness
    from stir_ray.results.reduce import reduce_job

    published = read_published(compare) if compare else None
    drawn: list[ReducedJob] = []

    def answer(selected: SelectedJob) -> Answer:
        started = selected.require_started()
        reduced = reduce_job(started.resolved, started.study, started.lake)
        analyse_robustness(started.job, started.study, started.lake, reduced)
        job = ReducedJob(started.resolved, started.study, started.lake, reduced)
        written = write_report(job, published)
        if job.results is not None:
            drawn.append(job)
        return written, [written.page, written.figures]

    try:
        show_each(select(*jobs, sets=sets, one_lake=False), answer)
    finally:
        # Of those that can be drawn, although others cannot.
        if len(drawn) > 1:
            rows, files = write_comparison(
                drawn,
                read_jobs(jobs[0], sets or ()).name,
                is_one_file=len(set(jobs)) == 1,
                published=published,
            )
            show((rows, [differences_table(rows), *files]))


def analyse(  # noqa: PLR0917 - typer makes an option of each
    job: Annotated[Path | None, Argument(metavar="[JOB]", help="A job file.")] = None,
    sets: Overrides = None,
    dynamics: Annotated[
        str | None,
        Option(
            metavar="TABLE",
            help="Instead of a job, curves of your own (CSV or Parquet): epoch, layer, perhaps "
            "seed, and any of learning, forgetting, cka_divergence, subspace_similarity.",
        ),
    ] = None,
    accuracy: Annotated[
        str | None,
        Option(
            metavar="TABLE",
            help="Its accuracies: epoch, severity (0 is clean), accuracy, perhaps corruption.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        Option(metavar="FOLDER", help="Where to store the tables of curves of your own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Correlate changes of layers with accuracy over epochs.

    Tables hypotheses, correlations and learning_with_forgetting (Parquet) lie beside the results.

    Example: stir-ray analyse jobs/digits.yaml
    """
    from stir_ray.report import hypotheses

    if (job is None) == (dynamics is None) or (job and (accuracy or output)):
        raise InputError(
            "analyse: give a JOB file, or in its place --dynamics TABLE, and with that perhaps "
            "--accuracy TABLE and --output FOLDER"
        )
    if job is not None:
        show_each(
            select(job, sets=sets),
            lambda selected: hypotheses.analyse_started(selected.require_started()),
            as_json=as_json,
        )
    elif dynamics is not None:
        show(hypotheses.analyse_curves(dynamics, accuracy, output), as_json=as_json)


def submit(  # noqa: PLR0917 - typer makes an option of each
    job: JobFile,
    address: Annotated[
        str | None,
        Option(
            envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
            help="Of the head node's dashboard: http://HEAD:8265.",
        ),
    ] = None,
    sets: Overrides = None,
    shared: Annotated[
        bool, Option("--shared", help="All machines share the file system of the lake.")
    ] = False,
    finetune: Annotated[bool, Option("--finetune", help="Train the models, no more.")] = False,
    wait: Annotated[bool, Option("--wait", help="Show its log, and end as it ends.")] = False,
) -> None:
    """Send a job to a Ray cluster, which computes it without this machine.

    Code and job file go along; images, checkpoints and credentials must be where the cluster's
    machines find them. Submitting again resumes, as running again does.

    Example: stir-ray submit jobs/digits.yaml --address http://HEAD:8265 --set lake=s3://bucket/lake
    """
    grid = read_jobs(job, sets or ())
    for each in grid.jobs:
        packaging.check_paths(each, shared=shared)
    variables = packaging.environment()
    if not address:
        raise InputError("no cluster: give --address http://HEAD:8265, or RAY_API_SERVER_ADDRESS")
    from stir_ray.execution.job_client import JobClient

    client, job_id = JobClient(address), packaging.submission_id(grid)
    with TemporaryDirectory(prefix="stir-ray-") as folder:
        packaging.pack(read_content(job, sets or ()), Path(folder))
        client.submit(job_id, packaging.command(finetune=finetune), Path(folder), variables)
    token = "RAY_AUTH_MODE=token " if os.environ.get("RAY_AUTH_MODE") == "token" else ""
    options = f"--address {shlex.quote(address)} {job_id}"
    print(f"Submitted {job_id} to {address}")
    print(f"  follow: {token}ray job logs --follow {options}")
    print(f"  stop:   {token}ray job stop {options}")
    print(f"  status: stir-ray status {shlex.join(job_words(job, sets))}", flush=True)
    if not wait:
        return
    try:
        ended = client.follow(job_id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"stir-ray: no longer waiting; job {job_id} goes on", file=sys.stderr)
        raise Exit(INTERRUPTED) from None
    if ended.code:
        reason = f" ({ended.reason})" if ended.reason else ""
        print(f"stir-ray: job {job_id} ended with exit code {ended.code}{reason}", file=sys.stderr)
    raise Exit(ended.code)


def schema() -> None:
    """Print the JSON Schema of a job file, for editors.

    Example: stir-ray schema > jobs/schema.json
    """
    print(schema_text(), end="")
