"""What a worker does with a task: the one function that executors are given."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from stir_ray.execution.executor import Attempt
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.preparation import GatherImages, InspectModel, Train
from stir_ray.plan.tasks import Task

if TYPE_CHECKING:
    from stir_ray.stages.workbench import Workbench


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs to know besides its tasks; small, and safe to pickle.

    Attributes:
        lake: folder or URL.
        job: name, for provenance.
        batch_size: images per forward pass; None for all at once.
        storage_patience_s: for how long a store in trouble is asked again.
    """

    lake: str
    job: str
    batch_size: int | None
    storage_patience_s: float


def make_worker(settings: WorkerSettings, threads: int) -> Callable[[Task, Attempt], None]:
    """A worker: built once in its process, then called with task after task.

    Args:
        settings: what all workers of a run share.
        threads: of torch on the CPU; results are bitwise reproducible at equal threads.
    """
    # Inside the function: the driver ships it, and only workers need torch and timm.
    from stir_ray.stages.workbench import Workbench

    return partial(_work, Workbench(settings, threads))


def _work(bench: "Workbench", task: Task, attempt: Attempt) -> None:
    from stir_ray.stages.compare import compare_models
    from stir_ray.stages.inspect import gather_images, inspect_model
    from stir_ray.stages.invert import invert_layer
    from stir_ray.stages.train import train_model

    bench.begin(task.label, out_of_memory=attempt.out_of_memory)
    match task:
        case GatherImages():
            gather_images(task, bench)
        case InspectModel():
            inspect_model(task, bench)
        case Train():
            train_model(task, bench)
        case Invert():
            invert_layer(task, bench)
        case Compare():
            compare_models(task, bench)
    bench.end()
