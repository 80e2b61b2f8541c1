"""What a job needs before it can be measured: inspections and trainings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from stir_ray.errors import JobError
from stir_ray.job import (
    Architecture,
    CheckpointFinetuning,
    CheckpointModel,
    ComparedCheckpoint,
    Data,
    Digits,
    FromScratch,
    ImageFolder,
    InLake,
    Job,
    RandomModel,
    TimmModel,
    TrainedFinetuning,
    TrainedModel,
    Training,
)
from stir_ray.plan.checkpoints import FINETUNED, FROM_SCRATCH, PRETRAINED, RANDOM, Checkpoint, Role
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from stir_ray.plan.robustness import CorruptedTest, SelectTestImages

DATASET = "dataset:"
"""Begins what stands for a dataset in the lake among the files of a job."""
Version = Callable[[str], str]
"""Of a file or folder, by path or URL: what changes when its content does."""
Model = TrainedModel | CheckpointModel | ComparedCheckpoint | RandomModel | TimmModel
"""What a job says of a single model."""


def architecture_of(job: Job, role: Role = PRETRAINED) -> Architecture:
    """That of the model with a role in the job; of the pretrained one where none is given."""
    sources = {FINETUNED: job.finetuned, FROM_SCRATCH: job.from_scratch}
    given = sources.get(role) or job.pretrained
    of_finetuned = None if isinstance(given, TrainedFinetuning) else _said_of(given)
    return of_finetuned or architecture_of(job)


def _said_of(source: Model | CheckpointFinetuning | FromScratch) -> Architecture | None:
    # timm's name of weights is also one of what they are loaded into.
    return Architecture(timm=source.timm) if isinstance(source, TimmModel) else source.architecture


def other_architectures(job: Job) -> dict[Role, Architecture]:
    """Those of the compared models that differ from the pretrained model's."""
    roles: tuple[Role, ...] = (FINETUNED, FROM_SCRATCH)
    architectures: dict[Role, Architecture] = {role: architecture_of(job, role) for role in roles}
    common = architecture_of(job)
    return {role: other for role, other in architectures.items() if other != common}


def is_finetuned(job: Job) -> bool:
    """Whether the compared model began as the pretrained one, as far as a job can say.

    Checkpoints of the same architecture are taken for that: it is what they are given for. Random
    weights, and others that timm has, began elsewhere.
    """
    match job.finetuned:
        case TrainedFinetuning():
            return True
        case RandomModel() | TimmModel():
            return False
        case _:
            return _shape(architecture_of(job, FINETUNED)) == _shape(architecture_of(job))


def _shape(architecture: Architecture) -> tuple[str, Mapping[str, object]]:
    # What follows the dot names weights of timm's.
    return architecture.timm.partition(".")[0], architecture.arguments


def architectures_of(job: Job) -> tuple[Architecture, ...]:
    """All of the job, that of the pretrained model first."""
    return architecture_of(job), *other_architectures(job).values()


def inspections(
    job: Job, version: Version
) -> Iterator[CollectImages | SelectTestImages | InspectModel]:
    """What must be known before anything is planned.

    Args:
        job: the job.
        version: of a file or folder, by path or URL; changes when its content does.
    """
    yield gather_images(job, version)
    # Each dataset once: most models of a job are tested on the same.
    tests = (test for _, test in corrupted_tests(job, version))
    yield from (SelectTestImages(test) for test in dict.fromkeys(tests))
    compared = (task for _, task in inspect_finetuned(job, version))
    models = (inspect_pretrained(job, version), *compared, *inspect_from_scratch(job))
    # A model may stand on both sides; it goes by its first name.
    first: dict[str, InspectModel] = {}
    for task in models:
        first.setdefault(task.id, task)
    yield from first.values()


def gather_images(job: Job, version: Version) -> CollectImages:
    """The gathering of the images that are inverted."""
    return CollectImages(job.data, job.images, version_of(job.data, version))


def inspect_pretrained(job: Job, version: Version) -> InspectModel:
    """The inspection of the pretrained model."""
    return _inspect(PRETRAINED, job.pretrained, architecture_of(job), version)


def _inspect(
    name: str, source: Model, architecture: Architecture, version: Version
) -> InspectModel:
    match source:
        case TrainedModel():
            return InspectModel(name, architecture)
        case CheckpointModel() | ComparedCheckpoint():
            weights = source.checkpoint
            return InspectModel(name, architecture, weights, version(weights))
        case RandomModel():
            return InspectModel(name, architecture, f"{RANDOM}{source.random_init.seed}")
        case TimmModel():
            return InspectModel(name, architecture, f"timm:{source.timm}")


def inspect_finetuned(job: Job, version: Version) -> Iterator[tuple[int, InspectModel]]:
    """Epochs and inspections of a compared model that the job does not train, in epoch order.

    A single model is epoch 0: no training is known of it.
    """
    source, architecture = job.finetuned, architecture_of(job, FINETUNED)
    if isinstance(source, CheckpointFinetuning):
        for epoch in source.epochs:
            path = checkpoint_of_epoch(source, epoch)
            name = f"{FINETUNED} epoch {epoch}"
            yield epoch, InspectModel(name, architecture, path, version(path))
    elif not isinstance(source, TrainedFinetuning):
        yield 0, _inspect(FINETUNED, source, architecture, version)


def inspect_from_scratch(job: Job) -> Iterator[InspectModel]:
    """The inspection of an architecture that is trained from scratch alone."""
    if job.from_scratch and job.from_scratch.architecture:
        yield InspectModel(FROM_SCRATCH, job.from_scratch.architecture)


def inspect_other(role: Role, job: Job, version: Version) -> InspectModel:
    """An inspection that tells of the architecture of a compared model, if it is its own."""
    compared = (task for _, task in inspect_finetuned(job, version))
    return next(compared if role == FINETUNED else inspect_from_scratch(job))


def checkpoint_of_epoch(source: CheckpointFinetuning, epoch: int) -> str:
    """Path or URL of an epoch's checkpoint."""
    return source.checkpoints.replace("{epoch}", str(epoch))


def training_data(job: Job) -> Iterator[tuple[str, Data]]:
    """The dataset of every training of the job, by its place in the job file."""
    if isinstance(job.pretrained, TrainedModel):
        yield "pretrained.train.data", job.pretrained.train.data or job.data
    if isinstance(job.finetuned, TrainedFinetuning):
        yield "finetuned.train.data", job.finetuned.train.data or job.data
    if job.from_scratch:
        yield "from_scratch.train.data", job.from_scratch.train.data or job.data


def corrupted_tests(job: Job, version: Version) -> Iterator[tuple[Role, CorruptedTest]]:
    """What each model of a job is tested on; nothing if no robustness is asked for.

    That is the dataset whose classes the model knows. What was published is of the job's own
    dataset: of that alone there are such images.
    """
    if job.robustness is None:
        return
    folder = job.robustness.folder
    for role, data in known_datasets(job).items():
        if role == FINETUNED and folder and data != job.data:
            raise JobError(
                "`robustness.source`: published images are of `data`, and `finetuned.train.data` "
                "is another; use `regenerated`, or make them equal"
            )
        if folder is None or data == job.data:
            release = version(folder) if folder else ""
            yield role, CorruptedTest(data, job.robustness, version_of(data, version), release)


def known_datasets(job: Job) -> dict[Role, Data]:
    """The dataset whose classes a model knows, by role, of those that a job says it of.

    Whatever is compared is taken to know those of the job's own, unless it is trained on others.
    """
    of_role: dict[Role, Data | None] = {}
    if isinstance(job.pretrained, TrainedModel):
        of_role[PRETRAINED] = job.pretrained.train.data
    finetuned = job.finetuned
    of_role[FINETUNED] = finetuned.train.data if isinstance(finetuned, TrainedFinetuning) else None
    if job.from_scratch:
        of_role[FROM_SCRATCH] = job.from_scratch.train.data
    return {role: trained_on or job.data for role, trained_on in of_role.items()}


def independent_trainings(job: Job, version: Version) -> Iterator[Train]:
    """Trainings that start from random weights."""
    if isinstance(job.pretrained, TrainedModel):
        yield _training(PRETRAINED, job, job.pretrained.train, version)
    if job.from_scratch is not None:
        yield _training(FROM_SCRATCH, job, job.from_scratch.train, version)


def finetunings(job: Job, pretrained: Checkpoint, version: Version) -> Iterator[Train]:
    """Trainings that start from the pretrained model."""
    if isinstance(job.finetuned, TrainedFinetuning):
        yield replace(_training(FINETUNED, job, job.finetuned.train, version), start=pretrained)


def compared_epochs(job: Job, checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Those that the job asks for, of all checkpoints of a finetuning that it trains."""
    source = job.finetuned
    asked = source.epochs if isinstance(source, TrainedFinetuning) else "all"
    return tuple(
        checkpoint for checkpoint in checkpoints if asked == "all" or checkpoint.epoch in asked
    )


def _training(name: Role, job: Job, training: Training, version: Version) -> Train:
    data = training.data or job.data
    return Train(name, architecture_of(job, name), training, data, version_of(data, version))


def place_of(data: Data) -> str:
    """Where the files of a dataset lie, or its name in the lake; empty if it has none."""
    match data:
        case Digits():
            return ""
        case ImageFolder():
            return data.path
        case InLake():
            return f"{DATASET}{data.name}"
        case _:
            return data.folder


def version_of(data: Data, version: Version) -> str:
    """Of the files that a dataset is made of; empty if there are none."""
    location = place_of(data)
    return version(location) if location else ""
