"""The key grammar: where everything lies in a lake. Keys are built and parsed here alone.

parts/<table>/<id>.parquet          one part, named by its content id
checkpoints/<training id>/<epoch>.safetensors
jobs/<job>/<table>.parquet          results of one job
jobs/<job>/figures/<file>
checks/<random>                     written and removed to see that a lake works
"""

import re

from stir_ray.identity import ID_DIGITS, bytes_digest

CHECKPOINTS = "checkpoints"
"""The folder of all trained weights."""
_CHECKPOINT = re.compile(
    rf"{CHECKPOINTS}/[0-9a-f]{{{ID_DIGITS}}}/\d+-(?P<digest>[0-9a-f]{{{ID_DIGITS}}})\.safetensors"
)
_PART = re.compile(rf"parts/(?P<table>[a-z_]+)/(?P<id>[0-9a-f]{{{ID_DIGITS}}})\.parquet")


def table_folder(table: str) -> str:
    """The folder of all parts of a table."""
    return f"parts/{table}"


def part_key(table: str, part_id: str) -> str:
    """The key of one part."""
    return f"{table_folder(table)}/{part_id}.parquet"


def parse_part_key(key: str) -> tuple[str, str] | None:
    """Table and id of a part's key, or None for any other key."""
    match = _PART.fullmatch(key)
    return (match["table"], match["id"]) if match else None


def checkpoint_key(training_id: str, epoch: int, content: bytes) -> str:
    """The key of the weights after an epoch of a training run; epoch 0 is before it.

    Named by its bytes, so that training again, which may round differently, never replaces the
    weights that a finished run recorded.
    """
    return f"{CHECKPOINTS}/{training_id}/{epoch}-{bytes_digest([content])}.safetensors"


def parse_checkpoint_key(key: str) -> str | None:
    """The digest of the bytes that a checkpoint's key promises, or None for any other key."""
    match = _CHECKPOINT.fullmatch(key)
    return match["digest"] if match else None


def result_folder(job: str) -> str:
    """The folder of a job's results."""
    return f"jobs/{job}"


def result_key(job: str, table: str) -> str:
    """The key of a table of a job's results."""
    return f"{result_folder(job)}/{table}.parquet"


def figure_folder(job: str) -> str:
    """The folder of a job's figures."""
    return f"{result_folder(job)}/figures"


def figure_key(job: str, file: str) -> str:
    """The key of a figure file."""
    return f"{figure_folder(job)}/{file}"
