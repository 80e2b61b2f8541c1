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

from stir_ray.lake.storage_errors import Kind, trouble


def said(code: str, status: int, message: str = "") -> Exception:
    """What a client of S3 makes of an error code."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(response, "PutObject")  # pyright: ignore[reportArgumentType]


CODES = {
    Kind.ABSENT: [("NoSuchKey", 404), ("404", 404), ("NotFound", 404)],
    Kind.REFUSED: [
        ("NoSuchBucket", 404),
        ("AccessDenied", 403),
        ("InvalidAccessKeyId", 403),
        ("SignatureDoesNotMatch", 403),
        ("AccountProblem", 403),
        ("PermanentRedirect", 301),
        ("AuthorizationHeaderMalformed", 400),
        ("InvalidRequest", 400),
        ("EntityTooLarge", 400),
        ("NotImplemented", 501),
        ("XMinioStorageFull", 507),
    ],
    Kind.LIKELY_PERMANENT: [("BadDigest", 400)],
    Kind.CREDENTIALS_EXPIRED: [
        ("ExpiredToken", 400),
        ("ExpiredToken", 403),
        ("403", 403),
        ("400", 400),
        ("RequestTimeTooSkewed", 403),
    ],
    Kind.PASSING: [
        ("SlowDown", 503),
        ("503", 503),
        ("InternalError", 500),
        ("502", 502),
        ("RequestTimeout", 400),
        ("IncompleteBody", 400),
        ("OperationAborted", 409),
        ("TooManyRequests", 429),
        ("never heard of", 599),
    ],
}


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [(code, status, kind) for kind, said in CODES.items() for code, status in said],
)
def test_an_error_code_of_s3_means_the_same_raw_and_as_a_file_system_translates_it(
    code: str, status: int, kind: Kind
) -> None:
    raw = said(code, status, "as the store put it")
    for error in (raw, translate_boto_error(raw)):
        found = trouble(error)
        assert found.kind is kind
        assert found.reason == f"{code}: as the store put it"
        assert found.remedy


def caused(error: Exception, cause: Exception) -> Exception:
    """The exception, raised from another."""
    error.__cause__ = cause
    return error


KEY = ConnectionKey("host", 80, is_ssl=False, ssl=True, proxy=None,
                                          proxy_auth=None, proxy_headers_hash=None)  # fmt: skip
CUT = ContentLengthError("Not enough data")
ANSWER = aiohttp.RequestInfo("http://host/", "GET", headers=None)  # type: ignore[arg-type]
EXCEPTIONS = [
    (FileNotFoundError("bucket/key"), Kind.ABSENT),
    (FileNotFoundError(errno.ENOENT, "No such file"), Kind.ABSENT),
    (caused(FileNotFoundError("in memory"), KeyError("key")), Kind.ABSENT),
    (IsADirectoryError(errno.EISDIR, "Is a directory"), Kind.ABSENT),
    (PermissionError(errno.EACCES, "Permission denied"), Kind.REFUSED),
    (PermissionError("of a file system that gives no number"), Kind.REFUSED),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory"), Kind.REFUSED),
    (OSError(errno.ENOSPC, "No space left on device"), Kind.REFUSED),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), Kind.REFUSED),
    (OSError(errno.EROFS, "Read-only file system"), Kind.REFUSED),
    (OSError(errno.EIO, "Input/output error"), Kind.PASSING),
    (OSError(errno.ESTALE, "Stale file handle"), Kind.PASSING),
    (OSError("without a number"), Kind.PASSING),
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Kind.UNREACHABLE),
    (ConnectionResetError(errno.ECONNRESET, "reset"), Kind.PASSING),
    (BrokenPipeError(errno.EPIPE, "broken"), Kind.PASSING),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Kind.UNREACHABLE),
    (ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED]"), Kind.REFUSED),
    (TimeoutError("timed out"), Kind.PASSING),
    (FSTimeoutError(), Kind.PASSING),
    (boto.NoCredentialsError(), Kind.LIKELY_PERMANENT),
    (
        boto.CredentialRetrievalError(provider="iam-role", error_msg="timed out"),
        Kind.LIKELY_PERMANENT,
    ),
    (boto.PartialCredentialsError(provider="env", cred_var="secret"), Kind.REFUSED),
    (boto.ProfileNotFound(profile="nobody"), Kind.REFUSED),
    (boto.UnauthorizedSSOTokenError(), Kind.CREDENTIALS_EXPIRED),
    (boto.TokenRetrievalError(provider="sso", error_msg="expired"), Kind.CREDENTIALS_EXPIRED),
    (boto.ParamValidationError(report="Invalid bucket name"), Kind.REFUSED),
    (boto.NoRegionError(), Kind.REFUSED),
    (boto.InvalidRegionError(region_name="?"), Kind.REFUSED),
    (boto.FlexibleChecksumError(error_msg="did not match"), Kind.LIKELY_PERMANENT),
    (boto.EndpointConnectionError(endpoint_url="http://host"), Kind.UNREACHABLE),
    (boto.ConnectTimeoutError(endpoint_url="http://host"), Kind.UNREACHABLE),
    (boto.SSLError(endpoint_url="http://host", error="wrong version"), Kind.UNREACHABLE),
    (boto.SSLError(endpoint_url="", error="CERTIFICATE_VERIFY_FAILED"), Kind.REFUSED),
    (boto.ReadTimeoutError(endpoint_url="http://host"), Kind.PASSING),
    (boto.ConnectionClosedError(endpoint_url="http://host"), Kind.PASSING),
    (boto.HTTPClientError(error="anything"), Kind.PASSING),
    (boto.IncompleteReadError(actual_bytes=3, expected_bytes=5), Kind.PASSING),
    (ValueError("Invalid endpoint: nonsense"), Kind.REFUSED),
    (caused(aiohttp.ClientPayloadError("cut"), CUT), Kind.PASSING),
    (aiohttp.ServerDisconnectedError(), Kind.PASSING),
    (aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "")), Kind.UNREACHABLE),
    (aiohttp.ClientResponseError(ANSWER, (), status=503), Kind.PASSING),
    (aiohttp.ClientResponseError(ANSWER, (), status=429), Kind.PASSING),
    (aiohttp.ClientResponseError(ANSWER, (), status=403), Kind.REFUSED),
    (aiohttp.ClientResponseError(ANSWER, (), status=410), Kind.ABSENT),
    # An HTTP file system says of every failure that there is no such file.
    (caused(FileNotFoundError("http://host"), aiohttp.ServerDisconnectedError()), Kind.PASSING),
    (
        caused(FileNotFoundError("http"), aiohttp.ClientResponseError(ANSWER, (), status=403)),
        Kind.REFUSED,
    ),
    (json.JSONDecodeError("a store that answers in tongues", "<", 0), Kind.PASSING),
    (RuntimeError("Session is closed"), Kind.PASSING),
    (NotImplementedError("this file system cannot write"), Kind.REFUSED),
    (TypeError("ours"), Kind.OURS),
    (AttributeError("ours"), Kind.OURS),
    (KeyError("ours"), Kind.OURS),
    (ValueError("ours"), Kind.OURS),
    (AssertionError("ours"), Kind.OURS),
    (MemoryError(), Kind.OURS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"),
    EXCEPTIONS,
    ids=[f"{type(error).__name__}-{kind.name}" for error, kind in EXCEPTIONS],
)
def test_an_exception_means(error: Exception, kind: Kind) -> None:
    found = trouble(error)
    assert found.kind is kind
    assert found.reason
    assert "\n" not in found.reason


def test_an_exception_of_a_library_never_heard_of_is_passing() -> None:
    class StrangeError(Exception):
        """Of the client of some cloud."""

    class StrangeValueError(ValueError):
        """Of the same."""

    assert trouble(StrangeError("?")).kind is Kind.PASSING
    assert trouble(StrangeValueError("?")).kind is Kind.PASSING


def test_a_reason_is_one_short_line_without_secrets() -> None:
    url = "https://user:word@host/file?X-Amz-Signature=5ec7e7&X-Amz-Credential=1d"
    reason = trouble(OSError(f"cannot read\n  {url}\n" + "x" * 10_000)).reason
    assert "\n" not in reason
    assert len(reason) <= 300
    for secret in ("word", "5ec7e7", "1d"):
        assert secret not in reason
    assert "host/file" in reason
