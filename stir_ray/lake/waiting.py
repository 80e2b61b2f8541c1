"""Asking a store again until it answers, for as long as one is willing to wait."""

import errno
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from stir_ray.errors import LakeError, StorageUnavailable
from stir_ray.lake.storage_errors import Kind, Trouble, trouble

PATIENCE_S = 300.0
"""For how long a store in trouble is asked again, unless one says otherwise."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_UNSURE_S = 10.0
"""The same for a trouble that is hardly ever passing."""
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked of a store, in the words of its error message."""

    place: str
    verb: str
    """As in `cannot <verb>`."""
    retry_timeout_s: float
    """0 asks once."""


def wait_s(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (≥ 1), `chance` being drawn from [0, 1).

    Doubles up to a limit. Up to half of it is left to chance: many workers that failed together
    would otherwise come back together.
    """
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failures - 1, 30))
    return longest * (1 + chance) / 2


def limit_s(kind: Kind, retry_timeout_s: float) -> float:
    """For how long a trouble of a kind is worth asking again."""
    if kind in (Kind.ABSENT, Kind.REFUSED):
        return 0.0
    return min(_UNSURE_S, retry_timeout_s) if kind is Kind.LIKELY_PERMANENT else retry_timeout_s


def with_retry(errand: Request, ask: Callable[[], _T], at_trouble: Callable[[Trouble], str]) -> _T:
    """What `ask` returns, asked again after each passing trouble.

    Args:
        errand: what is asked, and for how long after the first trouble.
        ask: one try. It may take long by itself before it fails: that is not counted.
        at_trouble: called after each failed try; returns what the user should know beyond it.

    Raises:
        FileNotFoundError: if there is no such object.
        LakeError: if a person must mend something first.
        StorageUnavailable: if the trouble lasted longer than the patience.
    """
    failures, kind = 0, None
    first = since = 0.0
    while True:
        try:
            answer = ask()
        except Exception as error:
            found = trouble(error)
            if found.kind is Kind.OURS:
                raise
            note = at_trouble(found)
            now = time.monotonic()
            failures += 1
            first = now if failures == 1 else first
            is_news = found.kind is not kind
            if is_news:
                kind, since = found.kind, now
            worth = since + limit_s(found.kind, errand.retry_timeout_s)
            left = min(first + errand.retry_timeout_s, worth) - now
            if left <= 0:
                raise ending(errand, found, now - first, note) from error
            if is_news:
                told = (errand.place, errand.verb, found.reason)
                _log.warning("%s: cannot %s (%s), and is asked again", *told)
        else:
            if failures:
                waited_s = time.monotonic() - first
                _log.warning("%s: answers again after %.0f s", errand.place, waited_s)
            return answer
        # Never past the end: the last try is made when the patience ends.
        time.sleep(min(wait_s(failures, random.random()), left))  # noqa: S311 - no secret


def ending(errand: Request, found: Trouble, waited_s: float, note: str = "") -> Exception:
    """The exception that a trouble ends in, saying what happened and what to do."""
    what = f"{errand.place}: cannot {errand.verb} ({found.reason})"
    known = f"{note}; " if note else ""
    if found.kind is Kind.ABSENT:
        return FileNotFoundError(errno.ENOENT, f"cannot {errand.verb}, not there", errand.place)
    if found.kind in (Kind.PASSING, Kind.UNREACHABLE):
        lasted = f"for {waited_s:.0f} s" if waited_s >= 1 else "once"
        return StorageUnavailable(f"{what}, tried {lasted}; {known}run again once it answers")
    return LakeError(f"{what}; {known}{found.remedy}")
