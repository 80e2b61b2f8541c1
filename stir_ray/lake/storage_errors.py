"""Classify what went wrong with a store: one table of what is transient, and what to do about it.

Client libraries are known here by what their exceptions say, never by importing them: by S3 error
code, HTTP status, errno, or the name of the class. An unknown error counts as transient, because
another request costs minutes and giving up may cost hours of computing.
"""

import errno
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

from stir_ray.formatting import without_secrets


class ErrorKind(Enum):
    """What to do about an error of a store."""

    NOT_FOUND = auto()  # there is no such object
    PERMANENT = auto()  # a person must fix it; another request gets the same answer
    LIKELY_PERMANENT = auto()  # nearly always permanent, but known to pass within seconds
    CREDENTIALS_EXPIRED = auto()  # credentials may be renewed late
    UNREACHABLE = auto()  # nothing answers at that address
    TRANSIENT = auto()  # the store, or the network, is in trouble for a while
    BUG = auto()  # a mistake in a program, not of the store


class StorageError(NamedTuple):
    """A classified error."""

    kind: ErrorKind
    reason: str  # what the store or its client said, in one line and without secrets
    remedy: str  # what a person can do about it


_ALLOW = "allow these credentials to list, get, put and delete there"
_BUCKET = "create the bucket or correct its name"
_CREDENTIALS = (
    "give credentials that the store knows: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_PROFILE, or a role"
)
_RENEW = "renew the credentials, which have expired or were refused without a reason"
_CLOCK = "set the clock of this machine"
_REGION = "set AWS_REGION to the region of the bucket"
_CHECKSUM = (
    "either a proxy changes the bytes, or the store does not accept a PUT with Content-MD5, which "
    "is the only checksum it needs to support; use one that does"
)
_UNABLE = "use a store that can list objects, and put, get and delete whole ones"
_SPACE = "make room there"
_PLACE = "check that the place exists and that you may read and write there"
_ADDRESS = "check the address (AWS_ENDPOINT_URL for S3) and the network"
_AGAIN = "run again once it answers"


def _by_word(*rows: tuple[str, ErrorKind, str]) -> dict[str, tuple[ErrorKind, str]]:
    return {word: (kind, remedy) for words, kind, remedy in rows for word in words.split()}


# S3 error codes. A code that is a number comes from an answer without a body: all that a HEAD gets.
# Other 5xx are transient by their status; the transient codes here come with a 4xx. Bytes that were
# damaged on the way (BadDigest) are right the next time, unless the store computes another digest.
_CODES = _by_word(
    ("NoSuchKey NoSuchVersion 404", ErrorKind.NOT_FOUND, _PLACE),
    ("NoSuchBucket InvalidBucketName", ErrorKind.PERMANENT, _BUCKET),
    ("AccessDenied AllAccessDisabled", ErrorKind.PERMANENT, _ALLOW),
    ("InvalidAccessKeyId SignatureDoesNotMatch", ErrorKind.PERMANENT, _CREDENTIALS),
    ("PermanentRedirect TemporaryRedirect Redirect 301 307", ErrorKind.PERMANENT, _REGION),
    ("AuthorizationHeaderMalformed", ErrorKind.PERMANENT, _REGION),
    ("IllegalLocationConstraintException", ErrorKind.PERMANENT, _REGION),
    ("NotImplemented InvalidDigest 501", ErrorKind.PERMANENT, _CHECKSUM),
    ("QuotaExceeded XMinioStorageFull 507", ErrorKind.PERMANENT, _SPACE),
    ("BadDigest", ErrorKind.LIKELY_PERMANENT, _CHECKSUM),
    ("ExpiredToken ExpiredTokenException 400 401 403", ErrorKind.CREDENTIALS_EXPIRED, _RENEW),
    ("TokenRefreshRequired InvalidToken InvalidTokenId", ErrorKind.CREDENTIALS_EXPIRED, _RENEW),
    ("RequestExpired", ErrorKind.CREDENTIALS_EXPIRED, _RENEW),
    ("RequestTimeTooSkewed", ErrorKind.CREDENTIALS_EXPIRED, _CLOCK),
    ("RequestTimeout RequestTimeoutException IncompleteBody", ErrorKind.TRANSIENT, _AGAIN),
    ("OperationAborted ConditionalRequestConflict SlowDown", ErrorKind.TRANSIENT, _AGAIN),
    ("Throttling ThrottlingException ThrottledException", ErrorKind.TRANSIENT, _AGAIN),
    ("RequestThrottled RequestThrottledException", ErrorKind.TRANSIENT, _AGAIN),
    ("RequestLimitExceeded BandwidthLimitExceeded", ErrorKind.TRANSIENT, _AGAIN),
    ("TooManyRequests TooManyRequestsException", ErrorKind.TRANSIENT, _AGAIN),
    ("PriorRequestNotComplete XAmzContentSHA256Mismatch", ErrorKind.TRANSIENT, _AGAIN),
)
# Names of exception classes, or of a base of them. The service that hands credentials to a machine
# drops requests when many processes start.
_NAMES = _by_word(
    ("NoCredentialsError CredentialRetrievalError", ErrorKind.LIKELY_PERMANENT, _CREDENTIALS),
    ("MetadataRetrievalError", ErrorKind.LIKELY_PERMANENT, _CREDENTIALS),
    ("PartialCredentialsError ProfileNotFound ConfigNotFound", ErrorKind.PERMANENT, _CREDENTIALS),
    ("ConfigParseError InvalidConfigError NoAuthTokenError", ErrorKind.PERMANENT, _CREDENTIALS),
    ("MissingDependencyException", ErrorKind.PERMANENT, _CREDENTIALS),
    ("TokenRetrievalError SSOError LoginError", ErrorKind.CREDENTIALS_EXPIRED, _RENEW),
    ("RefreshError", ErrorKind.CREDENTIALS_EXPIRED, _RENEW),
    ("ParamValidationError", ErrorKind.PERMANENT, _BUCKET),
    ("BaseEndpointResolverError InvalidRegionError", ErrorKind.PERMANENT, _REGION),
    ("EndpointProviderError InvalidEndpointConfigurationError", ErrorKind.PERMANENT, _ADDRESS),
    ("FlexibleChecksumError ChecksumError", ErrorKind.LIKELY_PERMANENT, _CHECKSUM),
    ("EndpointConnectionError ConnectTimeoutError gaierror", ErrorKind.UNREACHABLE, _ADDRESS),
    ("ProxyConnectionError SSLError ClientConnectorError", ErrorKind.UNREACHABLE, _ADDRESS),
    ("SSLCertVerificationError", ErrorKind.UNREACHABLE, _ADDRESS),
    ("NotImplementedError", ErrorKind.PERMANENT, _UNABLE),
    # Python raises these by errno; file systems written in Python raise them without.
    ("FileNotFoundError IsADirectoryError", ErrorKind.NOT_FOUND, _PLACE),
    ("PermissionError NotADirectoryError FileExistsError", ErrorKind.PERMANENT, _PLACE),
    ("ConnectionRefusedError", ErrorKind.UNREACHABLE, _ADDRESS),
)
_ERRNOS = _by_word(
    ("EROFS ENAMETOOLONG ELOOP", ErrorKind.PERMANENT, _PLACE),
    ("ENOSPC EDQUOT EFBIG", ErrorKind.PERMANENT, _SPACE),
    ("EHOSTUNREACH ENETUNREACH", ErrorKind.UNREACHABLE, _ADDRESS),
)
_BUGS = (TypeError, AttributeError, NameError, LookupError, AssertionError, ArithmeticError,
         ValueError, ImportError, MemoryError, SyntaxError)  # fmt: skip
_MAX_REASON = 300


def classify_error(error: BaseException) -> StorageError:
    """Return what an exception of a store or its client means."""
    for link in _informative_links(error):
        if verdict := _verdict(link):
            kind, remedy = verdict
            return StorageError(kind, _reason(link), remedy)
    if _is_bug(error):
        return StorageError(ErrorKind.BUG, _reason(error), "")
    return StorageError(ErrorKind.TRANSIENT, _reason(error), _AGAIN)


def _informative_links(error: BaseException) -> Iterator[BaseException]:
    # Outermost first. File systems translate what a store said to an `OSError`, and some errors to
    # FileNotFoundError: a missing bucket, a dead server. Only the cause tells them apart. (A
    # KeyError as the cause is how a store in memory finds that there is nothing.)
    link: BaseException | None = error
    while link is not None:
        cause = link.__cause__
        if not isinstance(link, OSError) or cause is None or _is_bug(cause):
            yield link
        link = cause


def _verdict(error: BaseException) -> tuple[ErrorKind, str] | None:
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        code = str(response["Error"].get("Code"))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _CODES.get(code) or _by_status(status)
    if "CERTIFICATE_VERIFY_FAILED" in str(error) or str(error).startswith("Invalid endpoint"):
        return ErrorKind.PERMANENT, _ADDRESS
    for kind in type(error).__mro__:
        if kind.__name__ in _NAMES:
            return _NAMES[kind.__name__]
    if isinstance(error, OSError) and error.errno is not None:
        return _ERRNOS.get(errno.errorcode.get(error.errno, ""))
    # Never `code`: HTTP clients give 400 there to an answer that was cut short.
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    return None if status == 400 else _by_status(status)


def _by_status(status: object) -> tuple[ErrorKind, str] | None:
    if not isinstance(status, int) or not 300 <= status < 600:
        return None
    if status in (404, 410):
        return ErrorKind.NOT_FOUND, _PLACE
    if status in (501, 507):
        return ErrorKind.PERMANENT, _UNABLE
    if status in (408, 409, 425, 429) or status >= 500:
        return ErrorKind.TRANSIENT, _AGAIN
    return ErrorKind.PERMANENT, _ALLOW if status in (401, 403) else _PLACE


def _is_bug(error: BaseException) -> bool:
    # Python's own exceptions alone: what a library derives from them may be about the store.
    return isinstance(error, _BUGS) and type(error).__module__ == "builtins"


def _reason(error: BaseException) -> str:
    response: Any = getattr(error, "response", None)
    answer = response.get("Error") if isinstance(response, dict) else None
    name, text = type(error).__name__, str(error)
    if answer:
        name, text = str(answer.get("Code")), str(answer.get("Message") or "")
    text = without_secrets(" ".join(text.split()))
    return (f"{name}: {text}" if text and text != name else name)[:_MAX_REASON]
