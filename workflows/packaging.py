"""Collect what a cluster needs to run a job: code, job file, variables without secrets."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from fsspec.utils import get_protocol
from pydantic import BaseModel

import stir_ray
import workflows
from stir_ray.errors import InputError, JobError
from stir_ray.formatting import find_secret
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.job.loader import Grid

JOB_FILE = "job.yaml"
"""Its name in the folder that is sent."""
_PATH_KEYS = ("path", "root", "npy", "checkpoint", "checkpoints")
# These say which store a URL means. Credentials stay here: the cluster's machines have their own.
_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
# Ray gives a driver 3 seconds to end when its job is stopped.
_STOP_S = 30


def check_paths(job: Job, *, shared: bool) -> None:
    """Check that every path of a job means the same on all machines.

    `shared` says that the lake's absolute path is on a file system of all machines. Other paths
    need no option: a missing file ends the run at once, but a missing lake would be created on
    every machine.

    Raises:
        JobError: naming the path that does not.
    """
    if _is_local(job.lake) and not (shared and _is_absolute(job.lake)):
        raise JobError(
            f"`lake: {job.lake}` is on one machine, and a cluster's machines do not share it; use "
            "--set lake=s3://BUCKET/PREFIX, or pass --shared if an absolute path is on a file "
            "system that all of them share"
        )
    for key, path in _paths(job):
        if _is_local(path) and not _is_absolute(path):
            raise JobError(
                f"`{key}: {path}` is a path on this machine; give an absolute path that all "
                "machines of the cluster have, or the URL of a checkpoint"
            )


def _paths(value: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name in type(value).model_fields:
        inner = getattr(value, name)
        if isinstance(inner, BaseModel):
            yield from _paths(inner, f"{prefix}{name}.")
        elif name in _PATH_KEYS:
            yield f"{prefix}{name}", inner


def _is_local(path: str) -> bool:
    return get_protocol(path) in {"file", "local", "memory"}


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "file:///", "local:///"))


def pack(job_file: Mapping[str, Any], folder: Path) -> None:
    """Write the code, and the content of a job file with its overrides, to an empty folder."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "*.md")
    for package in (stir_ray, workflows):
        source = Path(package.__path__[0])
        shutil.copytree(source, folder / source.name, ignore=ignore)
    text = yaml.safe_dump(dict(job_file), sort_keys=False, allow_unicode=True)
    (folder / JOB_FILE).write_text(text, encoding="utf-8")


def command(*, finetune: bool) -> str:
    """Return the shell command that runs the whole job in such a folder, or its training alone."""
    return f"python -m workflows.{'finetune' if finetune else 'invariance'} {JOB_FILE}"


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that the driver and its workers need.

    Raises:
        InputError: if one of them holds a secret.
    """
    sent = {name: variables[name] for name in _VARIABLES if variables.get(name)}
    for name, value in sent.items():
        if secret := find_secret(value):
            raise InputError(
                f"{name}: contains {secret} and everyone who may see the job would see it; keep it "
                "in the environment or role of the cluster's machines"
            )
    return sent | {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S)}


def submission_id(grid: Grid) -> str:
    """Return a new id: the name of the file, 8 digits of its jobs, and 6 random ones."""
    jobs = [job.model_dump(mode="json") for job in grid.jobs]
    return f"{grid.name}-{content_id('submission', recipe=1, jobs=jobs)[:8]}-{secrets.token_hex(3)}"
