"""What follows from each exception that a store or its client is known to raise."""

from __future__ import annotations

import errno
import json
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import ContentLengthError
from botocore import exceptions as boto
from fsspec.exceptions import FSTimeoutError
from s3fs.errors import translate_boto_error

from stir_ray.lake.storage_errors import ErrorKind, classify_error

CODES = {
    ErrorKind.NOT_FOUND: "NoSuchKey:404 404:404 NotFound:404",
    ErrorKind.PERMANENT: "NoSuchBucket:404 AccessDenied:403 InvalidAccessKeyId:403 "
    "SignatureDoesNotMatch:403 AccountProblem:403 PermanentRedirect:301 InvalidRequest:400 "
    "AuthorizationHeaderMalformed:400 EntityTooLarge:400 NotImplemented:501 XMinioStorageFull:507",
    ErrorKind.LIKELY_PERMANENT: "BadDigest:400",
    ErrorKind.CREDENTIALS_EXPIRED: "ExpiredToken:400 ExpiredToken:403 403:403 400:400 "
    "RequestTimeTooSkewed:403",
    ErrorKind.TRANSIENT: "SlowDown:503 503:503 InternalError:500 502:502 RequestTimeout:400 "
    "IncompleteBody:400 OperationAborted:409 TooManyRequests:429 Unheard:599",
}


@pytest.mark.parametrize(("kind", "answers"), CODES.items(), ids=str)
def test_an_error_code_of_s3_means_the_same_raw_and_as_a_file_system_translates_it(
    kind: ErrorKind, answers: str
) -> None:
    for code, status in (answer.split(":") for answer in answers.split()):
        response: Any = {
            "Error": {"Code": code, "Message": "as the store put it"},
            "ResponseMetadata": {"HTTPStatusCode": int(status)},
        }
        raw = boto.ClientError(response, "PutObject")
        for error in (raw, translate_boto_error(raw)):
            classified = classify_error(error)
            assert classified.kind is kind
            assert classified.reason == f"{code}: as the store put it"
            assert classified.remedy


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


KEY = ConnectionKey("host", 80, is_ssl=False, ssl=True, proxy=None,
                                          proxy_auth=None, proxy_headers_hash=None)  # fmt: skip
CUT = ContentLengthError("Not enough data")
ANSWER = aiohttp.RequestInfo("http://host/", "GET", headers=None)  # type: ignore[arg-type]
FORBIDDEN = aiohttp.ClientResponseError(ANSWER, (), status=403)
ERRNOS = {
    ErrorKind.NOT_FOUND: "ENOENT EISDIR",
    ErrorKind.PERMANENT: "EACCES ENOTDIR ENOSPC EDQUOT EROFS",
    ErrorKind.TRANSIENT: "EIO ESTALE ECONNRESET EPIPE",
    ErrorKind.UNREACHABLE: "ECONNREFUSED",
}
EXCEPTIONS = [
    *((kind, OSError(getattr(errno, name), name)) for kind, names in ERRNOS.items()
      for name in names.split()),
    *((ErrorKind.BUG, error("ours")) for error in (TypeError, AttributeError, KeyError, ValueError,
                                                   AssertionError, MemoryError)),
    (ErrorKind.NOT_FOUND, FileNotFoundError("bucket/key")),
    (ErrorKind.NOT_FOUND, caused(FileNotFoundError("in memory"), KeyError("key"))),
    (ErrorKind.PERMANENT, PermissionError("of a file system that gives no number")),
    (ErrorKind.TRANSIENT, OSError("without a number")),
    (ErrorKind.UNREACHABLE, socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
    (ErrorKind.PERMANENT, ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED]")),
    (ErrorKind.TRANSIENT, TimeoutError("timed out")),
    (ErrorKind.TRANSIENT, FSTimeoutError()),
    (ErrorKind.LIKELY_PERMANENT, boto.NoCredentialsError()),
    (ErrorKind.LIKELY_PERMANENT, boto.CredentialRetrievalError(provider="role", error_msg="")),
    (ErrorKind.PERMANENT, boto.PartialCredentialsError(provider="env", cred_var="secret")),
    (ErrorKind.PERMANENT, boto.ProfileNotFound(profile="nobody")),
    (ErrorKind.CREDENTIALS_EXPIRED, boto.UnauthorizedSSOTokenError()),
    (ErrorKind.CREDENTIALS_EXPIRED, boto.TokenRetrievalError(provider="sso", error_msg="old")),
    (ErrorKind.PERMANENT, boto.ParamValidationError(report="Invalid bucket name")),
    (ErrorKind.PERMANENT, boto.NoRegionError()),
    (ErrorKind.PERMANENT, boto.InvalidRegionError(region_name="?")),
    (ErrorKind.LIKELY_PERMANENT, boto.FlexibleChecksumError(error_msg="did not match")),
    (ErrorKind.UNREACHABLE, boto.EndpointConnectionError(endpoint_url="http://host")),
    (ErrorKind.UNREACHABLE, boto.ConnectTimeoutError(endpoint_url="http://host")),
    (ErrorKind.UNREACHABLE, boto.SSLError(endpoint_url="http://host", error="wrong version")),
    (ErrorKind.PERMANENT, boto.SSLError(endpoint_url="", error="CERTIFICATE_VERIFY_FAILED")),
    (ErrorKind.TRANSIENT, boto.ReadTimeoutError(endpoint_url="http://host")),
    (ErrorKind.TRANSIENT, boto.ConnectionClosedError(endpoint_url="http://host")),
    (ErrorKind.TRANSIENT, boto.HTTPClientError(error="anything")),
    (ErrorKind.TRANSIENT, boto.IncompleteReadError(actual_bytes=3, expected_bytes=5)),
    (ErrorKind.PERMANENT, ValueError("Invalid endpoint: nonsense")),
    (ErrorKind.TRANSIENT, caused(aiohttp.ClientPayloadError("cut"), CUT)),
    (ErrorKind.TRANSIENT, aiohttp.ServerDisconnectedError()),
    (ErrorKind.UNREACHABLE, aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, ""))),
    (ErrorKind.TRANSIENT, aiohttp.ClientResponseError(ANSWER, (), status=503)),
    (ErrorKind.TRANSIENT, aiohttp.ClientResponseError(ANSWER, (), status=429)),
    (ErrorKind.PERMANENT, FORBIDDEN),
    (ErrorKind.NOT_FOUND, aiohttp.ClientResponseError(ANSWER, (), status=410)),
    # An HTTP file system says of every failure that there is no such file.
    (ErrorKind.TRANSIENT, caused(FileNotFoundError("http"), aiohttp.ServerDisconnectedError())),
    (ErrorKind.PERMANENT, caused(FileNotFoundError("http"), FORBIDDEN)),
    (ErrorKind.TRANSIENT, json.JSONDecodeError("a store that answers in tongues", "<", 0)),
    (ErrorKind.TRANSIENT, RuntimeError("Session is closed")),
    (ErrorKind.PERMANENT, NotImplementedError("this file system cannot write")),
    (ErrorKind.TRANSIENT, type("StrangeError", (Exception,), {})("of an unknown client")),
    (ErrorKind.TRANSIENT, type("StrangeError", (ValueError,), {})("of an unknown client")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "error"),
    EXCEPTIONS,
    ids=[f"{type(error).__name__}-{kind.name}" for kind, error in EXCEPTIONS],
)
def test_an_exception_means(kind: ErrorKind, error: Exception) -> None:
    classified = classify_error(error)
    assert classified.kind is kind
    assert classified.reason
    assert "\n" not in classified.reason


def test_a_reason_is_one_short_line_without_secrets() -> None:
    url = "https://user:word@host/file?X-Amz-Signature=5ec7e7&X-Amz-Credential=1d"
    reason = classify_error(OSError(f"cannot read\n  {url}\n" + "x" * 10_000)).reason
    assert "\n" not in reason
    assert len(reason) <= 300
    for secret in ("word", "5ec7e7", "1d"):
        assert secret not in reason
    assert "host/file" in reason
