"""What runs a job's tasks."""

from functools import partial

from stir_ray.execution.executor import Executor, SerialExecutor
from stir_ray.execution.pool import Pool
from stir_ray.job import Job
from stir_ray.lake.objects import Objects
from stir_ray.stages.work import WorkerSettings, make_worker


def executor_for(job: Job, *, serial: bool) -> Executor:
    """This process alone, or Ray: on the cluster it is started in, or on this machine."""
    wanted = job.execution
    # Workers may have another working directory, so they get the lake's full path.
    lake = Objects(job.lake).url
    settings = WorkerSettings(lake, job.name, wanted.batch_size, wanted.storage_patience_s)
    worker = partial(make_worker, settings)
    if serial:
        return SerialExecutor(worker, threads=wanted.threads_per_worker)
    from stir_ray.execution.ray_executor import RayExecutor

    pool = Pool(wanted.workers, wanted.threads_per_worker, wanted.gpus_per_worker)
    return RayExecutor(worker, pool, time_limit=lambda task: wanted.time_limits_s.of(task.stage))
