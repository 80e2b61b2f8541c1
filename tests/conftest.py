"""What holds for every test."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from stir_ray.job import Job
from tests.broken import unrendered
from tests.small_job import small_job
from workflows import invariance

# No deadline: the cores are shared. Derandomised: a run tells of the change, not of the dice.
settings.register_profile("laws", deadline=None, derandomize=True, database=None, max_examples=25)
settings.load_profile("laws")

pytest_plugins = ["tests.stores.fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, those of the whole program before all: no core waits for them.

    Each file is one worker's, so the last to begin decides when all is done.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, len(item.path.parts)))
    for item in items:
        if item.path in slow and not item.get_closest_marker("timeout"):
            # Several of them start a Ray at once, which then takes minutes on two cores.
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What workers of a test keep on this machine's disk does not lie among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STIR_RAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Start one Ray of this machine for all tests: it takes seconds."""
    from stir_ray.execution import ray_executor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on import and start
        ray_executor.connect(cores=2)
    yield
    ray_executor.ray.shutdown()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of a finished small job. Not to be changed."""
    lake = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        unrendered(patch)
        summary = invariance.run(small_job(lake), serial=True)
    assert not summary.tally.failed
    return lake


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path) -> Callable[[], Job]:
    """The small job on a finished lake of its own."""

    def copy() -> Job:
        lake = tmp_path / "lake"
        shutil.copytree(finished, lake)
        return small_job(lake)

    return copy
