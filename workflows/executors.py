"""What runs a job's tasks, and a driver by itself."""

import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from stir_ray.errors import StirRayError
from stir_ray.execution.executor import Executor, SerialExecutor
from stir_ray.execution.pool import Pool
from stir_ray.job import Job
from stir_ray.job.files import read_job
from stir_ray.lake.objects import Objects
from stir_ray.stages.work import WorkerSettings, make_worker


def as_program(run: Callable[[Job], object]) -> NoReturn:
    """Run a driver on the job file that the command line names, as a submitted job does."""
    try:
        run(read_job(sys.argv[1] if len(sys.argv) > 1 else "JOB", sys.argv[2:]))
    except StirRayError as error:
        print(f"stir-ray: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


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
