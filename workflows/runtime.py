"""The executor and the record of a run, and how errors end the process."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stir_ray.catalog.failures import RetryFailed
from stir_ray.catalog.runs import RunRecorder
from stir_ray.catalog.stage_runner import StageRunner
from stir_ray.errors import CorruptArtifact, SchemaMismatch, StirRayError
from stir_ray.execution.executor import Executor, SerialExecutor
from stir_ray.job import Job
from stir_ray.job.loader import Grid, read_jobs
from stir_ray.lake.parquet import Lake
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.worker.dispatch import WorkerSettings, make_worker, make_worker_process
from stir_ray.worker.logs import begin_logging
from workflows.progress import progress_callback

INTERRUPTED = 130
_REMEDIES = {
    SchemaMismatch: "; `stir-ray verify JOB` says what to do",
    CorruptArtifact: "; `stir-ray verify JOB --repair`, then run again",
}
"""Of errors that are raised deep in the lake, where the command is not known."""


def as_program(run: Callable[[Grid], object]) -> None:
    """Run a driver on the job file that the command line names, as a submitted job does."""
    interrupt_on_sigterm()
    begin_logging()
    with exit_on_error():
        run(read_jobs(sys.argv[1] if len(sys.argv) > 1 else "JOB", sys.argv[2:]))


def interrupt_on_sigterm() -> None:
    """Stop as cleanly as on Ctrl-C when a scheduler ends the job; call it before Ray starts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an error as one line, and end the process with its exit code.

    Raises:
        SystemExit: in place of an error of ours and of an interrupt.
    """
    try:
        yield
    except StirRayError as error:
        print(f"stir-ray: {error}{_REMEDIES.get(type(error), '')}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("stir-ray: interrupted; run again to go on", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def open_runner(
    job: Job,
    resolved: Sequence[ResolvedJob],
    lake: Lake,
    *,
    serial: bool,
    retry: RetryFailed | None = None,
) -> Iterator[StageRunner]:
    """Run stages on a lake; the run is recorded there, and its progress is shown.

    The job is what all resolved jobs share; `retry` selects which missing tasks are executed.

    Raises:
        LakeError: if the lake cannot be used.
    """
    lake.objects.check()
    with _executor(job, serial=serial) as executor, RunRecorder(resolved, lake, executor) as record:
        callbacks = progress_callback(executor), record
        yield StageRunner(job, lake, executor, callbacks, retry)


def _executor(job: Job, *, serial: bool) -> Executor:
    execution = job.execution
    settings = WorkerSettings(
        # The full path: workers may have another working directory.
        ObjectStore(job.lake).url,
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
    from stir_ray.execution.executor import PoolSpec
    from stir_ray.execution.ray_executor import RayExecutor

    pool = PoolSpec(execution.workers, execution.threads_per_worker, execution.gpus_per_worker)
    limits, worker = execution.time_limits_s, partial(make_worker_process, settings)
    return RayExecutor(worker, pool, timeout_s=lambda task: limits.of(task.stage))
