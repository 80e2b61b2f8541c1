"""The number and size of workers on given nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.execution.allocation import Node, PoolSpec

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
        (PoolSpec(), [{"memory": MUCH}], (1, 1, 1.0)),
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
