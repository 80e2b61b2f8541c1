"""The measurements of a job whose models and images are known."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.plan.measurement import Compare, Invert, MeasurementSpec
from stir_ray.plan.tasks import Checkpoint, Role


@dataclass(frozen=True)
class Study:
    """A job whose models and images are known: everything needed to plan its measurements.

    Attributes:
        question: what is asked of every model.
        pretrained: the model that finetuning started from.
        compared: finetuned and from-scratch checkpoints, by role, in epoch order.
        seeds: one inversion each.
        keep: images kept per inversion of a compared model; None for all.
        turn: by how many places the pretrained model's inversions are turned round in the plan.
            Jobs that run at once and share them begin at different places: each finds what the
            other has done, where otherwise both would do the same at the same time.
    """

    spec: MeasurementSpec
    pretrained: Checkpoint
    compared: dict[Role, tuple[Checkpoint, ...]]
    seeds: tuple[int, ...]
    keep: int | None
    turn: int = 0

    @property
    def is_trained(self) -> bool:
        """Whether all of its models are trained."""
        return self.pretrained.is_trained and self.trained().compared.keys() == self.compared.keys()

    def trained(self) -> "Study":
        """The same without models whose training has not ended: it failed."""
        compared = {
            role: checkpoints
            for role, checkpoints in self.compared.items()
            if all(checkpoint.is_trained and checkpoint.is_stored for checkpoint in checkpoints)
        }
        return replace(self, compared=compared)

    def shared_layers(self, role: Role) -> tuple[int, ...]:
        """The layers that both a compared model and the pretrained one have."""
        of_compared = [self.spec.layers_of(checkpoint) for checkpoint in self.compared[role][:1]]
        of_both = (self.spec.layers_of(self.pretrained), *of_compared)
        return min(of_both, key=len)

    def inversions(self) -> Iterator[Invert]:
        """Every inversion once, those of the pretrained model first.

        A model looks at its own inversions, and the pretrained model at everyone's.
        """
        pretrained = self.pretrained
        shared = deque(self._of(pretrained, (pretrained,), None))
        shared.rotate(-self.turn)
        yield from shared
        for checkpoint in self._others(lambda checkpoint: checkpoint.weights):
            yield from self._of(checkpoint, (checkpoint, pretrained), self.keep)

    def comparisons(self) -> Iterator[Compare]:
        """Every compared checkpoint looks at the pretrained model's inversions.

        With the first seed also at subspaces, for which no seed is drawn.
        """
        pretrained = self.pretrained
        for checkpoint in self._others(self.spec.target_key):
            is_other = checkpoint.weights != pretrained.weights
            for seed in self.seeds:
                first = seed == self.seeds[0]
                yield Compare(self.spec, pretrained, checkpoint, seed, first and is_other)

    def _others(self, what: Callable[[Checkpoint], Hashable]) -> Iterator[Checkpoint]:
        """Compared checkpoints, one of those equal in `what`, and none equal to the pretrained one.

        Epoch 0 of a finetuning has the pretrained model's blocks, and shares the parts of those.
        """
        seen = {what(self.pretrained)}
        for checkpoint in (
            checkpoint for checkpoints in self.compared.values() for checkpoint in checkpoints
        ):
            if what(checkpoint) not in seen:
                seen.add(what(checkpoint))
                yield checkpoint

    def _of(
        self, reference: Checkpoint, targets: tuple[Checkpoint, ...], keep: int | None
    ) -> Iterator[Invert]:
        for seed in self.seeds:
            # Deepest first: the longest tasks of a checkpoint must not be its last.
            for layer in reversed(self.spec.layers_of(reference)):
                yield Invert(self.spec, reference, layer, seed, targets, keep)


def layers_of(job: Job, depths: Mapping[Role, int]) -> tuple[int, ...]:
    """The layers that a job asks about: all that any of its models has, or a list.

    Args:
        job: the job.
        depths: blocks of its models; one that is not there has as many as the pretrained one.

    Raises:
        JobError: if a layer of the list goes past the last block of a model.
    """
    if job.layers == "all":
        return tuple(range(1, max(depths.values()) + 1))
    fewest = min(depths.values())
    beyond = [layer for layer in job.layers if layer > fewest]
    if beyond:
        role = next(role for role, depth in depths.items() if depth == fewest)
        whose = f"the {role} model" if len(depths) > 1 else "the model"
        instead = ", or `all` that each model has" if len(depths) > 1 else ""
        raise JobError(
            f"`layers: {beyond[0]}` goes past the last block of {whose} ({fewest}); "
            f"use 1 to {fewest}{instead}"
        )
    return job.layers


def kept_images(job: Job) -> int | None:
    """Images kept of each finetuned inversion: a number, or None for all."""
    if isinstance(job.keep_images, str):
        return None if job.keep_images == "all" else 0
    return min(job.keep_images.sample, job.images.count)
