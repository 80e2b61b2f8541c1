"""The verb that sends a job to a cluster."""

import os
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from stir_ray.cli.arguments import JobFile, Overrides, job_arguments
from stir_ray.errors import InputError
from stir_ray.job.loader import read_content, read_jobs
from workflows import packaging
from workflows.entrypoint import INTERRUPTED

if TYPE_CHECKING:
    from stir_ray.execution.job_client import JobClient

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
    for each in grid.jobs:
        packaging.check_paths(each, shared=shared)
    variables = packaging.environment()
    if not address:
        raise InputError("no cluster: give --address http://HEAD:8265, or RAY_API_SERVER_ADDRESS")
    from stir_ray.execution.job_client import JobClient

    client, job_id = JobClient(address), packaging.submission_id(grid)
    with TemporaryDirectory(prefix="stir-ray-") as folder:
        packaging.pack(read_content(job, sets or ()), Path(folder))
        command = packaging.command(finetune=finetune)
        client.submit(job_id, command, Path(folder), variables)
    token = "RAY_AUTH_MODE=token " if os.environ.get("RAY_AUTH_MODE") == "token" else ""
    options = f"--address {shlex.quote(address)} {job_id}"
    print(f"Submitted {job_id} to {address}")
    print(f"  follow: {token}ray job logs --follow {options}")
    print(f"  stop:   {token}ray job stop {options}")
    print(f"  status: stir-ray status {shlex.join(job_arguments(job, sets))}", flush=True)
    if wait:
        raise typer.Exit(_follow(job_id, client))


def _follow(job_id: str, client: "JobClient") -> int:
    """Show the log of a job; return its exit code."""
    try:
        ended = client.follow(job_id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"stir-ray: no longer waiting; job {job_id} goes on", file=sys.stderr)
        return INTERRUPTED
    if ended.code:
        reason = f" ({ended.reason})" if ended.reason else ""
        print(f"stir-ray: job {job_id} ended with exit code {ended.code}{reason}", file=sys.stderr)
    return ended.code
