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
datasets/<name>/index.parquet       the images of a dataset, and the shard that holds each
datasets/<name>/<split>/<number>-<digest>.parquet  a shard of its images
"""

import re
from datetime import UTC, datetime

from stir_ray.identity import ID_DIGITS, bytes_digest

ARTIFACTS, CHECKPOINTS, DATASETS, JOBS = "artifacts", "checkpoints", "datasets", "jobs"
"""The top folders of a lake."""
_CACHED_TABLES = ("images", "image_sets")
_STARTED_AT = "%Y%m%dT%H%M%SZ"
_ID = rf"[0-9a-f]{{{ID_DIGITS}}}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._=-]*"
_ARTIFACT = re.compile(
    rf"{ARTIFACTS}/(?P<table>[a-z_]+)/(?P<first>[0-9a-f])"
    rf"/(?P<id>(?P=first)[0-9a-f]{{{ID_DIGITS - 1}}})\.parquet"
)
_CHECKPOINT = re.compile(
    rf"{CHECKPOINTS}/(?P<training>{_ID})/(?P<epoch>[0-9]+)-(?P<digest>{_ID})"
    r"(?P<resume>\.resume)?\.safetensors"
)
_INDEX = re.compile(rf"{DATASETS}/(?P<dataset>{_NAME})/index\.parquet")
_SHARD = re.compile(
    rf"{DATASETS}/(?P<dataset>{_NAME})/(?P<split>[a-z]+)/(?P<number>[0-9]{{5,}})"
    rf"-(?P<digest>{_ID})\.parquet"
)
_JOB = rf"{JOBS}/(?P<job>{_NAME})"
_RESULT = re.compile(rf"{_JOB}/(?P<table>[a-z_]+)\.parquet")
_SPEC = re.compile(rf"{_JOB}/specs/(?P<id>{_ID})\.json")
_FIGURE = re.compile(rf"{_JOB}/figures/(?P<file>[^/\n]+)")
_PAGE = re.compile(rf"{_JOB}/page\.html")
_RUN = re.compile(rf"{_JOB}/runs/(?P<time>[0-9]{{8}}T[0-9]{{6}}Z)-(?P<number>[0-9a-f]{{8}})\.json")


def table_folders(table: str) -> tuple[str, ...]:
    """Return the folders of all artifacts of a table: sixteen, to be listed at the same time.

    Also for the sake of file systems to which a folder of a million files is a burden.
    """
    return tuple(f"{ARTIFACTS}/{table}/{first:x}" for first in range(16))


def artifact_key(table: str, artifact_id: str) -> str:
    """Return the key of an artifact."""
    return f"{ARTIFACTS}/{table}/{artifact_id[0]}/{artifact_id}.parquet"


def parse_artifact_key(key: str) -> tuple[str, str] | None:
    """Return table and id of an artifact's key, or None for any other key."""
    match = _ARTIFACT.fullmatch(key)
    return (match["table"], match["id"]) if match else None


def training_folder(training_id: str) -> str:
    """Return the folder of all checkpoints and resume states of a training."""
    return f"{CHECKPOINTS}/{training_id}"


def checkpoint_key(training_id: str, epoch: int, content: bytes) -> str:
    """Return the key of the weights after an epoch of a training; epoch 0 is before it.

    It names the bytes, so that training again, which may round differently, never replaces the
    weights that a finished run recorded.
    """
    return f"{training_folder(training_id)}/{epoch}-{bytes_digest([content])}.safetensors"


def parse_checkpoint_key(key: str) -> str | None:
    """Return the digest of the bytes that a checkpoint's key names, or None for any other key."""
    match = _CHECKPOINT.fullmatch(key)
    return match["digest"] if match and not match["resume"] else None


def resume_key(training_id: str, epoch: int, content: bytes) -> str:
    """Return the key of the state after an epoch from which a training can be resumed."""
    return f"{training_folder(training_id)}/{epoch}-{bytes_digest([content])}.resume.safetensors"


def parse_resume_key(key: str) -> tuple[int, str] | None:
    """Return epoch and digest of a resume state's key, or None for any other key."""
    match = _CHECKPOINT.fullmatch(key)
    return (int(match["epoch"]), match["digest"]) if match and match["resume"] else None


def training_of(key: str) -> str | None:
    """Return the training of a checkpoint's or resume state's key, or None for any other key."""
    match = _CHECKPOINT.fullmatch(key)
    return match and match["training"]


def dataset_folder(dataset: str) -> str:
    """Return the folder of a dataset."""
    return f"{DATASETS}/{dataset}"


def index_key(dataset: str) -> str:
    """Return the key of the index of a dataset, which is written last."""
    return f"{dataset_folder(dataset)}/index.parquet"


def parse_index_key(key: str) -> str | None:
    """Return the dataset of an index's key, or None for any other key."""
    match = _INDEX.fullmatch(key)
    return match and match["dataset"]


def shard_key(dataset: str, split: str, number: int, digest: str) -> str:
    """Return the key of a shard: `number` counts from 0 in its split, `digest` is of its images."""
    return f"{dataset_folder(dataset)}/{split}/{number:05d}-{digest}.parquet"


def parse_shard_key(key: str) -> tuple[str, str, int, str] | None:
    """Return dataset, split, number and digest of a shard's key, or None for any other key."""
    match = _SHARD.fullmatch(key)
    return match and (match["dataset"], match["split"], int(match["number"]), match["digest"])


def is_cacheable(key: str) -> bool:
    """Return whether many tasks read the object, which is large and never changes."""
    named = parse_artifact_key(key)
    if named:
        return named[0] in _CACHED_TABLES
    return parse_checkpoint_key(key) is not None or parse_shard_key(key) is not None


def result_folder(job: str) -> str:
    """Return the folder of a job's results."""
    return f"{JOBS}/{job}"


def result_key(job: str, table: str) -> str:
    """Return the key of a table of a job's results."""
    return f"{result_folder(job)}/{table}.parquet"


def parse_result_key(key: str) -> tuple[str, str] | None:
    """Return job and table of a result's key, or None for any other key."""
    match = _RESULT.fullmatch(key)
    return (match["job"], match["table"]) if match else None


def spec_folder(job: str) -> str:
    """Return the folder of all resolved jobs of a name."""
    return f"{result_folder(job)}/specs"


def spec_key(job: str, spec_id: str) -> str:
    """Return the key of a resolved job."""
    return f"{spec_folder(job)}/{spec_id}.json"


def parse_spec_key(key: str) -> tuple[str, str] | None:
    """Return name and content id of a resolved job's key, or None for any other key."""
    match = _SPEC.fullmatch(key)
    return (match["job"], match["id"]) if match else None


def figure_folder(job: str) -> str:
    """Return the folder of a job's figures."""
    return f"{result_folder(job)}/figures"


def figure_key(job: str, file: str) -> str:
    """Return the key of a figure file."""
    return f"{figure_folder(job)}/{file}"


def parse_figure_key(key: str) -> tuple[str, str] | None:
    """Return job and file of a figure's key, or None for any other key."""
    match = _FIGURE.fullmatch(key)
    return (match["job"], match["file"]) if match else None


def page_key(job: str) -> str:
    """Return the key of a job's page."""
    return f"{result_folder(job)}/page.html"


def parse_page_key(key: str) -> str | None:
    """Return the job of a page's key, or None for any other key."""
    match = _PAGE.fullmatch(key)
    return match and match["job"]


def run_folder(job: str) -> str:
    """Return the folder of the logs of a job's runs."""
    return f"{result_folder(job)}/runs"


def run_key(job: str, started_at: datetime, number: int) -> str:
    """Return the key of a run's log.

    Args:
        job: name of the job.
        started_at: to the second, with a time zone.
        number: random, below 2**32: two runs may start in one second.
    """
    return f"{run_folder(job)}/{started_at.astimezone(UTC).strftime(_STARTED_AT)}-{number:08x}.json"


def parse_run_key(key: str) -> tuple[str, datetime, int] | None:
    """Return job, start and number of a run's key, or None for any other key."""
    match = _RUN.fullmatch(key)
    if not match:
        return None
    try:
        started_at = datetime.strptime(match["time"], _STARTED_AT).replace(tzinfo=UTC)
    except ValueError:  # no such day or hour
        return None
    return match["job"], started_at, int(match["number"], 16)
