"""What a job needs before it can be measured: inspections and trainings."""

from collections.abc import Callable, Iterator

from stir_ray.job import (
    Architecture,
    CheckpointFinetuning,
    CheckpointModel,
    Data,
    Job,
    TrainedFinetuning,
    TrainedModel,
    Training,
)
from stir_ray.plan.tasks import (
    FINETUNED,
    FROM_SCRATCH,
    PRETRAINED,
    Checkpoint,
    GatherImages,
    InspectModel,
    Train,
)


def architecture_of(job: Job) -> Architecture:
    """The architecture that all models of the job share."""
    source = job.pretrained
    if isinstance(source, TrainedModel | CheckpointModel):
        return source.architecture
    return Architecture(timm=source.timm)


def inspections(job: Job, version: Callable[[str], str]) -> Iterator[GatherImages | InspectModel]:
    """What must be known before anything is planned.

    Args:
        job: the job.
        version: of a file, by path or URL; changes when the file does.
    """
    yield GatherImages(job.data, job.images)
    yield inspect_pretrained(job, version)
    if isinstance(job.finetuned, CheckpointFinetuning):
        yield from inspect_finetuned(job, job.finetuned, version)


def inspect_pretrained(job: Job, version: Callable[[str], str]) -> InspectModel:
    """The inspection of the pretrained model."""
    source, architecture = job.pretrained, architecture_of(job)
    if isinstance(source, CheckpointModel):
        weights = source.checkpoint
        return InspectModel(PRETRAINED, architecture, weights, version(weights))
    weights = "" if isinstance(source, TrainedModel) else f"timm:{source.timm}"
    return InspectModel(PRETRAINED, architecture, weights)


def inspect_finetuned(
    job: Job, source: CheckpointFinetuning, version: Callable[[str], str]
) -> Iterator[InspectModel]:
    """The inspections of a finetuning that exists already, in epoch order."""
    for epoch in source.epochs:
        path = source.checkpoints.replace("{epoch}", str(epoch))
        name = f"{FINETUNED} epoch {epoch}"
        yield InspectModel(name, architecture_of(job), path, version(path))


def independent_trainings(job: Job) -> Iterator[Train]:
    """Trainings that start from random weights."""
    architecture = architecture_of(job)
    if isinstance(job.pretrained, TrainedModel):
        yield Train(
            PRETRAINED, architecture, job.pretrained.train, _data(job.pretrained.train, job)
        )
    if job.from_scratch is not None:
        yield Train(
            FROM_SCRATCH, architecture, job.from_scratch.train, _data(job.from_scratch.train, job)
        )


def finetunings(job: Job, pretrained: Checkpoint) -> Iterator[Train]:
    """Trainings that start from the pretrained model."""
    if isinstance(job.finetuned, TrainedFinetuning):
        training = job.finetuned.train
        data = _data(training, job)
        yield Train(FINETUNED, architecture_of(job), training, data, start=pretrained)


def _data(training: Training, job: Job) -> Data:
    return training.data or job.data
