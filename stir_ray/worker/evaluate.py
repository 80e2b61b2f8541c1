"""Test a model on images as they are, and under every corruption at every severity."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stir_ray.datasets.corruptions.test_set import CorruptedTestSet, as_seen
from stir_ray.job import Condition
from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import ACCURACIES, CORRECT
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.losses import OBJECTIVES, LabelledImages
from stir_ray.models.memory import footprint
from stir_ray.plan.robustness import Evaluate
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.phases import Phase


def evaluate_model(task: Evaluate, bench: WorkerContext) -> None:
    """Store accuracy and loss of a model in every condition, and what it gets right if asked."""
    missing = [part for part in task.outputs if not bench.is_stored(part)]
    if not missing:
        # Another job has done it since it was planned.
        bench.meter.note(found=1.0)
        return
    bench.meter.note(whole=1.0)
    model = bench.models.whole(task.model, task.objective)
    held_out, conditions = bench.held_out(task.test), task.test.conditions
    each = _each(held_out, conditions, bench)
    of = {one: _tested(task, model, images, bench) for one, images in each}
    found = [of[one] for one in conditions]
    shared = {
        "checkpoint": task.model.content,
        "corruption": [one.corruption for one in conditions],
        "severity": [one.severity for one in conditions],
    }
    accuracies, *answers = task.outputs
    if accuracies in missing:
        table = make_table(
            ACCURACIES,
            {
                **shared,
                "weights": task.model.weights,
                "images": len(held_out.ids),
                "accuracy": [float(right.mean()) for right, _ in found],
                "loss": [loss for _, loss in found],
                "source": [one.source for one in conditions],
            },
        )
        bench.write(accuracies, table)
    for part in answers:
        if part in missing:
            right = [of_one.bool().tolist() for of_one, _ in found]
            said = {**shared, "test_set": task.test.id, "right": right}
            bench.write(part, make_table(CORRECT, said))


def _each(
    held_out: CorruptedTestSet, conditions: Sequence[Condition], bench: WorkerContext
) -> Iterator[tuple[Condition, Tensor]]:
    """Every condition with the images in it."""
    each = held_out.each(conditions)
    while True:
        with bench.meter.spending(Phase.CORRUPT):
            one = next(each, None)
        if one is None:
            return
        yield one


def _tested(
    task: Evaluate, model: FrozenModel, images: Tensor, bench: WorkerContext
) -> tuple[Tensor, float]:
    """Per image 1 if it is right, NaN where there is no right and wrong, and mean loss."""
    objective = OBJECTIVES[task.objective]
    held_out = bench.held_out(task.test)
    labels = held_out.raw.labels

    def see(part: slice) -> tuple[Tensor, Tensor]:
        seen = as_seen(images[part].to(bench.device), held_out.size)
        batch = LabelledImages(seen, labels[part].to(bench.device))
        with torch.no_grad():
            output = objective.output(model, seen)
        losses = objective.losses(output, batch)
        return losses, objective.right(output, batch) if objective.right else losses * math.nan

    bench.expect(
        ("evaluate", task.model.architecture, task.objective, images.dtype, images.shape[1:]),
        len(images),
        lambda: footprint(lambda count: see(slice(count))),
    )
    with bench.meter.spending(Phase.LOOK):
        parts = bench.micro.each(len(images), see)
    losses, right = (torch.cat(several).float() for several in zip(*parts, strict=True))
    return right, float(losses.mean())
