"""What holds for every test."""

import warnings
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: the cores are shared. Derandomised: a run tells of the change, not of the dice.
settings.register_profile("laws", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("laws")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray of this machine for all tests: it takes seconds to start."""
    from stir_ray.execution import ray_executor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on import and start
        ray_executor.connect()
    yield
    ray_executor.ray.shutdown()
