"""Fixtures of stores, for every test: `tests/conftest.py` hands them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from tests.stores import servers
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import S3Store


@pytest.fixture(scope="session")
def rclone_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    """A store on disk that checks keys, signatures and digests."""
    with servers.rclone(tmp_path_factory.mktemp("rclone")) as store:
        yield store


@pytest.fixture(scope="session")
def moto_store() -> Iterator[S3Store]:
    """A store in memory that speaks more of S3 and checks less."""
    with servers.moto() as store:
        yield store


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[S3Store], None]:
    """Lead all clients of this test, and of the processes it starts, to a store."""

    def lead(store: S3Store) -> None:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.delenv(name, raising=False)
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
        # Other programs in this process would go on with a client of the store before.
        S3FileSystem.clear_instance_cache()

    return lead


@pytest.fixture
def s3_store(rclone_store: S3Store, reach: Callable[[S3Store], None]) -> S3Store:
    """A store that all clients of this test are led to."""
    reach(rclone_store)
    return rclone_store


@pytest.fixture
def faulty(
    rclone_store: S3Store, reach: Callable[[S3Store], None]
) -> Iterator[Callable[..., FaultyProxy]]:
    """Put a faulty way before the store, and lead all clients of this test over it."""
    with ExitStack() as open_ways:

        def way(rates: Mapping[Fault, float] | None = None, *, seed: int = 0) -> FaultyProxy:
            proxy = FaultyProxy(rclone_store.endpoint, rates=rates, seed=seed)
            open_ways.enter_context(proxy)
            reach(rclone_store.behind(proxy.url))
            return proxy

        yield way
