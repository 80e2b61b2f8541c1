"""What a person asked for: a job, and the versions of the files that it reads.

With its lake that is all it takes to plan the job, also when the files themselves are gone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stir_ray.identity import content_id
from stir_ray.job import (
    CheckpointFinetuning,
    CheckpointModel,
    ComparedCheckpoint,
    InversionChoice,
    Job,
)
from stir_ray.plan.models import checkpoint_of_epoch, place_of, training_data

_RECIPE = 1
_YOUNGER = ("robustness", "similarities", "predictions", "metamers", "half_samples")
"""Keys that ask for nothing unless they are given."""
_YOUNGER_OF_INVERSION = ("init", "parameterization", "regularizer")
"""Likewise, of `inversion`."""
_YOUNGER_OF_MODELS = {"architecture": None, "epochs": "all"}
"""Such keys of the compared models, and what they are if they are not given."""


@dataclass(frozen=True)
class ResolvedJob:
    """A job, and what its files were when it was asked for.

    Attributes:
        job: the job.
        versions: of every file and folder it reads, by path or URL.
    """

    job: Job
    versions: Mapping[str, str]

    def version(self, path: str) -> str:
        """Of a file or folder of the job."""
        return self.versions[path]

    @property
    def said(self) -> dict[str, Any]:
        """The job without its place and its machines, which are no part of what is asked."""
        said = self.job.model_dump(mode="json", exclude={"lake", "execution"})
        for key in _YOUNGER:
            if not said[key]:
                # As it was said before there was such a key: records of that time stay right.
                del said[key]
        usual = InversionChoice().model_dump(mode="json")
        for key in _YOUNGER_OF_INVERSION:
            if said["inversion"][key] == usual[key]:
                del said["inversion"][key]
        for model in (said["finetuned"], said["from_scratch"] or {}):
            for key, common in _YOUNGER_OF_MODELS.items():
                if key in model and model[key] == common:
                    del model[key]
        return said

    @cached_property
    def id(self) -> str:
        """Equal for equal wishes."""
        return content_id("asked", recipe=_RECIPE, job=self.said, versions=dict(self.versions))


def files_of(job: Job) -> tuple[str, ...]:
    """Paths and URLs of the files and folders that a job reads, each once."""
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
        if place := place_of(data):
            yield place
    if job.robustness and job.robustness.folder:
        yield job.robustness.folder
