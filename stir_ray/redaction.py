"""Find and remove secrets in URLs: user, password and signature."""

import re

# User and password. Both may hold a slash, as keys of S3 do; a port and a later `@` are none. One
# slash is enough, since Python's paths write `s3://` as `s3:/`.
_PASSWORD = re.compile(r"(:/+)[^/?#@:\s]*:(?!\d+(?:[/?#\s]|$))(?:[^/?#\s]*@|\S*?@)")
# A user alone, where it may be a token; elsewhere it is a name: `abfs://container@account`.
_USER = re.compile(r"(\b(?:https?|ftps?):/+)[^/?#\s]*@", re.IGNORECASE)
# A query, which may sign a URL. Clients print it with the path alone too.
_QUERY = re.compile(r"(\?)[^\s'\")]+")
# A URL with a query; names of local files may hold a question mark.
_HAS_QUERY = re.compile(r"(?<![\w+.-])(?!(?:file|local|memory):)[\w+.-]+:/+[^?]*\?", re.IGNORECASE)


def secret_in(url: str) -> str | None:
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
