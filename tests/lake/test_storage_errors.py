"""What follows from each exception that a store or its client is known to raise."""

from __future__ import annotations

import errno
import json
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import ContentLengthError
from botocore import exceptions as boto
from fsspec.exceptions import FSTimeoutError
from s3fs.errors import translate_boto_error

from stir_ray.lake.storage_errors import ErrorKind, classify_error


def answered(code: str, status: int, message: str = "") -> Exception:
    """What a client of S3 makes of an error code."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(response, "PutObject")  # pyright: ignore[reportArgumentType]


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


@pytest.mark.parametrize(
    ("answer", "kind"), [(word, kind) for kind, words in CODES.items() for word in words.split()]
)
def test_an_error_code_of_s3_means_the_same_raw_and_as_a_file_system_translates_it(
    answer: str, kind: ErrorKind
) -> None:
    code, status = answer.split(":")
    raw = answered(code, int(status), "as the store put it")
    for error in (raw, translate_boto_error(raw)):
        classified = classify_error(error)
        assert classified.kind is kind
        assert classified.reason == f"{code}: as the store put it"
        assert classified.remedy


def caused(error: Exception, cause: Exception) -> Exception:
    """The exception, raised from another."""
    error.__cause__ = cause
    return error


KEY = ConnectionKey("host", 80, is_ssl=False, ssl=True, proxy=None,
                                          proxy_auth=None, proxy_headers_hash=None)  # fmt: skip
CUT = ContentLengthError("Not enough data")
ANSWER = aiohttp.RequestInfo("http://host/", "GET", headers=None)  # type: ignore[arg-type]
EXCEPTIONS = [
    (FileNotFoundError("bucket/key"), ErrorKind.NOT_FOUND),
    (FileNotFoundError(errno.ENOENT, "No such file"), ErrorKind.NOT_FOUND),
    (caused(FileNotFoundError("in memory"), KeyError("key")), ErrorKind.NOT_FOUND),
    (IsADirectoryError(errno.EISDIR, "Is a directory"), ErrorKind.NOT_FOUND),
    (PermissionError(errno.EACCES, "Permission denied"), ErrorKind.PERMANENT),
    (PermissionError("of a file system that gives no number"), ErrorKind.PERMANENT),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory"), ErrorKind.PERMANENT),
    (OSError(errno.ENOSPC, "No space left on device"), ErrorKind.PERMANENT),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), ErrorKind.PERMANENT),
    (OSError(errno.EROFS, "Read-only file system"), ErrorKind.PERMANENT),
    (OSError(errno.EIO, "Input/output error"), ErrorKind.TRANSIENT),
    (OSError(errno.ESTALE, "Stale file handle"), ErrorKind.TRANSIENT),
    (OSError("without a number"), ErrorKind.TRANSIENT),
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ErrorKind.UNREACHABLE),
    (ConnectionResetError(errno.ECONNRESET, "reset"), ErrorKind.TRANSIENT),
    (BrokenPipeError(errno.EPIPE, "broken"), ErrorKind.TRANSIENT),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ErrorKind.UNREACHABLE),
    (ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED]"), ErrorKind.PERMANENT),
    (TimeoutError("timed out"), ErrorKind.TRANSIENT),
    (FSTimeoutError(), ErrorKind.TRANSIENT),
    (boto.NoCredentialsError(), ErrorKind.LIKELY_PERMANENT),
    (
        boto.CredentialRetrievalError(provider="iam-role", error_msg="timed out"),
        ErrorKind.LIKELY_PERMANENT,
    ),
    (boto.PartialCredentialsError(provider="env", cred_var="secret"), ErrorKind.PERMANENT),
    (boto.ProfileNotFound(profile="nobody"), ErrorKind.PERMANENT),
    (boto.UnauthorizedSSOTokenError(), ErrorKind.CREDENTIALS_EXPIRED),
    (boto.TokenRetrievalError(provider="sso", error_msg="expired"), ErrorKind.CREDENTIALS_EXPIRED),
    (boto.ParamValidationError(report="Invalid bucket name"), ErrorKind.PERMANENT),
    (boto.NoRegionError(), ErrorKind.PERMANENT),
    (boto.InvalidRegionError(region_name="?"), ErrorKind.PERMANENT),
    (boto.FlexibleChecksumError(error_msg="did not match"), ErrorKind.LIKELY_PERMANENT),
    (boto.EndpointConnectionError(endpoint_url="http://host"), ErrorKind.UNREACHABLE),
    (boto.ConnectTimeoutError(endpoint_url="http://host"), ErrorKind.UNREACHABLE),
    (boto.SSLError(endpoint_url="http://host", error="wrong version"), ErrorKind.UNREACHABLE),
    (boto.SSLError(endpoint_url="", error="CERTIFICATE_VERIFY_FAILED"), ErrorKind.PERMANENT),
    (boto.ReadTimeoutError(endpoint_url="http://host"), ErrorKind.TRANSIENT),
    (boto.ConnectionClosedError(endpoint_url="http://host"), ErrorKind.TRANSIENT),
    (boto.HTTPClientError(error="anything"), ErrorKind.TRANSIENT),
    (boto.IncompleteReadError(actual_bytes=3, expected_bytes=5), ErrorKind.TRANSIENT),
    (ValueError("Invalid endpoint: nonsense"), ErrorKind.PERMANENT),
    (caused(aiohttp.ClientPayloadError("cut"), CUT), ErrorKind.TRANSIENT),
    (aiohttp.ServerDisconnectedError(), ErrorKind.TRANSIENT),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "")), ErrorKind.UNREACHABLE),
    (aiohttp.ClientResponseError(ANSWER, (), status=503), ErrorKind.TRANSIENT),
    (aiohttp.ClientResponseError(ANSWER, (), status=429), ErrorKind.TRANSIENT),
    (aiohttp.ClientResponseError(ANSWER, (), status=403), ErrorKind.PERMANENT),
    (aiohttp.ClientResponseError(ANSWER, (), status=410), ErrorKind.NOT_FOUND),
    # An HTTP file system says of every failure that there is no such file.
    (caused(FileNotFoundError("http"), aiohttp.ServerDisconnectedError()), ErrorKind.TRANSIENT),
    (
        caused(FileNotFoundError("http"), aiohttp.ClientResponseError(ANSWER, (), status=403)),
        ErrorKind.PERMANENT,
    ),
    (json.JSONDecodeError("a store that answers in tongues", "<", 0), ErrorKind.TRANSIENT),
    (RuntimeError("Session is closed"), ErrorKind.TRANSIENT),
    (NotImplementedError("this file system cannot write"), ErrorKind.PERMANENT),
    (TypeError("ours"), ErrorKind.BUG),
    (AttributeError("ours"), ErrorKind.BUG),
    (KeyError("ours"), ErrorKind.BUG),
    (ValueError("ours"), ErrorKind.BUG),
    (AssertionError("ours"), ErrorKind.BUG),
    (MemoryError(), ErrorKind.BUG),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"),
    EXCEPTIONS,
    ids=[f"{type(error).__name__}-{kind.name}" for error, kind in EXCEPTIONS],
)
def test_an_exception_means(error: Exception, kind: ErrorKind) -> None:
    classified = classify_error(error)
    assert classified.kind is kind
    assert classified.reason
    assert "\n" not in classified.reason


def test_an_exception_of_an_unknown_library_is_transient() -> None:
    class StrangeError(Exception):
        """Of the client of some cloud."""

    class StrangeValueError(ValueError):
        """Of the same client."""

    assert classify_error(StrangeError("?")).kind is ErrorKind.TRANSIENT
    assert classify_error(StrangeValueError("?")).kind is ErrorKind.TRANSIENT


def test_a_reason_is_one_short_line_without_secrets() -> None:
    url = "https://user:word@host/file?X-Amz-Signature=5ec7e7&X-Amz-Credential=1d"
    reason = classify_error(OSError(f"cannot read\n  {url}\n" + "x" * 10_000)).reason
    assert "\n" not in reason
    assert len(reason) <= 300
    for secret in ("word", "5ec7e7", "1d"):
        assert secret not in reason
    assert "host/file" in reason
