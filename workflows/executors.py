"""What runs a job's tasks, and who watches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stir_ray.catalog.runs import RunRecorder
from stir_ray.catalog.stage_runner import Callback, Callbacks, Computation, Wanted
from stir_ray.execution.executor import Executor, SerialExecutor
from stir_ray.execution.task_attributes import TaskAttributes
from stir_ray.execution.worker_pool import Pool
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.plan.tasks import Task
from stir_ray.report import progress
from stir_ray.worker.dispatch import make_worker, make_worker_process
from stir_ray.worker.profile import Profile
from stir_ray.worker.settings import WorkerSettings


@contextmanager
def computing(
    job: Job, everyone: Sequence[ResolvedJob], lake: Lake, wanted: Wanted, *, serial: bool
) -> Iterator[tuple[Computation, Profile]]:
    """A run on a lake that answers, which is recorded there, shown, and profiled.

    Args:
        job: or what several share.
        everyone: the jobs of the run.
        lake: of all of them.
        wanted: which of the missing tasks are run.
        serial: in this process, without Ray.

    Raises:
        LakeError: if the lake cannot be used.
    """
    lake.objects.check()
    with executor_for(job, serial=serial) as executor, RunRecorder(everyone, lake, executor) as log:
        profile = Profile(lambda: executor.workers)
        watchers = Callbacks(watcher_for(executor), log, profile)
        yield Computation(job, lake, executor, watchers, wanted), profile


def executor_for(job: Job, *, serial: bool) -> Executor:
    """This process alone, or Ray: on the cluster it is started in, or on this machine."""
    wanted = job.execution
    # Workers may have another working directory, so they get the lake's full path.
    lake = ObjectStore(job.lake).url
    settings = WorkerSettings(
        lake,
        job.name,
        wanted.batch_size,
        wanted.storage_retry_s,
        cache_bytes=int(wanted.cache_gb * 1e9),
        gpu_share=wanted.gpus_per_worker,
    )
    if serial:
        worker = partial(make_worker, settings)
        return SerialExecutor(worker, threads=wanted.threads_per_worker)
    from stir_ray.execution.ray_executor import RayExecutor

    pool = Pool(wanted.workers, wanted.threads_per_worker, wanted.gpus_per_worker)
    worker = partial(make_worker_process, settings)
    limits = wanted.time_limits_s
    attributes = TaskAttributes[Task](
        lambda task: limits.of(task.stage),
        affinity=lambda task: task.locality_key,
        kind=lambda task: task.duration_group,
    )
    return RayExecutor(worker, pool, attributes)


def watcher_for(executor: Executor) -> Callback:
    """A person, and on Ray its metrics too."""
    shown = progress.watcher(executor)
    if isinstance(executor, SerialExecutor):
        return shown
    from stir_ray.execution.ray_metrics import RayMetrics

    return Callbacks(shown, RayMetrics(lambda: executor.status))
