"""The command line: verbs. What they work on stands in a job file."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from stir_ray.errors import LakeError, StirRayError, TasksFailed
from stir_ray.job.files import read_job, schema_text
from stir_ray.lake.tables import open_lake
from stir_ray.report import summary, tables
from stir_ray.report.publish import write_figures
from stir_ray.stages import verify as verification
from stir_ray.stages.asked import look
from stir_ray.stages.forecast import (
    Inspected,
    forecast,
    inspected,
    known_to_lake,
    missing_tasks,
    progress,
)
from stir_ray.stages.reduce import reduce_job
from workflows import finetune as finetuning
from workflows import invariance

INTERRUPTED = 130


class Verbs(TyperGroup):
    """Errors of ours are one line and their own exit code, whatever the verb."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except StirRayError as error:
            print(f"stir-ray: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("stir-ray: interrupted; run again to go on", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What finetuning does to a vision transformer's invariances.",
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, e.g. jobs/digits.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=VALUE", help="Override a value of the job file; repeatable."
    ),
]
Serial = Annotated[
    bool, typer.Option("--serial", help="One task after the other in this process, without Ray.")
]


@app.command()
def run(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Compute what is missing of a job, then its matrices and figures.

    Running again resumes: what the lake holds is not computed twice.

    Example: stir-ray run jobs/digits.yaml --set seeds=[0]
    """
    said = read_job(job, sets or ())
    done = invariance.run(said, serial=serial)
    print(summary.of_tasks(done.tally.ran))
    print(summary.of_results(said, done.reduced))
    print(f"Figures: {done.figures}")
    done.nothing_missing()


@app.command()
def finetune(job: JobFile, sets: Overrides = None, serial: Serial = False) -> None:
    """Train the models of a job and nothing more.

    Example: stir-ray finetune jobs/digits.yaml
    """
    tally = finetuning.run(read_job(job, sets or ()), serial=serial)
    print(f"{tally.tasks} tasks ran, {len(tally.failures)} failed")
    if tally.failures:
        raise TasksFailed(f"{tally.failures[-1].message}; run again to retry")


@app.command()
def plan(
    job: JobFile,
    sets: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Say what a run would do and cost, without doing it.

    Example: stir-ray plan jobs/digits.yaml
    """
    said = read_job(job, sets or ())
    stages = forecast(inspected(look(said), open_lake(said.lake)))
    print(tables.plan_json(stages)) if as_json else Console().print(tables.plan_table(stages))


@app.command()
def status(job: JobFile, sets: Overrides = None) -> None:
    """Say how far a job is and what failed, from its lake alone.

    Example: stir-ray status jobs/digits.yaml
    """
    known = _begun(job, sets)
    Console().print(tables.status_table(progress(known)))
    everything = missing_tasks(known)
    for line in summary.of_failures(everything, known.lake):
        print(line)


@app.command()
def reduce(job: JobFile, sets: Overrides = None) -> None:
    """Make the results from the parts that are there.

    Example: stir-ray reduce jobs/digits.yaml
    """
    known = _begun(job, sets)
    print(summary.of_results(known.job, reduce_job(known.asked, known.study(), known.lake)))


@app.command()
def report(job: JobFile, sets: Overrides = None) -> None:
    """Draw the figures of the results that are there, and name their folder.

    Example: stir-ray report jobs/digits.yaml
    """
    known = _begun(job, sets)
    study = known.study()
    reduced = reduce_job(known.asked, study, known.lake)
    print(write_figures(known.job, study, known.lake, reduced))


@app.command()
def verify(
    job: JobFile,
    sets: Overrides = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is bad; the next run computes it again.")
    ] = False,
) -> None:
    """Read everything in a job's lake and report what is not as it was written.

    Example: stir-ray verify jobs/digits.yaml
    """
    lake = open_lake(read_job(job, sets or ()).lake)
    right, wrong = 0, []
    for seen in verification.verify(lake):
        if isinstance(seen, str):
            right += 1
            continue
        wrong.append(seen)
        removed = repair and seen.is_damage
        if removed:
            lake.objects.delete(seen.key)
        print(f"{seen.key}: {seen.problem}{' (removed)' if removed else ''}")
    damaged = sum(seen.is_damage for seen in wrong)
    foreign = len(wrong) - damaged
    print(f"{right} objects are right, {damaged} are damaged, {foreign} do not belong here")
    if damaged and not repair:
        raise TasksFailed("`stir-ray verify --repair` removes them; the next run computes them")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a job file, for editors.

    Example: stir-ray schema > jobs/schema.json
    """
    print(schema_text(), end="")


def _begun(path: Path, sets: list[str] | None) -> Inspected:
    """A job of which the lake knows models and images; needs neither torch nor the datasets."""
    job = read_job(path, sets or ())
    lake = open_lake(job.lake)
    known = known_to_lake(look(job), lake)
    if known is None:
        raise LakeError(
            f"lake {lake.objects.location()}: nothing of this job is there; "
            f"`stir-ray run {path}` first"
        )
    return known


def main() -> None:
    """Run a verb."""
    # A scheduler that ends a job sends SIGTERM; it stops as cleanly as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
