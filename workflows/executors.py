"""Make the executor of a job, and the context in which its stages run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stir_ray.catalog.runs import RunRecorder
from stir_ray.catalog.stage_runner import Callbacks, StageRunner, TaskFilter
from stir_ray.execution.executor import Executor, SerialExecutor
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.report.progress import progress_callback
from stir_ray.worker.dispatch import make_worker, make_worker_process
from stir_ray.worker.settings import WorkerSettings


@contextmanager
def computing(
    job: Job, resolved: Sequence[ResolvedJob], lake: Lake, tasks: TaskFilter, *, serial: bool
) -> Iterator[StageRunner]:
    """Run stages on a lake; the run is recorded there, and its progress is shown.

    Args:
        job: or what several share.
        resolved: the jobs of the run.
        lake: of all of them.
        tasks: which of the missing tasks are executed.
        serial: in this process, without Ray.

    Raises:
        LakeError: if the lake cannot be used.
    """
    lake.objects.check()
    executor = executor_for(job, serial=serial)
    with executor, RunRecorder(resolved, lake, executor) as recorder:
        callbacks = Callbacks(progress_callback(executor), recorder)
        yield StageRunner(job, lake, executor, callbacks, tasks)


def executor_for(job: Job, *, serial: bool) -> Executor:
    """Return an executor in this process, or of Ray: on its cluster, or on this machine."""
    execution = job.execution
    # Workers may have another working directory, so they get the lake's full path.
    lake = ObjectStore(job.lake).url
    settings = WorkerSettings(
        lake,
        job.name,
        execution.batch_size,
        execution.storage_retry_s,
        cache_bytes=int(execution.cache_gb * 1e9),
        gpu_share=execution.gpus_per_worker,
    )
    if serial:
        worker = partial(make_worker, settings)
        return SerialExecutor(worker, threads=execution.threads_per_worker)
    # Inside the function: `--serial` does without Ray, which takes seconds to import.
    from stir_ray.execution.allocation import PoolSpec
    from stir_ray.execution.ray_executor import RayExecutor

    pool = PoolSpec(execution.workers, execution.threads_per_worker, execution.gpus_per_worker)
    limits, worker = execution.time_limits_s, partial(make_worker_process, settings)
    return RayExecutor(worker, pool, timeout_s=lambda task: limits.of(task.stage))
