"""The measurements of a job whose models and images are known."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.plan.measurement import Compare, Invert, MeasurementSpec
from stir_ray.plan.tasks import Checkpoint, Role


@dataclass(frozen=True)
class Study:
    """A job whose models and images are known: everything needed to plan its measurements."""

    spec: MeasurementSpec
    pretrained: Checkpoint
    compared: dict[Role, tuple[Checkpoint, ...]]  # in epoch order
    seeds: tuple[int, ...]  # one inversion each
    keep: int | None  # images kept per inversion of a compared model; None for all
    # By how much the order of the pretrained model's inversions is rotated. Jobs that run at once
    # and share them begin at different places, so that each finds what the others have done.
    turn: int = 0

    @property
    def is_trained(self) -> bool:
        """Whether all of its models are trained."""
        return (
            self.pretrained.is_trained
            and self.without_untrained().compared.keys() == self.compared.keys()
        )

    def without_untrained(self) -> "Study":
        """Return the same without models whose training has not ended: it failed."""
        compared = {
            role: checkpoints
            for role, checkpoints in self.compared.items()
            if all(checkpoint.is_trained and checkpoint.is_stored for checkpoint in checkpoints)
        }
        return replace(self, compared=compared)

    def shared_layers(self, role: Role) -> tuple[int, ...]:
        """Return the layers that both a compared model and the pretrained one have."""
        models = self.pretrained, *self.compared[role][:1]
        return min((self.spec.layers_of(model) for model in models), key=len)

    def inversions(self) -> Iterator[Invert]:
        """Yield every inversion once, those of the pretrained model first.

        A model looks at its own inversions, and the pretrained model at those of all.
        """
        pretrained = self.pretrained
        turn = self.turn % (len(self.seeds) * len(self.spec.layers_of(pretrained)))
        # Twice from the start, so that no plan of a million tasks stands in memory.
        for start, stop in ((turn, None), (0, turn)):
            tasks = self._inversions_of(pretrained, (pretrained,), None)
            yield from islice(tasks, start, stop)
        for checkpoint in self._distinct(lambda checkpoint: checkpoint.weights):
            yield from self._inversions_of(checkpoint, (checkpoint, pretrained), self.keep)

    def comparisons(self) -> Iterator[Compare]:
        """Yield a task per seed and compared checkpoint, which sees the pretrained's inversions.

        Measures of a pair of models depend on no seed: they are computed with the first.
        """
        pretrained = self.pretrained
        for checkpoint in self._distinct(self.spec.target_key):
            is_other = checkpoint.weights != pretrained.weights
            for seed in self.seeds:
                first = seed == self.seeds[0]
                yield Compare(self.spec, pretrained, checkpoint, seed, first and is_other)

    def _distinct(self, key: Callable[[Checkpoint], Hashable]) -> Iterator[Checkpoint]:
        # Epoch 0 of a finetuning has the pretrained model's blocks, and shares its artifacts.
        distinct = {key(self.pretrained)}
        for checkpoint in chain.from_iterable(self.compared.values()):
            if key(checkpoint) not in distinct:
                distinct.add(key(checkpoint))
                yield checkpoint

    def _inversions_of(
        self, reference: Checkpoint, targets: tuple[Checkpoint, ...], keep: int | None
    ) -> Iterator[Invert]:
        for seed in self.seeds:
            # Deepest first: the longest tasks of a checkpoint must not be its last.
            for layer in reversed(self.spec.layers_of(reference)):
                yield Invert(self.spec, reference, layer, seed, targets, keep)


def layers_of(job: Job, depths: Mapping[Role, int]) -> tuple[int, ...]:
    """Return the layers that a job measures: all that any of its models has, or a list.

    Args:
        job: the job.
        depths: blocks of its models; a model that is not there has the pretrained one's.

    Raises:
        JobError: if a layer of the list goes past the last block of a model.
    """
    if job.layers == "all":
        return tuple(range(1, max(depths.values()) + 1))
    role = min(depths, key=lambda role: depths[role])
    fewest = depths[role]
    beyond = [layer for layer in job.layers if layer > fewest]
    if beyond:
        whose, instead = "the model", ""
        if len(depths) > 1:
            whose, instead = f"the {role} model", ", or `all` that each model has"
        raise JobError(
            f"`layers: {beyond[0]}` goes past the last block of {whose} ({fewest}); "
            f"use 1 to {fewest}{instead}"
        )
    return job.layers


def kept_images(job: Job) -> int | None:
    """Return the number of images kept of each finetuned inversion; None for all."""
    if isinstance(job.keep_images, str):
        return None if job.keep_images == "all" else 0
    return min(job.keep_images.sample, job.images.count)
