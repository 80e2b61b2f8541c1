"""A job together with the versions of the files that it reads.

With its lake that is all it takes to plan the job, even when the files themselves are gone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stir_ray.identity import content_id
from stir_ray.job import CheckpointFinetuning, CheckpointModel, ComparedCheckpoint, Job
from stir_ray.plan.models import checkpoint_of_epoch, place_of, training_data

_RECIPE = 2


@dataclass(frozen=True)
class ResolvedJob:
    """A job, and what its files were when it was resolved.

    Attributes:
        job: the job.
        versions: of every file and folder it reads, by path or URL.
    """

    job: Job
    versions: Mapping[str, str]

    def version(self, path: str) -> str:
        """Return the version of a file or folder of the job."""
        return self.versions[path]

    @property
    def canonical_spec(self) -> dict[str, Any]:
        """The job without its lake and its machines, which change no result."""
        return self.job.model_dump(mode="json", exclude={"lake", "execution"})

    @cached_property
    def id(self) -> str:
        """Equal for jobs of equal results."""
        content = {"job": self.canonical_spec, "versions": dict(self.versions)}
        return content_id("specs", recipe=_RECIPE, **content)


def files_of(job: Job) -> tuple[str, ...]:
    """Return paths and URLs of the files and folders that a job reads, each once."""
    return tuple(dict.fromkeys(_files(job)))


def _files(job: Job) -> Iterator[str]:
    if isinstance(job.pretrained, CheckpointModel):
        yield job.pretrained.checkpoint
    if isinstance(job.finetuned, CheckpointFinetuning):
        for epoch in job.finetuned.epochs:
            yield checkpoint_of_epoch(job.finetuned, epoch)
    if isinstance(job.finetuned, ComparedCheckpoint):
        yield job.finetuned.checkpoint
    for data in (job.data, *(data for _, data in training_data(job))):
        if location := place_of(data):
            yield location
    if job.robustness and job.robustness.folder:
        yield job.robustness.folder
