"""Retry requests to a store until it answers, with random waits that grow, for a limited time."""

import errno
import logging
import math
import time

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.storage_errors import ErrorKind, classify_error

RETRY_TIMEOUT_S = 300.0
"""Seconds for which a failing request is repeated, unless `execution.storage_retry_s` says else."""
_LIKELY_PERMANENT_S = 10.0
"""The same for an error that hardly ever passes."""
_NOT_RETRIED = (ErrorKind.NOT_FOUND, ErrorKind.PERMANENT, ErrorKind.BUG)
# Random, since many workers that failed together would otherwise come back together.
_backoff = wait_random_exponential(multiplier=0.5, max=20, min=0.1)
_log = logging.getLogger(__name__)


class RetryPolicy:
    """Decide how often one request is repeated, and what its last error means to the caller.

    Attributes:
        waited_s: seconds between attempts so far.
    """

    def __init__(self, what: str, timeout_s: float) -> None:
        """Start with no failure.

        Args:
            what: fails, for messages: `lake s3://bucket: cannot read <key>`.
            timeout_s: seconds in which the request is repeated; 0 for a single attempt. They count
                from the first failure, since a request may take long before it fails.
        """
        self.waited_s = 0.0
        self._what, self._timeout_s = what, timeout_s
        self._first = self._since = -math.inf
        self._kind: ErrorKind | None = None

    def attempts(self) -> Retrying:
        """Return tenacity's loop over attempts, which raises the last error."""
        return Retrying(
            retry=retry_if_exception(_is_retried),
            wait=self._wait_s,
            stop=lambda _: self._remaining_s() <= 0,
            before_sleep=self._before_sleep,
            reraise=True,
        )

    def final_error(self, error: Exception) -> Exception:
        """Return what to raise instead of the error of the last attempt, or that error."""
        classified = classify_error(error)
        if classified.kind is ErrorKind.BUG:
            return error
        if classified.kind is ErrorKind.NOT_FOUND:
            return FileNotFoundError(errno.ENOENT, "there is none", self._what)
        message = f"{self._what} ({classified.reason})"
        if classified.kind in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE):
            tried_s = time.monotonic() - self._first
            tried = f"tried for {tried_s:.0f} s" if tried_s >= 1 else "tried once"
            return StorageUnavailable(f"{message}, {tried}; run again once it answers")
        return LakeError(f"{message}; {classified.remedy}")

    def _wait_s(self, state: RetryCallState) -> float:
        now, kind = time.monotonic(), classify_error(_error(state)).kind
        if self._kind is None:
            self._first = now
        if kind is not self._kind:
            self._kind, self._since = kind, now
        # Never past the end: the last attempt is made when the time is over.
        return min(_backoff(state), max(0.0, self._remaining_s()))

    def _remaining_s(self) -> float:
        end = self._first + self._timeout_s
        if self._kind is ErrorKind.LIKELY_PERMANENT:
            end = min(end, self._since + _LIKELY_PERMANENT_S)
        return end - time.monotonic()

    def _before_sleep(self, state: RetryCallState) -> None:
        self.waited_s += state.upcoming_sleep
        # A failure or two are everyday on object stores.
        if state.attempt_number == 3:
            reason = classify_error(_error(state)).reason
            _log.warning("%s (%s); retrying for %.0f s", self._what, reason, self._timeout_s)


def _error(state: RetryCallState) -> BaseException:
    return (state.outcome and state.outcome.exception()) or AssertionError("no error to retry")


def _is_retried(error: BaseException) -> bool:
    return isinstance(error, Exception) and classify_error(error).kind not in _NOT_RETRIED
