"""What a worker does with a task: the one function that executors are given."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stir_ray.execution.executor import Attempt, Metrics, TaskFunction
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from stir_ray.plan.robustness import Evaluate, SelectTestImages
from stir_ray.plan.tasks import Task, task_id
from stir_ray.worker.logs import begin_logging, doing
from stir_ray.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from stir_ray.worker.context import WorkerContext


_ID_DIGITS = 12
"""Of a task's id, as `stir-ray retry --task` takes them."""
_log = logging.getLogger(__name__)


def make_worker(settings: WorkerSettings, threads: int) -> TaskFunction[Task]:
    """A worker: built once in its process, then called with task after task.

    Args:
        settings: what all workers of a run share.
        threads: of torch on the CPU, whose results are bitwise reproducible at equal threads.
    """
    # Inside the function: the driver ships it, and only workers need torch and timm.
    from stir_ray.worker.context import WorkerContext

    return _Worker(WorkerContext(settings, threads))


def make_worker_process(settings: WorkerSettings, threads: int) -> TaskFunction[Task]:
    """As `make_worker`, in a process of its own, which logs to its own standard error."""
    begin_logging()
    return make_worker(settings, threads)


class _Worker:
    def __init__(self, bench: "WorkerContext") -> None:
        self._bench, self.device = bench, bench.device_name

    def __call__(self, task: Task, attempt: Attempt) -> Metrics:
        number = attempt.number
        with doing(
            job=self._bench.settings.job,
            stage=task.stage,
            task=task.label,
            task_id=task_id(task)[:_ID_DIGITS],
            attempt=number,
        ):
            _log.debug("task begun")
            try:
                self._bench.begin(task.label, number, out_of_memory=attempt.out_of_memory)
                _execute(task, self._bench)
                measures = self._bench.end()
            except Exception as error:
                _log.warning("attempt failed: %s", error, exc_info=True)
                raise
            _log.info("task done", extra={"measures": measures})
            return measures


def _execute(task: Task, bench: "WorkerContext") -> None:
    from stir_ray.worker.compare import compare_models
    from stir_ray.worker.evaluate import evaluate_model
    from stir_ray.worker.inspect import choose_images, gather_images, inspect_model
    from stir_ray.worker.invert import invert_layer
    from stir_ray.worker.train import train_model

    functions: dict[type[Task], Callable[[Any, WorkerContext], None]] = {
        CollectImages: gather_images,
        SelectTestImages: choose_images,
        InspectModel: inspect_model,
        Train: train_model,
        Invert: invert_layer,
        Compare: compare_models,
        Evaluate: evaluate_model,
    }
    functions[type(task)](task, bench)
