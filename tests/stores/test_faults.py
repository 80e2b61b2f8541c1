"""A store on which things go wrong: every object is right in the end."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from stir_ray.errors import CorruptArtifact, LakeError, StorageUnavailable
from stir_ray.identity import bytes_digest
from stir_ray.lake.keys import artifact_key, checkpoint_key
from stir_ray.lake.parquet import Lake, make_table
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.lake.store import ObjectStore
from tests.lake.values import example, read_back, same
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import KEY, OTHER_KEY, OTHER_SECRET, SECRET, S3Store, free_port

CONTENT = random.Random(5).randbytes(30_011)  # noqa: S311 - no secret
PASSING: tuple[Fault, ...] = (
    "slow_down", "internal_error", "expired", "cut_request", "cut_answer", "delay", "garbled",
)  # fmt: skip
"""Faults after which the same request succeeds."""


def key_of(number: int) -> str:
    return artifact_key("inversions", f"{number:032x}")


@pytest.fixture
def proxy(faulty: Callable[..., FaultyProxy]) -> FaultyProxy:
    return faulty()


@pytest.fixture
def url(proxy: FaultyProxy, rclone_store: S3Store) -> str:
    """A lake in a new bucket, behind the proxy."""
    return f"s3://{rclone_store.bucket()}/lake"


@pytest.mark.parametrize("fault", PASSING)
def test_every_request_outlives_each_fault(proxy: FaultyProxy, url: str, fault: Fault) -> None:
    objects = ObjectStore(url, 20.0)
    proxy.strike(fault, fault)
    objects.put(key_of(1), CONTENT)
    proxy.strike(fault)
    assert objects.get(key_of(1)) == CONTENT
    proxy.strike(fault)
    assert objects.exists(key_of(1))
    proxy.strike(fault)
    assert objects.list("artifacts") == {key_of(1): len(CONTENT)}
    proxy.strike(fault)
    objects.delete(key_of(1))
    assert objects.list("artifacts") == {}
    assert proxy.counts[fault] == 2 + 4


def test_bytes_garbled_on_the_way_are_never_stored(proxy: FaultyProxy, url: str) -> None:
    proxy.rates = {"garbled": 1.0}
    objects = ObjectStore(url, retry_timeout_s=2.0)
    with pytest.raises(LakeError, match=r"BadDigest.*Content-MD5"):
        objects.put(key_of(1), CONTENT)
    assert proxy.counts["garbled"] > 1
    proxy.rates = {}
    assert objects.list("") == {}


CHECKPOINT = checkpoint_key("7" * 32, 3, bytes_digest([CONTENT]))


def test_what_is_damaged_or_was_cut_on_the_way_is_never_taken_for_the_object(
    proxy: FaultyProxy, url: str
) -> None:
    lake = Lake(ObjectStore(url, 20.0))
    lake.write(INVERSIONS, "1" * 32, make_table(INVERSIONS, example(INVERSIONS)))
    lake.objects.put(CHECKPOINT, CONTENT)
    proxy.strike("truncated", "truncated")
    with pytest.raises(CorruptArtifact, match="1" * 32):
        lake.read(INVERSIONS, "1" * 32)
    with pytest.raises(CorruptArtifact, match=CHECKPOINT):
        lake.read_checkpoint(CHECKPOINT)
    assert same(read_back(lake.read(INVERSIONS, "1" * 32)), example(INVERSIONS))
    assert lake.read_checkpoint(CHECKPOINT) == CONTENT


# 60 MB are more than what s3fs puts and gets in one piece by default.
@pytest.mark.parametrize("times", [1, 2003])
def test_an_object_is_moved_by_one_request(proxy: FaultyProxy, url: str, times: int) -> None:
    objects = ObjectStore(url, 20.0)
    objects.put("artifacts/x", CONTENT * times)
    assert objects.get("artifacts/x") == CONTENT * times
    assert objects.exists("artifacts/x")
    assert set(objects.list("artifacts")) == {"artifacts/x"}
    assert proxy.counts == {"requests": 4, "PUT": 1, "GET": 2, "HEAD": 1}


def test_an_upload_that_hangs_is_given_up_and_made_again(
    proxy: FaultyProxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stir_ray.lake.filesystem.UPLOAD_TIMEOUT_S", 1.0)
    objects = ObjectStore(url, 20.0)
    content = CONTENT * 331  # more than the system buffers
    proxy.strike("hang")
    objects.put("artifacts/x", content)
    assert proxy.counts["hang"] == 1
    assert objects.get("artifacts/x") == content


@contextmanager
def later(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, act)
    timer.start()
    yield
    timer.join()


def test_an_outage_shorter_than_the_retry_time_is_outlived(proxy: FaultyProxy, url: str) -> None:
    objects = ObjectStore(url, 20.0)
    proxy.away = True
    with later(2.0, lambda: setattr(proxy, "away", False)):
        objects.put(key_of(3), CONTENT)
    assert proxy.counts["away"] > 1
    assert objects.get(key_of(3)) == CONTENT


def test_a_lasting_outage_is_reported_in_one_line_without_secrets(
    proxy: FaultyProxy, url: str
) -> None:
    proxy.away = True
    objects = ObjectStore(url, retry_timeout_s=1.0)
    for request in (lambda key: objects.put(key, CONTENT), objects.get, objects.list):
        with pytest.raises(StorageUnavailable, match="run again once it answers") as caught:
            request(key_of(5))
        message = str(caught.value)
        assert not any(text in message for text in ("\n", KEY, SECRET))
    assert proxy.counts["away"] > 3
    proxy.away = False
    assert objects.list("") == {}


def use_credentials_file(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> Callable[[str, str], object]:
    """Let clients find their keys in a file alone; returns what writes it."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    return lambda key, secret: file.write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    )


def test_credentials_that_expire_and_are_renewed_are_taken_up(
    proxy: FaultyProxy, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    renew = use_credentials_file(monkeypatch, tmp_path / "credentials")
    renew(KEY, SECRET)
    objects = ObjectStore(url, 20.0)
    objects.put(key_of(1), CONTENT)
    proxy.expired_keys = {KEY}
    with later(1.0, lambda: renew(OTHER_KEY, OTHER_SECRET)), ThreadPoolExecutor(3) as asking:
        # A HEAD is refused without a word of why.
        seen = asking.submit(objects.exists, key_of(1))
        written = asking.submit(objects.put, key_of(2), CONTENT)
        read = asking.submit(objects.get, key_of(1))
        assert (seen.result(), written.result(), read.result()) == (True, None, CONTENT)
    assert proxy.counts["expired"] >= 4


def test_credentials_that_stay_expired_are_reported(proxy: FaultyProxy, url: str) -> None:
    objects = ObjectStore(url, 0.5)
    proxy.expired_keys = {KEY}
    for request in (lambda key: objects.put(key, CONTENT), objects.exists):
        with pytest.raises(LakeError, match=r"ExpiredToken.*renew the credentials"):
            request(key_of(1))
    proxy.expired_keys = set()
    objects.put(key_of(1), CONTENT)


def test_a_lookup_that_is_not_allowed_is_reported_at_once(proxy: FaultyProxy, url: str) -> None:
    # To a HEAD it looks like an expired token.
    proxy.rates = {"denied": 1.0}
    with pytest.raises(LakeError, match=r"AccessDenied.*allow"):
        ObjectStore(url, 60.0).exists(key_of(1))


def test_refused_keys_may_be_corrected_in_the_same_process(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    correct = use_credentials_file(monkeypatch, tmp_path / "credentials")
    correct(KEY, "a wrong secret")
    url = f"s3://{s3_store.bucket()}/lake"
    with pytest.raises(LakeError, match="SignatureDoesNotMatch"):
        ObjectStore(url).check()
    correct(KEY, SECRET)
    ObjectStore(url).check()


def test_a_bucket_that_is_not_there_is_neither_an_absent_object_nor_an_empty_lake(
    s3_store: S3Store,
) -> None:
    objects = ObjectStore("s3://no-such-bucket/lake")
    for request in (objects.exists, objects.get, objects.list, objects.delete):
        with pytest.raises(LakeError, match=r"NoSuchBucket.*create the bucket"):
            request("artifacts")
    for bucket in ("no-such-bucket", "Not_a!bucket"):
        with pytest.raises(LakeError, match=f"lake s3://{bucket}/lake: .*bucket"):
            ObjectStore(f"s3://{bucket}/lake").check()


NOWHERE = f"http://127.0.0.1:{free_port()}"
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "secret": ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "SignatureDoesNotMatch.*AWS_SECRET"),
    "key": ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"),
    "no key": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_PROFILE"),
    "profile": ({"AWS_PROFILE": "nobody"}, "nobody.*AWS_PROFILE"),
    "address": ({"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint.*AWS_ENDPOINT_URL"),
    "port": ({"AWS_ENDPOINT_URL": NOWHERE}, "cannot be reached.*AWS_ENDPOINT_URL"),
    "host": ({"AWS_ENDPOINT_URL": "http://no.such.host.invalid"}, "AWS_ENDPOINT_URL"),
}


@pytest.mark.parametrize(("environment", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_account_or_address_is_reported_at_the_start_in_one_line(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    lake = f"s3://{s3_store.bucket()}/lake"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LakeError, match=message) as caught:
        ObjectStore(lake, retry_timeout_s=0.5).check()
    assert str(caught.value).startswith(f"lake {lake}: ")
    assert not any(text in str(caught.value) for text in ("\n", SECRET, "wrong-secret"))


def test_a_store_in_trouble_at_the_start_is_no_mistake_of_the_user(
    proxy: FaultyProxy, url: str
) -> None:
    proxy.rates = {"internal_error": 1.0}
    with pytest.raises(StorageUnavailable, match=r"InternalError.*run again"):
        ObjectStore(url, 0.5).check()
