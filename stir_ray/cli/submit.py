"""The verb that sends a job to a cluster."""

import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from stir_ray.cli.arguments import JobFile, Overrides, words_of
from stir_ray.errors import InputError
from stir_ray.job.loader import read_jobs, read_said
from workflows import packaging
from workflows.entrypoint import INTERRUPTED

if TYPE_CHECKING:
    from stir_ray.execution.ray_jobs import JobClient

Address = Annotated[
    str | None,
    typer.Option(
        envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
        help="Of the head node's dashboard: http://HEAD:8265.",
    ),
]


def submit(  # noqa: PLR0917 - typer makes an option of each
    job: JobFile,
    address: Address = None,
    sets: Overrides = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="All machines share the file system of the lake.")
    ] = False,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the models and nothing more.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show its log, and end as it ends.")] = False,
) -> None:
    """Send a job to a Ray cluster, which computes it without this machine.

    Code and job file go along; images, checkpoints and credentials must be where the cluster's
    machines find them. Submitting again resumes, as running again does.

    Example: stir-ray submit jobs/digits.yaml --address http://HEAD:8265 --set lake=s3://bucket/lake
    """
    grid = read_jobs(job, sets or ())
    for said in grid.jobs:
        packaging.check_places(said, shared=shared)
    along = packaging.environment()
    if not address:
        raise InputError("no cluster: give --address http://HEAD:8265, or RAY_API_SERVER_ADDRESS")
    from stir_ray.execution.ray_jobs import JobClient, Submission

    server, job_id = JobClient(address), packaging.new_id(grid)
    with TemporaryDirectory(prefix="stir-ray-") as folder:
        packaging.pack(read_said(job, sets or ()), Path(folder))
        command = packaging.command(finetune=finetune)
        server.submit(Submission(job_id, command, Path(folder), along))
    print(f"Submitted {job_id} to {address}")
    print(f"  follow: {_ray_job('logs --follow', job_id, server)}")
    print(f"  stop:   {_ray_job('stop', job_id, server)}")
    print(f"  status: stir-ray status {shlex.join(words_of(job, sets))}", flush=True)
    if wait:
        raise typer.Exit(_followed(job_id, server))


def _ray_job(verb: str, job_id: str, server: "JobClient") -> str:
    mode = "RAY_AUTH_MODE=token " if server.is_shown_a_token else ""
    return f"{mode}ray job {verb} --address {shlex.quote(server.address)} {job_id}"


def _followed(job_id: str, server: "JobClient") -> int:
    """Show the log of a job; its exit code."""
    try:
        ended = server.follow(job_id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"stir-ray: no longer waiting; job {job_id} goes on", file=sys.stderr)
        return INTERRUPTED
    if ended.code:
        why = f" ({ended.reason})" if ended.reason else ""
        print(f"stir-ray: job {job_id} ended with exit code {ended.code}{why}", file=sys.stderr)
    return ended.code
