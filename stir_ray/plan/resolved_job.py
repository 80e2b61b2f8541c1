"""A job together with the versions of the files that it reads: what it inspects and trains.

With its lake that is all it takes to plan the job, even when the files themselves are gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from stir_ray.errors import JobError
from stir_ray.identity import content_id
from stir_ray.job import (
    Architecture,
    CheckpointFinetuning,
    CheckpointModel,
    ComparedCheckpoint,
    Data,
    FromScratch,
    Job,
    RandomModel,
    TimmModel,
    TrainedFinetuning,
    TrainedModel,
    Training,
)
from stir_ray.plan.model_tasks import (
    CollectImages,
    CorruptedTest,
    InspectModel,
    SelectTestImages,
    Train,
)
from stir_ray.plan.tasks import FINETUNED, FROM_SCRATCH, PRETRAINED, RANDOM, Checkpoint, Role

_RECIPE = 2


def architecture_of(job: Job, role: Role = PRETRAINED) -> Architecture:
    """Return the architecture of a model of the job, by default of the pretrained one."""
    source = {FINETUNED: job.finetuned, FROM_SCRATCH: job.from_scratch}.get(role) or job.pretrained
    if isinstance(source, TimmModel):
        # timm's name of weights is also a name of what they are loaded into.
        return Architecture(timm=source.timm)
    return getattr(source, "architecture", None) or architecture_of(job)


def other_architectures(job: Job) -> dict[Role, Architecture]:
    """Return the architectures of compared models that differ from the pretrained model's."""
    roles: tuple[Role, ...] = (FINETUNED, FROM_SCRATCH)
    by_role: dict[Role, Architecture] = {role: architecture_of(job, role) for role in roles}
    return {role: other for role, other in by_role.items() if other != architecture_of(job)}


def is_finetuned(job: Job) -> bool:
    """Return whether the compared model began as the pretrained one, as far as a job can tell.

    Checkpoints of the same architecture are taken for that: it is what they are given for. Random
    weights, and others that timm has, began elsewhere.
    """
    if isinstance(job.finetuned, TrainedFinetuning | RandomModel | TimmModel):
        return isinstance(job.finetuned, TrainedFinetuning)
    # What follows the dot in a name of timm's names weights.
    (name, arguments), (other_name, other_arguments) = (
        (architecture.timm.partition(".")[0], architecture.arguments)
        for architecture in (architecture_of(job), architecture_of(job, FINETUNED))
    )
    return name == other_name and arguments == other_arguments


def compared_epochs(job: Job, checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Return those of the checkpoints of a finetuning by the job that are to be compared."""
    source = job.finetuned
    epochs = source.epochs if isinstance(source, TrainedFinetuning) else "all"
    return tuple(each for each in checkpoints if epochs == "all" or each.epoch in epochs)


def training_data(job: Job) -> dict[Role, Data]:
    """Return the dataset of every training of the job, by the role of the trained model."""
    return {role: training.data or job.data for role, training in _trainings(job).items()}


def known_datasets(job: Job) -> dict[Role, Data]:
    """Return the datasets whose classes models know, of those models whose classes are known.

    A compared model is taken to know the classes of the job's own data, unless it is trained on
    others.
    """
    trained_on = training_data(job)
    roles: tuple[Role, ...] = (PRETRAINED, FINETUNED, FROM_SCRATCH)
    return {
        role: trained_on.get(role, job.data)
        for role in roles
        if role in trained_on or role == FINETUNED
    }


def _trainings(job: Job) -> dict[Role, Training]:
    sources: dict[Role, object] = {
        PRETRAINED: job.pretrained,
        FINETUNED: job.finetuned,
        FROM_SCRATCH: job.from_scratch,
    }
    return {
        role: source.train
        for role, source in sources.items()
        if isinstance(source, TrainedModel | TrainedFinetuning | FromScratch)
    }


def files_of(job: Job) -> tuple[str, ...]:
    """Return paths and URLs of the files and folders that a job reads, each once."""
    paths = []
    for source in (job.pretrained, job.finetuned):
        if isinstance(source, CheckpointModel | ComparedCheckpoint):
            paths.append(source.checkpoint)
        elif isinstance(source, CheckpointFinetuning):
            paths += [source.checkpoint_of(epoch) for epoch in source.epochs]
    paths += [data.location for data in (job.data, *training_data(job).values())]
    paths.append(job.robustness.folder if job.robustness else None)
    return tuple(dict.fromkeys(path for path in paths if path))


@dataclass(frozen=True)
class ResolvedJob:
    """A job, and what its files were when it was resolved."""

    job: Job
    versions: Mapping[str, str]  # of every file and folder that it reads, by path or URL

    @property
    def canonical_spec(self) -> dict[str, Any]:
        """The job without its lake and its machines, which change no result."""
        return self.job.model_dump(mode="json", exclude={"lake", "execution"})

    @cached_property
    def id(self) -> str:
        """Equal for jobs of equal results."""
        content = {"job": self.canonical_spec, "versions": dict(self.versions)}
        return content_id("specs", recipe=_RECIPE, **content)

    def inspections(self) -> Iterator[CollectImages | SelectTestImages | InspectModel]:
        """Yield the tasks that must be done before anything else is planned."""
        yield self.collect_images
        # Each dataset once: most models of a job are tested on the same.
        tests = dict.fromkeys(test for _, test in self.corrupted_tests())
        yield from map(SelectTestImages, tests)
        models = [self.inspect_pretrained, *(task for _, task in self.inspect_finetuned())]
        if self.job.from_scratch and self.job.from_scratch.architecture:
            models.append(self.inspection_of(FROM_SCRATCH))
        # A model may stand on both sides; it goes by its first name.
        first: dict[str, InspectModel] = {}
        for task in models:
            first.setdefault(task.id, task)
        yield from first.values()

    @property
    def collect_images(self) -> CollectImages:
        """The collection of the images that are inverted."""
        return CollectImages(self.job.data, self.job.images, self._version_of(self.job.data))

    @property
    def inspect_pretrained(self) -> InspectModel:
        """The inspection of the pretrained model."""
        return self._inspect(PRETRAINED, self.job.pretrained, architecture_of(self.job))

    def inspect_finetuned(self) -> Iterator[tuple[int, InspectModel]]:
        """Yield epochs and inspections of a compared model that the job does not train.

        A single model is epoch 0: no training is known of it.
        """
        source, architecture = self.job.finetuned, architecture_of(self.job, FINETUNED)
        if isinstance(source, CheckpointFinetuning):
            for epoch in source.epochs:
                path = source.checkpoint_of(epoch)
                name = f"{FINETUNED} epoch {epoch}"
                yield epoch, InspectModel(name, architecture, path, self.versions[path])
        elif not isinstance(source, TrainedFinetuning):
            yield 0, self._inspect(FINETUNED, source, architecture)

    def inspection_of(self, role: Role) -> InspectModel:
        """Return an inspection of the architecture of a model, if it is a model's own."""
        if role == PRETRAINED:
            return self.inspect_pretrained
        if role == FROM_SCRATCH:
            return InspectModel(FROM_SCRATCH, architecture_of(self.job, FROM_SCRATCH))
        return next(task for _, task in self.inspect_finetuned())

    def corrupted_tests(self) -> Iterator[tuple[Role, CorruptedTest]]:
        """Yield the roles of models that are tested, and what on, if the job has `robustness`.

        A model is tested on the dataset whose classes it knows. Published corrupted images are of
        the job's own dataset alone.
        """
        job = self.job
        if job.robustness is None:
            return
        folder = job.robustness.folder
        for role, data in known_datasets(job).items():
            if role == FINETUNED and folder and data != job.data:
                raise JobError(
                    "`robustness.source`: published images are of `data`, and "
                    "`finetuned.train.data` is another; use `regenerated`, or make them equal"
                )
            if folder is None or data == job.data:
                release = self.versions[folder] if folder else ""
                yield role, CorruptedTest(data, job.robustness, self._version_of(data), release)

    def independent_trainings(self) -> Iterator[Train]:
        """Yield the trainings that start from random weights."""
        return (self._train(role) for role in _trainings(self.job) if role != FINETUNED)

    def finetunings(self, pretrained: Checkpoint) -> Iterator[Train]:
        """Yield the trainings that start from the pretrained model."""
        if FINETUNED in _trainings(self.job):
            yield replace(self._train(FINETUNED), start=pretrained)

    def _train(self, role: Role) -> Train:
        data, architecture = training_data(self.job)[role], architecture_of(self.job, role)
        training = _trainings(self.job)[role]
        return Train(role, architecture, training, data, self._version_of(data))

    def _inspect(
        self,
        name: str,
        source: TrainedModel | CheckpointModel | ComparedCheckpoint | RandomModel | TimmModel,
        architecture: Architecture,
    ) -> InspectModel:
        match source:
            case TrainedModel():
                return InspectModel(name, architecture)
            case CheckpointModel() | ComparedCheckpoint():
                weights = source.checkpoint
                return InspectModel(name, architecture, weights, self.versions[weights])
            case RandomModel():
                return InspectModel(name, architecture, f"{RANDOM}{source.random_init.seed}")
            case TimmModel():
                return InspectModel(name, architecture, f"timm:{source.timm}")

    def _version_of(self, data: Data) -> str:
        return self.versions[data.location] if data.location else ""
