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
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, make_table
from stir_ray.lake.schemas import INVERSIONS
from stir_ray.lake.store import ObjectStore
from tests.lake.values import example, read_back, same
from tests.stores.faulty import Fault, FaultyProxy
from tests.stores.servers import KEY, OTHER_KEY, OTHER_SECRET, SECRET, S3Store, free_port

Faulty = Callable[..., FaultyProxy]
CONTENT = random.Random(5).randbytes(30_011)  # noqa: S311 - no secret
PASSING: tuple[Fault, ...] = (
    "slow_down", "internal_error", "expired", "cut_request", "cut_answer", "delay", "garbled",
)  # fmt: skip
"""Faults after which the same request succeeds."""


def key_of(number: int) -> str:
    """The key of a part."""
    return artifact_key("inversions", f"{number:032x}")


@pytest.mark.parametrize("fault", PASSING)
def test_every_request_outlives_each_fault(
    faulty: Faulty, rclone_store: S3Store, fault: Fault
) -> None:
    proxy, bucket = faulty(), rclone_store.bucket()
    objects = ObjectStore(f"s3://{bucket}/lake", 20.0)
    proxy.strike(fault, fault)
    objects.put(key_of(1), CONTENT)
    with rclone_store.client() as client:
        stored = client.get_object(Bucket=bucket, Key=f"lake/{key_of(1)}")["Body"].read()
    assert stored == CONTENT
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


def test_many_requests_outlive_a_mixture_of_faults(faulty: Faulty, rclone_store: S3Store) -> None:
    proxy = faulty({**dict.fromkeys(PASSING, 0.04), "expired": 0.02}, seed=11)
    objects = ObjectStore(f"s3://{rclone_store.bucket()}/lake", 30.0)
    contents = {key_of(number): CONTENT[: 97 * number] for number in range(53)}
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(objects.put, contents, contents.values()))
    assert list(map_concurrent(objects.get, contents)) == list(contents.values())
    assert objects.list("artifacts") == {key: len(content) for key, content in contents.items()}
    assert all(proxy.counts[fault] for fault in PASSING)


def test_bytes_garbled_on_the_way_are_never_stored(faulty: Faulty, rclone_store: S3Store) -> None:
    proxy = faulty({"garbled": 1.0})
    objects = ObjectStore(f"s3://{rclone_store.bucket()}/lake", retry_timeout_s=2.0)
    with pytest.raises(LakeError, match=r"BadDigest.*Content-MD5"):
        objects.put(key_of(1), CONTENT)
    assert proxy.counts["garbled"] > 1
    proxy.rates = {}
    assert objects.list("") == {}


@pytest.fixture
def lake(faulty: Faulty, rclone_store: S3Store) -> tuple[Lake, FaultyProxy]:
    """A lake with one part and one checkpoint, and the way to it."""
    proxy = faulty()
    lake = Lake(ObjectStore(f"s3://{rclone_store.bucket()}/lake", 20.0))
    lake.write(INVERSIONS, "1" * 32, make_table(INVERSIONS, example(INVERSIONS)))
    lake.objects.put(CHECKPOINT, CONTENT)
    return lake, proxy


CHECKPOINT = checkpoint_key("7" * 32, 3, bytes_digest([CONTENT]))


def test_what_is_damaged_or_was_cut_on_the_way_is_never_taken_for_the_object(
    lake: tuple[Lake, FaultyProxy],
) -> None:
    reader, proxy = lake
    proxy.strike("truncated", "truncated")
    with pytest.raises(CorruptArtifact, match="1" * 32):
        reader.read(INVERSIONS, "1" * 32)
    with pytest.raises(CorruptArtifact, match=CHECKPOINT):
        reader.read_checkpoint(CHECKPOINT)
    assert same(read_back(reader.read(INVERSIONS, "1" * 32)), example(INVERSIONS))
    assert reader.read_checkpoint(CHECKPOINT) == CONTENT


@pytest.mark.parametrize("times", [1, pytest.param(5003, marks=pytest.mark.slow)])
def test_an_object_is_moved_by_one_request(lake: tuple[Lake, FaultyProxy], times: int) -> None:
    reader, proxy = lake
    proxy.counts.clear()
    reader.objects.put("artifacts/x", CONTENT * times)
    assert reader.objects.get("artifacts/x") == CONTENT * times
    assert reader.objects.exists("artifacts/x")
    assert set(reader.objects.list("artifacts")) == {
        "artifacts/x",
        artifact_key("inversions", "1" * 32),
    }
    assert proxy.counts == {"requests": 4, "PUT": 1, "GET": 2, "HEAD": 1}


@pytest.mark.slow
def test_an_upload_that_hangs_is_given_up_and_made_again(lake: tuple[Lake, FaultyProxy]) -> None:
    reader, proxy = lake
    content = CONTENT * 997  # more than the system buffers
    proxy.strike("hang")
    reader.objects.put("artifacts/x", content)
    assert proxy.counts["hang"] == 1
    assert reader.objects.get("artifacts/x") == content


@contextmanager
def later(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Do something else after a while."""
    timer = threading.Timer(seconds, act)
    timer.start()
    yield
    timer.join()


def test_an_outage_shorter_than_the_retry_time_is_outlived(
    lake: tuple[Lake, FaultyProxy],
) -> None:
    reader, proxy = lake
    proxy.away = True
    with later(2.0, lambda: setattr(proxy, "away", False)):
        reader.objects.put(key_of(3), CONTENT)
    assert proxy.counts["away"] > 1
    assert reader.objects.get(key_of(3)) == CONTENT


def test_a_lasting_outage_is_reported_in_one_line_without_secrets(
    faulty: Faulty, rclone_store: S3Store
) -> None:
    proxy = faulty()
    proxy.away = True
    objects = ObjectStore(f"s3://{rclone_store.bucket()}/lake", retry_timeout_s=1.0)
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
    faulty: Faulty,
    rclone_store: S3Store,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    proxy = faulty()
    renew = use_credentials_file(monkeypatch, tmp_path / "credentials")
    renew(KEY, SECRET)
    objects = ObjectStore(f"s3://{rclone_store.bucket()}/lake", 20.0)
    objects.put(key_of(1), CONTENT)
    proxy.expired_keys = {KEY}
    with later(1.0, lambda: renew(OTHER_KEY, OTHER_SECRET)), ThreadPoolExecutor(3) as asking:
        # A HEAD is refused without a word of why.
        seen = asking.submit(objects.exists, key_of(1))
        written = asking.submit(objects.put, key_of(2), CONTENT)
        read = asking.submit(objects.get, key_of(1))
        assert (seen.result(), written.result(), read.result()) == (True, None, CONTENT)
    assert proxy.counts["expired"] >= 4


def test_credentials_that_stay_expired_are_reported(faulty: Faulty, rclone_store: S3Store) -> None:
    proxy = faulty()
    objects = ObjectStore(f"s3://{rclone_store.bucket()}/lake", 0.5)
    proxy.expired_keys = {KEY}
    for request in (lambda key: objects.put(key, CONTENT), objects.exists):
        with pytest.raises(LakeError, match=r"ExpiredToken.*renew the credentials"):
            request(key_of(1))
    proxy.expired_keys = set()
    objects.put(key_of(1), CONTENT)


def test_a_lookup_that_is_not_allowed_is_reported_at_once(
    faulty: Faulty, rclone_store: S3Store
) -> None:
    # To a HEAD it looks like an expired token.
    faulty({"denied": 1.0})
    with pytest.raises(LakeError, match=r"AccessDenied.*allow"):
        ObjectStore(f"s3://{rclone_store.bucket()}/lake", 60.0).exists(key_of(1))


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
    s3_store: S3Store,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    message: str,
) -> None:
    objects_url = f"s3://{s3_store.bucket()}/lake"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LakeError, match=message) as caught:
        ObjectStore(objects_url, retry_timeout_s=0.5).check()
    assert str(caught.value).startswith(f"lake {objects_url}: ")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


def test_a_store_in_trouble_at_the_start_is_no_mistake_of_the_user(
    faulty: Faulty, rclone_store: S3Store
) -> None:
    faulty({"internal_error": 1.0})
    with pytest.raises(StorageUnavailable, match=r"InternalError.*run again"):
        ObjectStore(f"s3://{rclone_store.bucket()}/lake", 0.5).check()
