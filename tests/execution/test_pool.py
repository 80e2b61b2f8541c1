"""What a pool comes to on given nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.execution.worker_pool import Node, Pool

MUCH = 2.0**40
GPU_NODE = {"CPU": 16.0, "GPU": 8.0, "memory": MUCH}


@pytest.mark.parametrize(
    ("pool", "nodes", "expected"),
    [
        (Pool(), [{"CPU": 2.0, "memory": MUCH}], (2, 1, 0.0)),
        (Pool(threads=3), [{"CPU": 7.0, "memory": MUCH}], (2, 3, 0.0)),
        (Pool(workers=5), [{"CPU": 12.0, "memory": MUCH}], (5, 2, 0.0)),
        (Pool(), [{"CPU": 64.0, "memory": 5 * 2.0**30}], (2, 32, 0.0)),
        (Pool(), [GPU_NODE], (8, 2, 1.0)),
        (Pool(gpus=0.5), [{"CPU": 16.0, "GPU": 2.0, "memory": MUCH}], (4, 4, 0.5)),
        (Pool(gpus=0), [{"CPU": 4.0, "GPU": 2.0, "memory": MUCH}], (4, 1, 0.0)),
        # A head without GPU brings no worker, and its cores no threads.
        (Pool(), [{"CPU": 40.0, "memory": MUCH}, GPU_NODE, GPU_NODE], (16, 2, 1.0)),
        # Two workers with 5 threads each would fit on neither node.
        (Pool(workers=3), [{"CPU": 5.0}, {"CPU": 5.0}], (3, 2, 0.0)),
        # A quarter of a GPU is left over on each node.
        (Pool(gpus=0.75), [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}], (2, 8, 0.75)),
        # A tenth is a tenth, and nobody gets the rest of two GPUs.
        (Pool(gpus=0.1), [{"CPU": 40.0, "GPU": 1.0}], (10, 4, 0.1)),
        (Pool(gpus=0.4), [{"CPU": 40.0, "GPU": 4.0}], (8, 5, 0.4)),
        (Pool(), [], (1, 1, 0.0)),
    ],
)
def test_the_machines_are_shared_out(
    pool: Pool, nodes: list[Node], expected: tuple[int, int, float]
) -> None:
    assert pool.shares(nodes) == expected


@pytest.mark.parametrize(
    ("pool", "nodes", "expected"),
    [
        # A head that does no work, before any machine has come.
        (Pool(workers=5), [{"memory": MUCH}], (5, 1, 1.0)),
        (Pool(), [{"memory": MUCH}], (1, 1, 1.0)),
        (Pool(gpus=0, workers=5), [{"memory": MUCH}], (5, 1, 0.0)),
        (Pool(), [{"memory": MUCH}, GPU_NODE], (8, 2, 1.0)),
        (Pool(), [{"CPU": 4.0, "memory": MUCH}], (4, 1, 0.0)),
    ],
)
def test_a_cluster_without_machines_is_asked_for_gpus(
    pool: Pool, nodes: list[Node], expected: tuple[int, int, float]
) -> None:
    assert pool.shares(nodes, grows=True) == expected


NODES = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(1, 97), "GPU": st.integers(0, 8)}), min_size=1
)


@given(NODES, st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_workers_whose_number_is_not_given_fit(nodes: list[Node], gpus: float) -> None:
    shares = Pool(gpus=gpus).shares(nodes)
    assert shares.workers <= max(1, shares.room(nodes))
