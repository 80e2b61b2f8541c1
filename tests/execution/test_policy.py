"""What an executor decides: retries by the class of a failure, workers by the given nodes."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import (
    CorruptArtifact,
    JobError,
    LakeError,
    MissingArtifact,
    StorageUnavailable,
)
from stir_ray.execution.executor import Node, PoolSpec
from stir_ray.execution.retry import (
    Failure,
    FailureClass,
    all_failed_alike,
    is_fatal_to_worker,
    retry_delay,
)


class OutOfMemoryError(RuntimeError):
    """Named as torch and Ray name theirs."""


class AcceleratorError(RuntimeError):
    """Named as torch names its own."""


class ReadTimeoutError(Exception):
    """Named as client libraries of the web name theirs."""


def raised(error: Exception) -> Failure:
    """Return the failure of an error that has a traceback."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001
        return Failure.from_exception(caught)


@pytest.mark.parametrize(
    ("error", "expected", "is_fatal"),
    [
        (JobError("x"), FailureClass.USER_ERROR, False),
        (LakeError("x"), FailureClass.USER_ERROR, False),
        (OutOfMemoryError("CUDA out of memory"), FailureClass.OUT_OF_MEMORY, False),
        (MemoryError(), FailureClass.OUT_OF_MEMORY, False),
        (RuntimeError("CUDA error: out of memory"), FailureClass.OUT_OF_MEMORY, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), FailureClass.OUT_OF_MEMORY, True),
        (AcceleratorError("CUDA error: an illegal access"), FailureClass.WORKER_LOST, True),
        (RuntimeError("CUDA error: unspecified launch failure"), FailureClass.WORKER_LOST, True),
        (AcceleratorError("CUDA error: device-side assert"), FailureClass.PERMANENT, True),
        (ConnectionResetError("x"), FailureClass.STORAGE, False),
        (StorageUnavailable("x"), FailureClass.STORAGE, False),
        (ReadTimeoutError("x"), FailureClass.STORAGE, False),
        (OSError(errno.EIO, "x"), FailureClass.STORAGE, False),
        (OSError(errno.ENOSPC, "x"), FailureClass.USER_ERROR, False),
        (OSError(errno.EDQUOT, "x"), FailureClass.USER_ERROR, False),
        (TimeoutError("x"), FailureClass.STORAGE, False),
        (PermissionError("x"), FailureClass.USER_ERROR, False),
        (MissingArtifact("x"), FailureClass.UPSTREAM_FAILED, False),
        (FileNotFoundError("x"), FailureClass.PERMANENT, False),
        (CorruptArtifact("x"), FailureClass.PERMANENT, False),
        (FloatingPointError("NaN"), FailureClass.PERMANENT, False),
    ],
)
def test_an_exception_has_its_class_and_may_be_fatal_to_its_process(
    error: Exception, expected: FailureClass, is_fatal: bool
) -> None:
    failed = raised(error)
    assert (failed.failure_class, is_fatal_to_worker(failed)) == (expected, is_fatal)


def test_failures_of_one_type_at_one_line_have_one_fingerprint() -> None:
    first, second = (raised(ValueError(text)) for text in ("layer 3", "layer 7"))
    assert first.fingerprint == second.fingerprint
    assert first.message != second.message
    assert raised(KeyError("layer 3")).fingerprint != first.fingerprint


def test_no_secret_of_a_url_is_stored() -> None:
    error = StorageUnavailable("lake s3://b: http://me:ab/hunter2@host:9000\nis away")
    error.__cause__ = ConnectionError("no answer from https://host/key?X-Amz-Signature=hunter2")
    failed = Failure.from_exception(error)
    assert "hunter2" not in failed.message + failed.traceback
    assert failed.message == "lake s3://b: http://…@host:9000 is away"
    assert "ConnectionError: no answer from https://host/key?" in failed.traceback
    assert "hunter2" not in str(Failure.from_worker_death(error))


def test_a_death_for_lack_of_memory_is_told_from_other_deaths() -> None:
    killed = Failure.from_worker_death(OutOfMemoryError("x"))
    assert killed.failure_class is FailureClass.OUT_OF_MEMORY
    died = Failure.from_worker_death(RuntimeError("It died.\n\tpid: 7\nMore about it"))
    assert died.failure_class is FailureClass.WORKER_LOST
    assert (died.message, "pid: 7" in died.traceback) == ("It died.", True)


def test_a_timeout_names_the_limit() -> None:
    late = Failure.timeout(90)
    assert (late.failure_class, "90 s" in late.message) == (FailureClass.TIMEOUT, True)


def failure(failure_class: FailureClass, fingerprint: str = "x") -> Failure:
    return Failure(failure_class, fingerprint, "message", "")


ATTEMPTS = {"worker_lost": 20, "storage": 3, "out_of_memory": 4, "timeout": 2}
"""As the documentation promises; of other classes one."""


@pytest.mark.parametrize("failure_class", FailureClass)
def test_every_class_has_its_number_of_attempts_at_growing_delays(
    failure_class: FailureClass,
) -> None:
    allowed = ATTEMPTS.get(failure_class, 1)
    *delays, last = (retry_delay([failure(failure_class)] * n) for n in range(1, allowed + 1))
    assert last is None
    waits = [delay for delay in delays if delay is not None]
    assert len(waits) == allowed - 1
    assert waits == sorted(waits)
    assert all(0 < delay <= 60 for delay in waits)


@given(st.lists(st.sampled_from(list(FailureClass))), st.sampled_from(list(FailureClass)))
def test_each_class_is_counted_by_itself(before: list[FailureClass], latest: FailureClass) -> None:
    failures = [failure(kind) for kind in [*before, latest]]
    same = [failed for failed in failures if failed.failure_class is latest]
    assert retry_delay(failures) == retry_delay(same)


A, B = (failure(FailureClass.PERMANENT, name) for name in "ab")
BLOCKED = failure(FailureClass.UPSTREAM_FAILED)


@pytest.mark.parametrize(
    ("first_results", "stops"),
    [
        ([], False),
        ([A, A], False),
        ([A, A, A], True),
        ([A, A, A, None], True),
        ([A, None, A, A, A], False),
        ([A, B, A, A], False),
        ([BLOCKED, BLOCKED, BLOCKED], False),
    ],
)
def test_a_stage_stops_only_if_its_first_tasks_all_fail_alike(
    first_results: list[Failure | None], stops: bool
) -> None:
    assert all_failed_alike(first_results, 3) is stops


MUCH = 2.0**40
GPU_NODE = {"CPU": 16.0, "GPU": 8.0, "memory": MUCH}


@pytest.mark.parametrize(
    ("spec", "nodes", "expected"),
    [
        (PoolSpec(), [{"CPU": 2.0, "memory": MUCH}], (2, 1, 0.0)),
        (PoolSpec(threads=3), [{"CPU": 7.0, "memory": MUCH}], (2, 3, 0.0)),
        (PoolSpec(workers=5), [{"CPU": 12.0, "memory": MUCH}], (5, 2, 0.0)),
        (PoolSpec(), [{"CPU": 64.0, "memory": 5 * 2.0**30}], (2, 32, 0.0)),
        (PoolSpec(), [GPU_NODE], (8, 2, 1.0)),
        (PoolSpec(gpus=0.5), [{"CPU": 16.0, "GPU": 2.0, "memory": MUCH}], (4, 4, 0.5)),
        (PoolSpec(gpus=0), [{"CPU": 4.0, "GPU": 2.0, "memory": MUCH}], (4, 1, 0.0)),
        # A head without GPU brings no worker, and its cores no threads.
        (PoolSpec(), [{"CPU": 40.0, "memory": MUCH}, GPU_NODE, GPU_NODE], (16, 2, 1.0)),
        # Two workers with 5 threads each would fit on neither node.
        (PoolSpec(workers=3), [{"CPU": 5.0}, {"CPU": 5.0}], (3, 2, 0.0)),
        # A quarter of a GPU is left over on each node.
        (PoolSpec(gpus=0.75), [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}], (2, 8, 0.75)),
        # A tenth is a tenth, and no worker gets the rest of two GPUs.
        (PoolSpec(gpus=0.1), [{"CPU": 40.0, "GPU": 1.0}], (10, 4, 0.1)),
        (PoolSpec(gpus=0.4), [{"CPU": 40.0, "GPU": 4.0}], (8, 5, 0.4)),
        (PoolSpec(), [], (1, 1, 0.0)),
    ],
)
def test_the_machines_are_divided_among_workers(
    spec: PoolSpec, nodes: list[Node], expected: tuple[int, int, float]
) -> None:
    assert spec.allocate(nodes) == expected


@pytest.mark.parametrize(
    ("spec", "nodes", "expected"),
    [
        # A head that runs no workers, before any other node is there.
        (PoolSpec(workers=5), [{"memory": MUCH}], (5, 1, 1.0)),
        (PoolSpec(gpus=0, workers=5), [{"memory": MUCH}], (5, 1, 0.0)),
        (PoolSpec(), [{"memory": MUCH}, GPU_NODE], (8, 2, 1.0)),
        (PoolSpec(), [{"CPU": 4.0, "memory": MUCH}], (4, 1, 0.0)),
    ],
)
def test_workers_request_gpus_from_a_cluster_without_machines(
    spec: PoolSpec, nodes: list[Node], expected: tuple[int, int, float]
) -> None:
    assert spec.allocate(nodes, on_cluster=True) == expected


NODES = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(1, 97), "GPU": st.integers(0, 8)}), min_size=1
)


@given(NODES, st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_workers_fit_if_their_number_is_not_given(nodes: list[Node], gpus: float) -> None:
    allocation = PoolSpec(gpus=gpus).allocate(nodes)
    assert allocation.workers <= max(1, allocation.capacity(nodes))
