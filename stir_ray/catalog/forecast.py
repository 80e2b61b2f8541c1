"""What a run would do now: tasks by stage, done and to do, and what the latter cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stir_ray.catalog.inspection import InspectedJob
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.plan.checkpoints import PRETRAINED, kind_of
from stir_ray.plan.cost import Cost, CostSum, WorkloadSize
from stir_ray.plan.models import architecture_of
from stir_ray.plan.preparation import Train
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import deduplicate_by_job, is_done
from stir_ray.worker.study_reader import model_cards, trainings

_TABLES = {
    "train": "trainings",
    "invert": "inversions",
    "compare": "comparisons",
    "evaluate": "accuracies",
}
"""By stage, a table that every task writes to: while it is empty, no task is done."""


@dataclass(frozen=True)
class StageForecast:
    """A stage: its tasks, and the cost of those that are to do.

    Attributes:
        stage: its name.
        planned: number of tasks.
        done: of them.
        remaining: cost if every inversion takes all its steps.
        expected: cost if inversions take as many steps as those of earlier runs on average.
    """

    stage: str
    planned: int
    done: int
    remaining: Cost
    expected: Cost


@dataclass(frozen=True)
class Forecast:
    """All stages of one job or several.

    Attributes:
        stages: in the order in which they run.
        steps: expected of an inversion; None if no earlier run tells.
    """

    stages: Sequence[StageForecast]
    steps: float | None = None

    @property
    def remaining(self) -> Cost:
        """Cost of all stages if every inversion takes all its steps."""
        return sum((stage.remaining for stage in self.stages), Cost())


def forecast(*jobs: InspectedJob, steps: float | None = None) -> Forecast:
    """Return what a run of these jobs would do; what they share counts once.

    It holds no tasks, and makes no ids where nothing is stored.

    Args:
        *jobs: on one lake.
        steps: that inversions are expected to take; all of them for None.
    """
    stored = StoredIds(jobs[0].lake)
    sizes = [_size_with_trainings(job, stored) for job in jobs]
    tasks_of_jobs = [dict(job.stages()) for job in jobs]
    stages = []
    # Not every job has every stage; they come in one order in all of them.
    for stage in dict.fromkeys(stage for tasks in tasks_of_jobs for stage in tasks):
        planned, to_do, remaining, expected = 0, 0, Cost(), Cost()
        is_started = stage not in _TABLES or bool(stored[_TABLES[stage]])
        by_job = deduplicate_by_job(tasks.get(stage, ()) for tasks in tasks_of_jobs)
        for size, tasks in zip(sizes, by_job, strict=True):
            costs = CostSum()
            for task in tasks:
                planned += 1
                if not (is_started and is_done(task, stored)):
                    to_do += 1
                    costs.add(task)
            remaining += costs.total(size)
            expected += costs.total(size, steps)
        stages.append(StageForecast(stage, planned, planned - to_do, remaining, expected))
    return Forecast(stages, steps)


def _size_with_trainings(job: InspectedJob, stored: StoredIds) -> WorkloadSize:
    tasks = [
        task
        for task in trainings(job.resolved, job.inspections)
        if task.id not in stored["trainings"]
    ]
    train, test = (
        {task.id: _count(task, split, job.lake) for task in tasks} for split in ("train", "test")
    )
    return workload_size(job.resolved, job.inspections, train_images=train, test_images=test)


def _count(task: Train, split: Literal["train", "test"], lake: Lake) -> int:
    # Inside the function: only a plan that still has to train needs the dataset, and torch.
    from stir_ray.datasets.lake_dataset import count_images

    return count_images(task.data, split, lake)


def workload_size(
    resolved: ResolvedJob,
    inspections: Lake,
    *,
    train_images: Mapping[str, int] | None = None,
    test_images: Mapping[str, int] | None = None,
) -> WorkloadSize:
    """Return the sizes that the costs of a job depend on.

    Args:
        resolved: a job whose models are inspected.
        inspections: of its models.
        train_images: by the training's id; without them trainings cost no operations.
        test_images: the same of those that every epoch is tested on.

    Raises:
        FileNotFoundError: if a model is not inspected.
        CorruptArtifact: if its inspection is damaged.
    """
    sizes = {
        kind_of(architecture_of(resolved.job, role)): replace(
            _size_of_model(resolved, card),
            training_images=train_images or {},
            test_images=test_images or {},
        )
        for role, card in model_cards(resolved, inspections).items()
    }
    pretrained = sizes.pop(kind_of(architecture_of(resolved.job, PRETRAINED)))
    return replace(pretrained, others=sizes)


def _size_of_model(resolved: ResolvedJob, card: Mapping[str, Any]) -> WorkloadSize:
    is_whole = resolved.job.representation == "tokens"
    tokens = card["tokens"] if is_whole else [1] * card["depth"]
    return WorkloadSize(
        flops=card["flops"],
        gradient_flops=card["gradient_flops"],
        units=[count * units for count, units in zip(tokens, card["token_units"], strict=True)],
        images=resolved.job.images.count,
        pixels=card["channels"] * card["height"] * card["width"],
        parameters=card["parameters"],
    )
