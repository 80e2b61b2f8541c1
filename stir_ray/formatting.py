"""Text for people: lists, numbers and times in words, and URLs without their secrets."""

import re
from collections.abc import Iterable, Sequence

# User and password. Both may hold a slash, as keys of S3 do; a port and a later `@` are none. One
# slash is enough, since Python's paths write `s3://` as `s3:/`.
_PASSWORD = re.compile(r"(:/+)[^/?#@:\s]*:(?!\d+(?:[/?#\s]|$))(?:[^/?#\s]*@|\S*?@)")
# A user alone, where it may be a token; elsewhere it is a name: `abfs://container@account`.
_USER = re.compile(r"(\b(?:https?|ftps?):/+)[^/?#\s]*@", re.IGNORECASE)
# A query, which may sign a URL. Clients print it with the path alone too.
_QUERY = re.compile(r"(\?)[^\s'\")]+")
# A URL with a query; names of local files may hold a question mark.
_HAS_QUERY = re.compile(r"(?<![\w+.-])(?!(?:file|local|memory):)[\w+.-]+:/+[^?]*\?", re.IGNORECASE)


def find_secret(url: str) -> str | None:
    """Return in words what in a URL or path may be a secret, or None."""
    # White space would end a URL in running text, but does not end the password in this one.
    url = re.sub(r"\s", "", url)
    if _PASSWORD.search(url):
        return "a password"
    if _USER.search(url):
        return "a user name or token"
    return "a query, which may sign it," if _HAS_QUERY.search(url) else None


def without_secrets(text: str) -> str:
    """Return a text in which URLs keep neither user and password nor query."""
    text = _PASSWORD.sub(r"\1…@", text)
    return _QUERY.sub(r"\1…", _USER.sub(r"\1…@", text))


def format_values(values: Iterable[int] | Iterable[str]) -> str:
    """Return distinct values in order; three or more numbers in a row as `1-12`."""
    runs: list[list] = []
    for value in sorted(set(values)):
        if runs and isinstance(value, int) and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(str(number) for number in run)
        for run in runs
    )


def pluralize(count: int, what: str) -> str:
    """Return a number of things."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def format_hours(hours: float) -> tuple[str, str]:
    """Return hours and their unit: `h`, or `min` below a tenth of an hour."""
    if 0 < hours < 0.1:
        return f"{60 * hours:.2g}", "min"
    return (f"{hours:.3g}" if hours < 100 else f"{hours:,.0f}"), "h"


def format_list(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
