"""What runs a job's tasks, and who watches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stir_ray.execution.executor import Executor, SerialExecutor
from stir_ray.execution.nature import Nature
from stir_ray.execution.pool import Pool
from stir_ray.job import Job
from stir_ray.lake.objects import Objects
from stir_ray.lake.tables import Lake
from stir_ray.plan.asked import Asked
from stir_ray.plan.tasks import Task, affinity, kind
from stir_ray.report import progress
from stir_ray.stages.bench.profile import Profile
from stir_ray.stages.compute import Computation, Wanted, Watcher
from stir_ray.stages.ledger.runs import RunLog
from stir_ray.stages.watchers import Watchers
from stir_ray.stages.work import WorkerSettings, make_worker, make_worker_process


@contextmanager
def computing(
    job: Job, everyone: Sequence[Asked], lake: Lake, wanted: Wanted, *, serial: bool
) -> Iterator[tuple[Computation, Profile]]:
    """A run on a lake that answers, which is recorded there, shown, and profiled.

    Args:
        job: or what several share.
        everyone: the jobs of the run.
        lake: of all of them; what an earlier run on this machine could not store goes there first.
        wanted: which of the missing tasks are run.
        serial: in this process, without Ray.

    Raises:
        LakeError: if the lake cannot be used.
    """
    lake.objects.check()
    lake.objects.deliver()
    with executor_for(job, serial=serial) as executor, RunLog(everyone, lake, executor) as log:
        profile = Profile(lambda: executor.workers)
        watchers = Watchers(watcher_for(executor), log, profile)
        yield Computation(job, lake, executor, watchers, wanted), profile


def executor_for(job: Job, *, serial: bool) -> Executor:
    """This process alone, or Ray: on the cluster it is started in, or on this machine."""
    wanted = job.execution
    # Workers may have another working directory, so they get the lake's full path.
    lake = Objects(job.lake).url
    settings = WorkerSettings(
        lake,
        job.name,
        wanted.batch_size,
        wanted.storage_patience_s,
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
    nature = Nature[Task](lambda task: limits.of(task.stage), affinity=affinity, kind=kind)
    return RayExecutor(worker, pool, nature)


def watcher_for(executor: Executor) -> Watcher:
    """A person, and on Ray its metrics too."""
    shown = progress.watcher(executor)
    if isinstance(executor, SerialExecutor):
        return shown
    from stir_ray.execution.ray_metrics import RayMetrics

    return Watchers(shown, RayMetrics(lambda: executor.standing))
