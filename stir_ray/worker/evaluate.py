"""Test a model on images as they are, and under every corruption at every severity."""

import math

import torch
from torch import Tensor

from stir_ray.datasets.corruptions.test_set import as_seen
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.losses import OBJECTIVES, LabelledImages
from stir_ray.plan.model_tasks import Evaluate
from stir_ray.worker.context import WorkerContext


def evaluate_model(task: Evaluate, ctx: WorkerContext) -> None:
    """Store accuracy and loss of a model in every condition, and which images are correct."""
    missing = ctx.missing(task)
    if not missing:
        return
    ctx.metrics.set(whole=1.0)
    model = ctx.models.whole(task.model, task.objective)
    test_set, conditions = ctx.test_set(task.test), task.test.settings.conditions
    by_condition = {
        condition: _evaluate(task, model, images, ctx)
        for condition, images in test_set.each(conditions)
    }
    results = [by_condition[condition] for condition in conditions]
    keys = {
        "checkpoint": task.model.content,
        "corruption": [condition.corruption for condition in conditions],
        "severity": [condition.severity for condition in conditions],
    }
    accuracies, *answers = task.outputs
    if accuracies in missing:
        columns = {
            **keys,
            "weights": task.model.weights,
            "images": len(test_set.ids),
            "accuracy": [float(correct.mean()) for correct, _ in results],
            "loss": [loss for _, loss in results],
            "source": [condition.source for condition in conditions],
        }
        ctx.write(accuracies, columns)
    for artifact in answers:
        if artifact in missing:
            correct = [correct.bool().tolist() for correct, _ in results]
            ctx.write(artifact, {**keys, "test_set": task.test.id, "right": correct})


def _evaluate(
    task: Evaluate, model: FrozenModel, images: Tensor, ctx: WorkerContext
) -> tuple[Tensor, float]:
    """Return 1 per correct image, NaN if none can be, and the mean loss."""
    objective = OBJECTIVES[task.objective]
    test_set = ctx.test_set(task.test)
    labels = test_set.raw.labels

    def measure(rows: slice) -> tuple[Tensor, Tensor]:
        pixels = as_seen(images[rows].to(ctx.device), test_set.size)
        batch = LabelledImages(pixels, labels[rows].to(ctx.device))
        with torch.no_grad():
            losses, correct = objective.measure(model, batch)
        return losses, losses * math.nan if correct is None else correct

    example = as_seen(images[:1].to(ctx.device), test_set.size)
    slices = ctx.microbatches(model, example).map_slices(len(images), measure)
    losses, correct = (torch.cat(column).float() for column in zip(*slices, strict=True))
    return correct, float(losses.mean())
