"""What went wrong with a store, and what follows from it: one pure function over exceptions.

Client libraries are known here by what their exceptions say, never by importing them: by S3 error
code, HTTP status, errno, or the name of the class. What is not known counts as passing, because
asking again costs minutes and giving up may cost hours of computing.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stir_ray.redaction import without_secrets


class Kind(Enum):
    """What follows from a trouble."""

    ABSENT = "there is no such object"
    REFUSED = "a person must mend it; asking again gets the same answer"
    LIKELY_PERMANENT = "nearly always refused for good, but known to come right within seconds"
    CREDENTIALS_EXPIRED = "the credentials ran out; whoever renews them may be late"
    UNREACHABLE = "nothing answers at that address"
    PASSING = "the store, or the way to it, is in trouble for a while"
    OURS = "a mistake in a program, not of the store"


@dataclass(frozen=True)
class Trouble:
    """What went wrong, in words."""

    kind: Kind
    reason: str
    """What the store or its client said, in one line and without secrets."""
    remedy: str
    """What a person can do about it."""


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
    "either something on the way changes the bytes, or the store does not take a PUT with "
    "Content-MD5, which is the only checksum asked of it; use one that does"
)
_UNABLE = "use a store that can list objects, and put, get and delete whole ones"
_SPACE = "make room there"
_PLACE = "check that the place exists and that you may read and write there"
_ADDRESS = "check the address (AWS_ENDPOINT_URL for S3) and the network"
_AGAIN = "run again once it answers"

_Verdict = tuple[Kind, str]
_CODES: dict[str, _Verdict] = {
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "404"), (Kind.ABSENT, _PLACE)),
    **dict.fromkeys(("NoSuchBucket", "InvalidBucketName"), (Kind.REFUSED, _BUCKET)),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled"), (Kind.REFUSED, _ALLOW)),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch"), (Kind.REFUSED, _CREDENTIALS)),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
         "IllegalLocationConstraintException", "301", "307"),
        (Kind.REFUSED, _REGION),
    ),
    **dict.fromkeys(("NotImplemented", "InvalidDigest", "501"), (Kind.REFUSED, _CHECKSUM)),
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "507"), (Kind.REFUSED, _SPACE)),
    # Bytes that were damaged on the way are right the next time; a store that counts otherwise
    # never agrees.
    "BadDigest": (Kind.LIKELY_PERMANENT, _CHECKSUM),
    # An error code that is a number comes from an answer without a body: all that a HEAD gets.
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired",
         "InvalidToken", "InvalidTokenId", "400", "401", "403"),
        (Kind.CREDENTIALS_EXPIRED, _RENEW),
    ),
    "RequestTimeTooSkewed": (Kind.CREDENTIALS_EXPIRED, _CLOCK),
    # All other 5xx are passing by their status. These come with a 4xx.
    **dict.fromkeys(
        ("RequestTimeout", "RequestTimeoutException", "IncompleteBody", "OperationAborted",
         "ConditionalRequestConflict", "SlowDown", "Throttling", "ThrottlingException",
         "ThrottledException", "RequestThrottled", "RequestThrottledException",
         "RequestLimitExceeded", "BandwidthLimitExceeded", "TooManyRequests",
         "TooManyRequestsException", "PriorRequestNotComplete", "XAmzContentSHA256Mismatch"),
        (Kind.PASSING, _AGAIN),
    ),
}  # fmt: skip

_NAMES: dict[str, _Verdict] = {
    # The service that hands credentials to a machine drops requests when many processes start.
    **dict.fromkeys(
        ("NoCredentialsError", "CredentialRetrievalError", "MetadataRetrievalError"),
        (Kind.LIKELY_PERMANENT, _CREDENTIALS),
    ),
    **dict.fromkeys(
        ("PartialCredentialsError", "ProfileNotFound", "ConfigNotFound", "ConfigParseError",
         "InvalidConfigError", "MissingDependencyException", "NoAuthTokenError"),
        (Kind.REFUSED, _CREDENTIALS),
    ),
    **dict.fromkeys(
        ("TokenRetrievalError", "SSOError", "LoginError", "RefreshError"),
        (Kind.CREDENTIALS_EXPIRED, _RENEW),
    ),
    "ParamValidationError": (Kind.REFUSED, _BUCKET),
    **dict.fromkeys(("BaseEndpointResolverError", "InvalidRegionError"), (Kind.REFUSED, _REGION)),
    **dict.fromkeys(
        ("EndpointProviderError", "InvalidEndpointConfigurationError"), (Kind.REFUSED, _ADDRESS)
    ),
    **dict.fromkeys(("FlexibleChecksumError", "ChecksumError"), (Kind.LIKELY_PERMANENT, _CHECKSUM)),
    **dict.fromkeys(
        ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError",
         "SSLCertVerificationError", "ClientConnectorError", "gaierror"),
        (Kind.UNREACHABLE, _ADDRESS),
    ),
    "NotImplementedError": (Kind.REFUSED, _UNABLE),
}  # fmt: skip

_ERRNOS: dict[int, _Verdict] = {
    **dict.fromkeys((errno.ENOENT, errno.EISDIR), (Kind.ABSENT, _PLACE)),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG,
         errno.ELOOP),
        (Kind.REFUSED, _PLACE),
    ),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (Kind.REFUSED, _SPACE)),
    **dict.fromkeys(
        (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH), (Kind.UNREACHABLE, _ADDRESS)
    ),
}  # fmt: skip

_OURS = (TypeError, AttributeError, NameError, LookupError, AssertionError, ArithmeticError,
         ValueError, ImportError, MemoryError, SyntaxError)  # fmt: skip
_LONGEST_REASON = 300


def trouble(error: BaseException) -> Trouble:
    """What kind of trouble an exception tells of."""
    for link in _links(error):
        verdict = _of_response(link) or _of_name(link) or _of_status(link) or _of_errno(link)
        if verdict:
            return Trouble(verdict[0], _reason(link), verdict[1])
    if _is_ours(error):
        return Trouble(Kind.OURS, _reason(error), "")
    return Trouble(Kind.PASSING, _reason(error), _AGAIN)


def _links(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that say something themselves, outermost first.

    File systems translate what a store said to an `OSError`, and several to FileNotFoundError: a
    missing bucket, a dead server. Only the cause tells them apart. (A KeyError as the cause is
    how a store in memory finds that there is nothing.)
    """
    link: BaseException | None = error
    while link is not None:
        cause = link.__cause__
        if not isinstance(link, OSError) or cause is None or _is_ours(cause):
            yield link
        link = cause


def _of_response(error: BaseException) -> _Verdict | None:
    response: Any = getattr(error, "response", None)
    if not isinstance(response, dict) or "Error" not in response:
        return None
    code = str(response["Error"].get("Code"))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return _CODES.get(code) or _by_status(status)


def _of_name(error: BaseException) -> _Verdict | None:
    if "CERTIFICATE_VERIFY_FAILED" in str(error) or str(error).startswith("Invalid endpoint"):
        return Kind.REFUSED, _ADDRESS
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((_NAMES[name] for name in names if name in _NAMES), None)


def _of_status(error: BaseException) -> _Verdict | None:
    # Never `code`: HTTP clients give 400 there to an answer that was cut short.
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    return None if status == 400 else _by_status(status)


def _by_status(status: object) -> _Verdict | None:
    if not isinstance(status, int) or not 300 <= status < 600:
        return None
    if status in (404, 410):
        return Kind.ABSENT, _PLACE
    if status in (501, 507):
        return Kind.REFUSED, _UNABLE
    if status in (408, 409, 425, 429) or status >= 500:
        return Kind.PASSING, _AGAIN
    return Kind.REFUSED, _ALLOW if status in (401, 403) else _PLACE


def _of_errno(error: BaseException) -> _Verdict | None:
    if not isinstance(error, OSError):
        return None
    if error.errno is not None:
        return _ERRNOS.get(error.errno)
    # Raised by a file system of Python, which gives no number.
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return Kind.ABSENT, _PLACE
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
        return Kind.REFUSED, _PLACE
    return (Kind.UNREACHABLE, _ADDRESS) if isinstance(error, ConnectionRefusedError) else None


def _is_ours(error: BaseException) -> bool:
    """Whether Python itself raised it for a mistake; a library's own subclass is its own matter."""
    return isinstance(error, _OURS) and type(error).__module__ == "builtins"


def _reason(error: BaseException) -> str:
    said: dict[str, str] = getattr(error, "response", None) or {}
    told: Any = said.get("Error", {}) if isinstance(said, dict) else {}
    name, text = type(error).__name__, str(error)
    if told:
        name, text = str(told.get("Code")), str(told.get("Message") or "")
    text = without_secrets(" ".join(text.split()))
    return (f"{name}: {text}" if text and text != name else name)[:_LONGEST_REASON]
