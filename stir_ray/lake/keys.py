"""The key of every object of a lake; no other module knows where things lie.

Calling a template builds a key, and `parse` returns what it was built from. The digest of a
checkpoint is of its bytes, so that training again, which may round differently, never replaces the
weights that a finished run recorded.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from string import Formatter
from typing import Any

from stir_ray.identity import ID_DIGITS

ARTIFACTS, CHECKPOINTS, DATASETS, JOBS = "artifacts", "checkpoints", "datasets", "jobs"
"""The top folders of a lake."""
_CACHED_TABLES = ("images", "image_sets")
_ID = rf"[0-9a-f]{{{ID_DIGITS}}}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._=-]*"
_TIME = "%Y%m%dT%H%M%SZ"


def _moment(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "table": ("[a-z_]+", str),
    "id": (_ID, str),
    "training": (_ID, str),
    "epoch": ("[0-9]+", int),
    "digest": (_ID, str),
    "job": (_NAME, str),
    "file": (r"[^/\n]+", str),
    "began": ("[0-9]{8}T[0-9]{6}Z", _moment),
    "random": ("[0-9a-f]{8}", partial(int, base=16)),
    "dataset": (_NAME, str),
    "split": ("[a-z]+", str),
    "shard": ("[0-9]{5,}", int),
}
"""What the text of a field looks like in a key, and how its value is read from it."""


class KeyTemplate:
    """The keys of one kind."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._names: list[str] = []
        pattern = ""
        for text, field, _, _ in Formatter().parse(template):
            pattern += re.escape(text)
            if field in _FIELDS:
                self._names.append(field)
                pattern += f"({_FIELDS[field][0]})"
            elif field:
                pattern += "."  # an index into another field
        self._pattern = re.compile(pattern)

    def __call__(self, *values: object) -> str:
        """Build a key from the values of its fields, in the order of the template."""
        return self._template.format(**dict(zip(self._names, values, strict=True)))

    def parse(self, key: str) -> tuple[Any, ...] | None:
        """Return the values that a key was built from; None for a key of another kind."""
        match = self._pattern.fullmatch(key)
        if not match:
            return None
        try:
            fields = zip(self._names, match.groups(), strict=True)
            values = tuple(_FIELDS[name][1](text) for name, text in fields)
        except ValueError:  # no such day or hour
            return None
        return values if self(*values) == key else None


# By the first digit, so that a table is listed by sixteen requests at once, and no folder of a file
# system holds a million files.
artifact_key = KeyTemplate("artifacts/{table}/{id[0]}/{id}.parquet")
training_folder = KeyTemplate("checkpoints/{training}")
# Random weights lie under the id of their model's record.
checkpoint_key = KeyTemplate("checkpoints/{training}/{epoch}-{digest}.safetensors")
# The state from which a training resumes, removed once it has ended.
resume_key = KeyTemplate("checkpoints/{training}/{epoch}-{digest}.resume.safetensors")
result_folder = KeyTemplate("jobs/{job}")
result_key = KeyTemplate("jobs/{job}/{table}.parquet")
# A job as it was resolved, so that the lake knows what it needs.
spec_folder = KeyTemplate("jobs/{job}/specs")
spec_key = KeyTemplate("jobs/{job}/specs/{id}.json")
figure_folder = KeyTemplate("jobs/{job}/figures")
figure_key = KeyTemplate("jobs/{job}/figures/{file}")
page_key = KeyTemplate("jobs/{job}/page.html")
# The record of a run, on which nothing depends; random, since two may start in one second.
run_key = KeyTemplate(f"jobs/{{job}}/runs/{{began:{_TIME}}}-{{random:08x}}.json")
dataset_folder = KeyTemplate("datasets/{dataset}")
# The images of a dataset and their shards; written last.
index_key = KeyTemplate("datasets/{dataset}/index.parquet")
# Shards are counted from 0 in each split; the digest is of the images.
shard_key = KeyTemplate("datasets/{dataset}/{split}/{shard:05d}-{digest}.parquet")


def table_folders(table: str) -> tuple[str, ...]:
    """Return the folders of all artifacts of a table, to be listed at the same time."""
    return tuple(f"{ARTIFACTS}/{table}/{first:x}" for first in range(16))


def training_of(key: str) -> str | None:
    """Return the training id of a checkpoint's or resume state's key, None for any other key."""
    parsed = checkpoint_key.parse(key) or resume_key.parse(key)
    return parsed[0] if parsed else None


def is_cacheable(key: str) -> bool:
    """Return whether many tasks read the object, which is large and never changes."""
    artifact = artifact_key.parse(key)
    if artifact:
        return artifact[0] in _CACHED_TABLES
    return bool(checkpoint_key.parse(key) or shard_key.parse(key))
