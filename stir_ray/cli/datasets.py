"""Verbs about datasets."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from stir_ray.catalog.snapshots import lake_of
from stir_ray.errors import InputError
from stir_ray.job import InLake
from stir_ray.job.loader import read_jobs
from stir_ray.lake.parquet import Lake, open_lake

Source = Literal["cifar10", "cifar100", "pets", "eurosat", "folder"]


def import_data(
    source: Annotated[
        Source,
        typer.Argument(
            metavar="SOURCE",
            help="cifar10, cifar100, pets, eurosat or folder: <root>/<split>/<class>/<image>.",
        ),
    ],
    root: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Of the dataset; downloads are kept and unpacked there."
        ),
    ],
    lake: Annotated[str | None, typer.Option(help="Folder or URL to put it in.")] = None,
    job: Annotated[
        Path | None, typer.Option(help="A job file that names the lake, in place of --lake.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="In the lake; the word for the dataset if not given.")
    ] = None,
) -> None:
    """Put a dataset into the lake once, so that no other machine needs it or the internet.

    Public datasets are downloaded if they are not in FOLDER. Running again puts there only what
    is missing. A job then says `data: {source: lake, name: cifar10, size: 224}`.

    Example: stir-ray import-data cifar10 --root ./downloads --lake ./lake
    """
    # Inside the function: torchvision takes seconds to import, and no other verb needs it.
    from stir_ray.datasets.lake_dataset import dataset_to_import, import_dataset

    named, opened = _name(name or source), _opened(lake, job)
    opened.objects.check()
    done = import_dataset(dataset_to_import(source, str(root)), named, opened)
    counts = ", ".join(f"{count} {split}" for split, count in done.images.items())
    print(
        f"{named}: {counts} images; {done.stored} shards stored, {done.already_stored} were there."
    )


def _name(said: str) -> str:
    try:
        return InLake(source="lake", name=said, size=1).name
    except ValidationError:
        raise InputError(
            f"--name {said}: expected letters, digits and `._=-` after the first"
        ) from None


def _opened(lake: str | None, job: Path | None) -> Lake:
    if (lake is None) == (job is None):
        raise InputError("give the lake by `--lake`, or by a job file that names it: `--job`")
    return open_lake(lake) if lake else lake_of(read_jobs(job or "").shared)
