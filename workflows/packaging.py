"""What a cluster is sent to run a job: code, the job file, variables that are no secrets."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from fsspec.utils import get_protocol
from pydantic import BaseModel

import stir_ray
import workflows
from stir_ray.errors import InputError, JobError
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.job.grid import Grid
from stir_ray.redaction import secret_in

JOB_FILE = "job.yaml"
"""In the folder that is sent."""
_CODE: tuple[ModuleType, ...] = (stir_ray, workflows)
_PLACES = ("path", "checkpoint", "checkpoints")
"""Keys of a job file that say where something is read."""
_LOCAL = ("file", "local", "memory")
_ALONG = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
"""Which store a URL means. Credentials stay here: the cluster's machines have their own."""
_STOP_S = 30
"""For a driver to end by itself when its job is stopped; Ray gives 3 seconds."""


def check_places(job: Job, *, shared: bool) -> None:
    """See that all places of a job are the same on every machine.

    Args:
        job: to be sent.
        shared: whether the lake's absolute path is of a file system that all machines share. Of
            other paths nobody has to say so: one that is missing ends the run at once, but a lake
            would be made anew on every machine.

    Raises:
        JobError: naming a place that is not.
    """
    if get_protocol(job.lake) in _LOCAL and not (shared and _is_absolute(job.lake)):
        raise JobError(
            f"`lake: {job.lake}` is a place on one machine, and a cluster's machines have none in "
            "common; use --set lake=s3://BUCKET/PREFIX, or say by --shared that an absolute path "
            "is of a file system that all of them share"
        )
    for key, place in _places(job):
        if get_protocol(place) in _LOCAL and not _is_absolute(place):
            raise JobError(
                f"`{key}: {place}` is a place on this machine; give an absolute path that all "
                "machines of the cluster have, or the URL of a checkpoint"
            )


def pack(said: Mapping[str, Any], folder: Path) -> None:
    """Put what a driver needs into a folder: the code, and what the job file says.

    Lakes and caches that lie beside the code stay behind.

    Args:
        said: content of the job file, with nothing left to override.
        folder: an empty one.
    """
    for package in _CODE:
        source = Path(package.__file__ or "").parent
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(source, folder / source.name, ignore=ignore)
    text = yaml.safe_dump(dict(said), sort_keys=False, allow_unicode=True)
    (folder / JOB_FILE).write_text(text, encoding="utf-8")


def command(*, finetune: bool) -> str:
    """Of a shell in such a folder: everything of the job, or the training of its models alone."""
    return f"python -m workflows.{'finetune' if finetune else 'invariance'} {JOB_FILE}"


def environment(mine: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that the driver and its workers need, of those that are set here.

    Raises:
        InputError: if one of them holds a secret.
    """
    along = {name: mine[name] for name in _ALONG if mine.get(name)}
    for name, value in along.items():
        if secret := secret_in(value):
            raise InputError(
                f"{name}: {secret} stands in it, and whoever may see the job would see it; keep "
                "it in the environment or role of the cluster's machines"
            )
    return along | {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_S)}


def new_id(grid: Grid) -> str:
    """For one submission: the name of the file, 8 digits of its jobs, and 6 of its own."""
    jobs = [job.model_dump(mode="json") for job in grid.jobs]
    return f"{grid.name}-{content_id('submission', recipe=1, jobs=jobs)[:8]}-{secrets.token_hex(3)}"


def _places(value: BaseModel, above: str = "") -> Iterator[tuple[str, str]]:
    for name in type(value).model_fields:
        inner = getattr(value, name)
        if isinstance(inner, BaseModel):
            yield from _places(inner, f"{above}{name}.")
        elif name in _PLACES:
            yield f"{above}{name}", inner


def _is_absolute(place: str) -> bool:
    return place.startswith(("/", "file:///", "local:///"))
