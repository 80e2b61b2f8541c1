"""What a thing *is*, as a short hash: canonical JSON, content ids and the seeds drawn from them.

Two tasks that mean the same have the same id on every machine and in every process, so that one
lake serves many jobs and a changed setting never picks up an old result.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from typing import Any

ID_DIGITS = 32
"""Hex digits of a content id: 128 bits, so that ids of billions of tasks do not meet."""


@dataclass(frozen=True)
class Canonical:
    """The canonical JSON of something that many ids depend on, made once.

    Attributes:
        text: as `canonical_json` made it.
    """

    text: str

    @classmethod
    def of(cls, value: object) -> "Canonical":
        """Of a value; errors as `canonical_json`."""
        return cls(canonical_json(value))


def canonical_json(value: object) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN.

    Raises:
        TypeError: for a value without content of its own (a function, an arbitrary object), whose
            text would differ between processes.
        ValueError: for NaN or infinity, which JSON cannot say.
    """
    # By hand and not by `json.dumps` of a copy: a plan of a million tasks makes millions of ids.
    if type(value) is str:
        return _text(value)
    if type(value) is int:
        return repr(value)
    if type(value) is Canonical:
        return value.text
    if type(value) is dict:
        return _object(value)
    return _rarer(value)


_text = json.encoder.encode_basestring_ascii


def _object(value: Mapping[Any, object]) -> str:
    unnamed = [key for key in value if not isinstance(key, str)]
    if unnamed:
        raise TypeError(f"a key of an identity must be text, got {unnamed[0]!r}")
    members = [_text(key) + ":" + canonical_json(value[key]) for key in sorted(value)]
    return "{" + ",".join(members) + "}"


def _rarer(value: object) -> str:
    # Enum first: a str-valued Enum is a str too, and its value is what identifies it.
    if isinstance(value, Enum):
        return canonical_json(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return json.dumps(value, allow_nan=False)
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join([canonical_json(item) for item in value]) + "]"
    if is_dataclass(value) and not isinstance(value, type):
        return canonical_json(asdict(value))
    raise TypeError(f"{type(value).__name__} has no content to identify it by: {value!r}")


def content_id(kind: str, *, recipe: int, **content: object) -> str:
    """The id of what `kind` makes of `content`.

    Args:
        kind: the stage or table, so that equal content of different kinds gets different ids.
        recipe: bumped by hand when the code behind `kind` starts to give other results.
        content: everything that the result depends on, and nothing else.
    """
    text = canonical_json({"kind": kind, "recipe": recipe, "content": content})
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def bytes_digest(pieces: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of the pieces in order, each preceded by its length so that borders count."""
    digest = hashlib.sha256()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        digest.update(len(view).to_bytes(8, "little"))
        digest.update(view)
    return digest.hexdigest()[:ID_DIGITS]


def derive_seed(*parts: object) -> int:
    """A 63-bit seed drawn from what it is for, e.g. `derive_seed("shuffle", training_id, 3)`."""
    digest = hashlib.sha256(canonical_json(list(parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
