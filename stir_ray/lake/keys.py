"""Build and parse the key of every object of a lake; no other module knows where things lie.

artifacts/<table>/<x>/<id>.parquet  an artifact, named by its content id, whose first digit is x
checkpoints/<training id>/<epoch>-<digest>.safetensors
                                    also of random weights: then under the id of the model's record
checkpoints/<training id>/<epoch>-<digest>.resume.safetensors
                                    state to resume a training from; gone once it has ended
jobs/<job>/<table>.parquet          results of a job
jobs/<job>/specs/<content id>.json  a job as it was resolved, so that the lake knows what it needs
jobs/<job>/figures/<file>
jobs/<job>/page.html                the report of a job in one file
jobs/<job>/runs/<time>-<random>.json  the log of a run, on which nothing depends
datasets/<name>/index.parquet       the images of a dataset and their shards; written last
datasets/<name>/<split>/<number>-<digest>.parquet  a shard of its images

`<x>_key` builds a key. `parse_<x>_key` returns what a key was built from, or None for a key of
another kind. The digest of a checkpoint is of its bytes, so that training again, which may round
differently, never replaces the weights that a finished run recorded.
"""

import re
from datetime import UTC, datetime

from stir_ray.identity import ID_DIGITS, bytes_digest

ARTIFACTS, CHECKPOINTS, DATASETS, JOBS = "artifacts", "checkpoints", "datasets", "jobs"
"""The top folders of a lake."""
_CACHED_TABLES = ("images", "image_sets")
_TIME = "%Y%m%dT%H%M%SZ"
_ID = rf"[0-9a-f]{{{ID_DIGITS}}}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._=-]*"
_ARTIFACT = re.compile(rf"artifacts/([a-z_]+)/([0-9a-f])/(\2[0-9a-f]{{{ID_DIGITS - 1}}})\.parquet")
_CHECKPOINT = re.compile(rf"checkpoints/({_ID})/([0-9]+)-({_ID})(\.resume)?\.safetensors")
_INDEX = re.compile(rf"datasets/({_NAME})/index\.parquet")
_SHARD = re.compile(rf"datasets/({_NAME})/([a-z]+)/([0-9]{{5,}})-({_ID})\.parquet")
_RESULT = re.compile(rf"jobs/({_NAME})/([a-z_]+)\.parquet")
_SPEC = re.compile(rf"jobs/({_NAME})/specs/({_ID})\.json")
_FIGURE = re.compile(rf"jobs/({_NAME})/figures/([^/\n]+)")
_PAGE = re.compile(rf"jobs/({_NAME})/page\.html")
_RUN = re.compile(rf"jobs/({_NAME})/runs/([0-9]{{8}}T[0-9]{{6}}Z)-([0-9a-f]{{8}})\.json")


def table_folders(table: str) -> tuple[str, ...]:
    """Return the folders of all artifacts of a table: sixteen, to be listed at the same time.

    Also for the sake of file systems to which a folder of a million files is a burden.
    """
    return tuple(f"{ARTIFACTS}/{table}/{first:x}" for first in range(16))


def artifact_key(table: str, artifact_id: str) -> str:
    return f"{ARTIFACTS}/{table}/{artifact_id[0]}/{artifact_id}.parquet"


def parse_artifact_key(key: str) -> tuple[str, str] | None:
    """Return table and id."""
    match = _ARTIFACT.fullmatch(key)
    return match and (match[1], match[3])


def training_folder(training_id: str) -> str:
    return f"{CHECKPOINTS}/{training_id}"


def checkpoint_key(training_id: str, epoch: int, content: bytes) -> str:
    return f"{training_folder(training_id)}/{epoch}-{bytes_digest([content])}.safetensors"


def parse_checkpoint_key(key: str) -> str | None:
    """Return the digest of the checkpoint's bytes."""
    match = _CHECKPOINT.fullmatch(key)
    return match[3] if match and not match[4] else None


def resume_key(training_id: str, epoch: int, content: bytes) -> str:
    return f"{training_folder(training_id)}/{epoch}-{bytes_digest([content])}.resume.safetensors"


def parse_resume_key(key: str) -> tuple[int, str] | None:
    """Return the epoch, and the digest of the state's bytes."""
    match = _CHECKPOINT.fullmatch(key)
    return (int(match[2]), match[3]) if match and match[4] else None


def training_of(key: str) -> str | None:
    """Return the training id of a checkpoint's or resume state's key, None for any other key."""
    match = _CHECKPOINT.fullmatch(key)
    return match and match[1]


def dataset_folder(dataset: str) -> str:
    return f"{DATASETS}/{dataset}"


def index_key(dataset: str) -> str:
    return f"{dataset_folder(dataset)}/index.parquet"


def parse_index_key(key: str) -> str | None:
    match = _INDEX.fullmatch(key)
    return match and match[1]


def shard_key(dataset: str, split: str, number: int, digest: str) -> str:
    """Return a shard's key; `number` counts from 0 in its split, `digest` is of its images."""
    return f"{dataset_folder(dataset)}/{split}/{number:05d}-{digest}.parquet"


def parse_shard_key(key: str) -> tuple[str, str, int, str] | None:
    match = _SHARD.fullmatch(key)
    return match and (match[1], match[2], int(match[3]), match[4])


def is_cacheable(key: str) -> bool:
    """Return whether many tasks read the object, which is large and never changes."""
    named = parse_artifact_key(key)
    if named:
        return named[0] in _CACHED_TABLES
    return parse_checkpoint_key(key) is not None or parse_shard_key(key) is not None


def result_folder(job: str) -> str:
    return f"{JOBS}/{job}"


def result_key(job: str, table: str) -> str:
    return f"{result_folder(job)}/{table}.parquet"


def parse_result_key(key: str) -> tuple[str, str] | None:
    match = _RESULT.fullmatch(key)
    return match and (match[1], match[2])


def spec_folder(job: str) -> str:
    return f"{result_folder(job)}/specs"


def spec_key(job: str, spec_id: str) -> str:
    return f"{spec_folder(job)}/{spec_id}.json"


def parse_spec_key(key: str) -> tuple[str, str] | None:
    match = _SPEC.fullmatch(key)
    return match and (match[1], match[2])


def figure_folder(job: str) -> str:
    return f"{result_folder(job)}/figures"


def figure_key(job: str, file: str) -> str:
    return f"{figure_folder(job)}/{file}"


def parse_figure_key(key: str) -> tuple[str, str] | None:
    match = _FIGURE.fullmatch(key)
    return match and (match[1], match[2])


def page_key(job: str) -> str:
    return f"{result_folder(job)}/page.html"


def parse_page_key(key: str) -> str | None:
    match = _PAGE.fullmatch(key)
    return match and match[1]


def run_key(job: str, started_at: datetime, number: int) -> str:
    """Return a run's key; `number` is random, below 2**32: two runs may start in one second."""
    time = started_at.astimezone(UTC).strftime(_TIME)
    return f"{result_folder(job)}/runs/{time}-{number:08x}.json"


def parse_run_key(key: str) -> tuple[str, datetime, int] | None:
    match = _RUN.fullmatch(key)
    if not match:
        return None
    try:
        started_at = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
    except ValueError:  # no such day or hour
        return None
    return match[1], started_at, int(match[3], 16)
