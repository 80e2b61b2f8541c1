"""The function that executors are given: a worker, built once and called with task after task."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stir_ray.execution.executor import Attempt, Metrics, TaskFunction
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.model_tasks import CollectImages, Evaluate, InspectModel, SelectTestImages, Train
from stir_ray.plan.tasks import Task, task_id
from stir_ray.worker.logs import begin_logging, log_context

if TYPE_CHECKING:
    from stir_ray.worker.context import WorkerContext

_ID_DIGITS = 12
"""Of a task's id, as `stir-ray retry --task` takes them."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSettings:
    """Settings shared by all workers of a run; small, and safe to pickle."""

    lake: str  # folder or URL
    job: str  # name, for the footers of artifacts
    batch_size: int | None  # images per forward pass at most; None for as many as should fit
    storage_retry_s: float  # for how long requests to a store are repeated
    cache_bytes: int = 0  # on each machine's disk, of a remote lake and of corrupted images
    gpu_share: float = 1.0  # of a GPU per worker, where there are GPUs; 0 for the CPU
    datasets: str = ""  # folder or URL of the lake of the datasets; empty for the same


def make_worker(settings: WorkerSettings, threads: int) -> TaskFunction:
    """Return a worker.

    Args:
        settings: shared by all workers of a run.
        threads: of torch on the CPU, whose results are bitwise reproducible at equal threads.
    """
    # Inside the function: the driver ships it, and only workers need torch and timm.
    from stir_ray.worker.context import WorkerContext

    return _Worker(WorkerContext(settings, threads))


def make_worker_process(settings: WorkerSettings, threads: int) -> TaskFunction:
    """Return a worker for a process of its own, which logs to its own standard error."""
    begin_logging()
    return make_worker(settings, threads)


class _Worker:
    def __init__(self, ctx: "WorkerContext") -> None:
        self._ctx, self.device = ctx, ctx.device_name

    def __call__(self, task: Task, attempt: Attempt) -> Metrics:
        with log_context(
            job=self._ctx.settings.job,
            stage=task.stage,
            task=task.label,
            task_id=task_id(task)[:_ID_DIGITS],
            attempt=attempt.number,
        ):
            _log.debug("task started")
            try:
                self._ctx.begin(task.label, attempt.number, out_of_memory=attempt.out_of_memory)
                _run(task, self._ctx)
                metrics = self._ctx.end()
            except Exception as error:
                _log.warning("attempt failed: %s", error, exc_info=True)
                raise
            _log.info("task done", extra={"metrics": metrics})
            return metrics


def _run(task: Task, ctx: "WorkerContext") -> None:
    from stir_ray.worker import compare, inspect, invert, train

    functions = {
        CollectImages: inspect.collect_images,
        SelectTestImages: inspect.select_test_images,
        InspectModel: inspect.inspect_model,
        Train: train.train_model,
        Invert: invert.invert_layer,
        Compare: compare.compare_models,
        Evaluate: inspect.evaluate_model,
    }
    functions[type(task)](task, ctx)
