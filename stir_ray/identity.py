"""Identify things by a short hash of their content, and derive random seeds from it.

Two tasks that mean the same have the same id on every machine and in every process, so that one
lake serves many jobs and a changed setting never picks up an old result.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

ID_DIGITS = 32
"""Hex digits of a content id: 128 bits, so that ids of billions of tasks do not collide."""
# Raised by hand when the code behind a table starts to give other results.
RECIPES = {
    "image_sets": 1,
    "models": 3,
    "trainings": 2,
    "inversions": 5,
    "images": 4,
    "comparisons": 4,
    "test_sets": 1,
    "accuracies": 2,
    "correct": 2,
}


def canonical_json(value: object) -> str:
    """Return the JSON text of a value, the same in every process: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: if part of the value has no content, such as a function.
        ValueError: for NaN or infinity, which JSON cannot represent.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no content to identify it by: {value!r}")


def text_id(text: str) -> str:
    """Return the id of a content by its canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def content_id(kind: str, *, recipe: int, **content: object) -> str:
    """Return the id of what `kind` makes of `content`.

    Args:
        kind: the stage or table, so that equal content of different kinds gets different ids.
        recipe: a number raised by hand when the code behind `kind` starts to give other results.
        content: everything that the result depends on, and nothing else.
    """
    return text_id(canonical_json({"kind": kind, "recipe": recipe, "content": content}))


@dataclass(frozen=True)
class Artifact:
    """An object that a task stores, identified before it is computed."""

    table: str
    id: str  # hash of the content
    # Canonical JSON of everything that the result depends on, never of where it lies or who
    # computed it; empty if only the id is known.
    content: str = field(default="", compare=False, repr=False)


def artifact(table: str, recipe: int | None = None, /, **content: object) -> Artifact:
    """Return the artifact of a table that depends on `content`, and on the table's recipe."""
    recipe = RECIPES[table] if recipe is None else recipe
    text = canonical_json({"kind": table, "recipe": recipe, "content": content})
    return Artifact(table, text_id(text), text)


def bytes_digest(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of the pieces in order, each preceded by its length."""
    digest = hashlib.sha256()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        digest.update(len(view).to_bytes(8, "little"))
        digest.update(view)
    return digest.hexdigest()[:ID_DIGITS]


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed for a purpose, e.g. `derive_seed("shuffle", training_id, 3)`."""
    digest = hashlib.sha256(canonical_json(list(parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
