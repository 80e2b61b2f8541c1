"""Secrets in URLs: which are seen, and what is left where they were."""

import pytest

from stir_ray.formatting import find_secret, without_secrets

TELLING = [
    "s3://me:hunter2@bucket/key",
    "s3:/me:hunter2@bucket/key",
    "S3://:hunter2@bucket/key",
    "s3://AKIA:ab/hunter2@bucket/key",
    "s3://me:ab?hunter2@bucket/key",
    "s3://me:ab@hunter2@bucket/key",
    "abfs://container:hunter2@account.example/key",
    "https://hunter2@host/key",
    "HTTPS://hunter2@host:8443/key",
    "ftp://hunter2@host/key",
    "https://host/key?X-Amz-Signature=hunter2",
    "https://host:8443/key?hunter2",
    "http://[fe80::1]:9000/key?token=hunter2",
    "az://container/key?sv=2024-11-04&sig=hunter2",
    "s3://bucket/key?token=hunter2",
    "zip://key::https://host/key.zip?sig=hunter2",
    "simplecache::s3://me:hunter2@bucket/key",
    "https://mirror/s3://me:hunter2@bucket/key",
]
SILENT = [
    "s3://bucket/key",
    "./a folder/what?",
    "file:///folder/what?",
    "http://localhost:9000/bucket/me@home",
    "http://localhost:9000",
    "abfs://container@account.example/key",
    "sftp://me@host/key",
    "s3://bucket/run:5/epoch={epoch}.safetensors",
    "simplecache::s3://bucket/key",
    "C:/images",
]


@pytest.mark.parametrize("url", TELLING)
def test_a_secret_is_seen_and_taken_out(url: str) -> None:
    assert find_secret(url)
    told = without_secrets(f"cannot read '{url}', as {url} says\n{url}")
    assert "hunter2" not in told
    assert "cannot read" in told
    assert not any(word in told for word in ("me:", "AKIA"))


@pytest.mark.parametrize("url", SILENT)
def test_what_tells_no_secret_is_let_be(url: str) -> None:
    assert find_secret(url) is None
    assert without_secrets(f"cannot read {url} and no more") == f"cannot read {url} and no more"


def test_white_space_hides_no_password() -> None:
    assert find_secret("s3://me:hun ter2@bucket/key") == "a password"


def test_the_query_of_a_path_alone_is_taken_out() -> None:
    told = without_secrets("no answer (GET /bucket/key?X-Amz-Signature=hunter2)")
    assert told == "no answer (GET /bucket/key?…)"
