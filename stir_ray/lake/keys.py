"""The key grammar: where everything lies in a lake. Keys are built and parsed here alone.

artifacts/<table>/<x>/<id>.parquet      one part, named by its content id, whose first digit is x
checkpoints/<training id>/<epoch>-<digest>.safetensors
                                    also of weights that are drawn: then the id of the model's card
checkpoints/<training id>/<epoch>-<digest>.resume.safetensors
                                    what a training goes on from; gone once it has ended
jobs/<job>/<table>.parquet          results of one job
jobs/<job>/specs/<content id>.json  a job as it was asked for, so that the lake knows what it needs
jobs/<job>/figures/<file>
jobs/<job>/page.html                all there is to see of a job, in one file
jobs/<job>/runs/<time>-<random>.json  what a run of a job took: a log, on which nothing depends
datasets/<name>/index.parquet       the images of a dataset, and the shard that holds each
datasets/<name>/<split>/<number>-<digest>.parquet  a shard of its images
check-<random>/object               written and removed to see that a lake works
"""

import re
import uuid
from datetime import UTC, datetime

from stir_ray.identity import ID_DIGITS, bytes_digest

CHECKPOINTS = "checkpoints"
"""The folder of all trained weights."""
DATASETS = "datasets"
"""The folder of all datasets that were imported."""
JOBS = "jobs"
"""The folder of what belongs to one job each."""
ARTIFACTS = "artifacts"
"""The folder of all parts."""
_EPOCH = (
    rf"{CHECKPOINTS}/(?P<training>[0-9a-f]{{{ID_DIGITS}}})/(?P<epoch>[0-9]+)"
    rf"-(?P<digest>[0-9a-f]{{{ID_DIGITS}}})"
)
_CHECKPOINT = re.compile(rf"{_EPOCH}\.safetensors")
_RESUME = re.compile(rf"{_EPOCH}\.resume\.safetensors")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._=-]*"
_DATASET = rf"{DATASETS}/(?P<dataset>{_NAME})"
_INDEX = re.compile(rf"{_DATASET}/index\.parquet")
_SHARD = re.compile(
    rf"{_DATASET}/(?P<split>[a-z]+)/(?P<number>[0-9]{{5,}})-(?P<digest>[0-9a-f]{{{ID_DIGITS}}})"
    r"\.parquet"
)
_JOB = rf"{JOBS}/(?P<job>{_NAME})"
_ASKED = re.compile(rf"{_JOB}/specs/(?P<id>[0-9a-f]{{{ID_DIGITS}}})\.json")
_RESULT = re.compile(rf"{_JOB}/(?P<table>[a-z_]+)\.parquet")
_FIGURE = re.compile(rf"{_JOB}/figures/(?P<file>[^/\n]+)")
_PAGE = re.compile(rf"{_JOB}/page\.html")
_RUN = re.compile(rf"{_JOB}/runs/(?P<began>[0-9]{{8}}T[0-9]{{6}}Z)-(?P<number>[0-9a-f]{{8}})\.json")
_BEGAN = "%Y%m%dT%H%M%SZ"
_PART = re.compile(
    rf"{ARTIFACTS}/(?P<table>[a-z_]+)/(?P<first>[0-9a-f])"
    rf"/(?P<id>(?P=first)[0-9a-f]{{{ID_DIGITS - 1}}})\.parquet"
)


def table_folders(table: str) -> tuple[str, ...]:
    """The folders of all parts of a table: sixteen, so that they can be listed at the same time.

    Also for the sake of file systems to which a folder of a million files is a burden.
    """
    return tuple(f"{ARTIFACTS}/{table}/{first:x}" for first in range(16))


def artifact_key(table: str, part_id: str) -> str:
    """The key of one part."""
    return f"{ARTIFACTS}/{table}/{part_id[0]}/{part_id}.parquet"


def parse_artifact_key(key: str) -> tuple[str, str] | None:
    """Table and id of a part's key, or None for any other key."""
    match = _PART.fullmatch(key)
    return (match["table"], match["id"]) if match else None


def training_folder(training_id: str) -> str:
    """The folder of all checkpoints and resume states of a training run."""
    return f"{CHECKPOINTS}/{training_id}"


def checkpoint_key(training_id: str, epoch: int, content: bytes) -> str:
    """The key of the weights after an epoch of a training run; epoch 0 is before it.

    Named by its bytes, so that training again, which may round differently, never replaces the
    weights that a finished run recorded.
    """
    return f"{training_folder(training_id)}/{epoch}-{bytes_digest([content])}.safetensors"


def parse_checkpoint_key(key: str) -> str | None:
    """The digest of the bytes that a checkpoint's key promises, or None for any other key."""
    match = _CHECKPOINT.fullmatch(key)
    return match["digest"] if match else None


def resume_key(training_id: str, epoch: int, content: bytes) -> str:
    """The key of what a training run goes on from after an epoch."""
    return f"{training_folder(training_id)}/{epoch}-{bytes_digest([content])}.resume.safetensors"


def parse_resume_key(key: str) -> tuple[int, str] | None:
    """The epoch and the digest of the bytes that a resume state's key promises, or None."""
    match = _RESUME.fullmatch(key)
    return (int(match["epoch"]), match["digest"]) if match else None


def training_of(key: str) -> str | None:
    """The id of the training that a checkpoint or resume state is of, or None for any other key."""
    match = _CHECKPOINT.fullmatch(key) or _RESUME.fullmatch(key)
    return match["training"] if match else None


def dataset_folder(dataset: str) -> str:
    """The folder of a dataset."""
    return f"{DATASETS}/{dataset}"


def index_key(dataset: str) -> str:
    """The key of the index of a dataset, which is written last."""
    return f"{dataset_folder(dataset)}/index.parquet"


def parse_index_key(key: str) -> str | None:
    """The dataset that an index is of, or None for any other key."""
    match = _INDEX.fullmatch(key)
    return match["dataset"] if match else None


def shard_key(dataset: str, split: str, number: int, digest: str) -> str:
    """The key of a shard of a dataset.

    Args:
        dataset: its name.
        split: in lower case.
        number: of the shard in the split, from 0.
        digest: of the images in it, so that importing the same again makes the same key.
    """
    return f"{dataset_folder(dataset)}/{split}/{number:05d}-{digest}.parquet"


def parse_shard_key(key: str) -> tuple[str, str, int, str] | None:
    """Dataset, split, number and digest of a shard's key, or None for any other key."""
    match = _SHARD.fullmatch(key)
    return match and (match["dataset"], match["split"], int(match["number"]), match["digest"])


def is_costly(key: str) -> bool:
    """Whether the object took long to compute, so that it is worth keeping while the lake is away.

    Parts, checkpoints and resume states are; all that lies under `jobs/` is made from them in
    seconds.
    """
    return key.startswith((f"{ARTIFACTS}/", f"{CHECKPOINTS}/"))


def check_key() -> str:
    """A key, in a folder of its own, that nothing else uses."""
    return f"check-{uuid.uuid4().hex}/object"


def result_folder(job: str) -> str:
    """The folder of a job's results."""
    return f"{JOBS}/{job}"


def result_key(job: str, table: str) -> str:
    """The key of a table of a job's results."""
    return f"{result_folder(job)}/{table}.parquet"


def parse_result_key(key: str) -> tuple[str, str] | None:
    """Job and table of a result's key, or None for any other key."""
    match = _RESULT.fullmatch(key)
    return (match["job"], match["table"]) if match else None


def spec_folder(job: str) -> str:
    """The folder of all that was asked for under a job's name."""
    return f"{result_folder(job)}/specs"


def spec_key(job: str, asked_id: str) -> str:
    """The key of a job as it was asked for once."""
    return f"{spec_folder(job)}/{asked_id}.json"


def parse_spec_key(key: str) -> tuple[str, str] | None:
    """Job and content id of what was asked for, or None for any other key."""
    match = _ASKED.fullmatch(key)
    return (match["job"], match["id"]) if match else None


def figure_folder(job: str) -> str:
    """The folder of a job's figures."""
    return f"{result_folder(job)}/figures"


def figure_key(job: str, file: str) -> str:
    """The key of a figure file."""
    return f"{figure_folder(job)}/{file}"


def parse_figure_key(key: str) -> tuple[str, str] | None:
    """Job and file of a figure's key, or None for any other key."""
    match = _FIGURE.fullmatch(key)
    return (match["job"], match["file"]) if match else None


def page_key(job: str) -> str:
    """The key of a job's page."""
    return f"{result_folder(job)}/page.html"


def parse_page_key(key: str) -> str | None:
    """The job that a page is of, or None for any other key."""
    match = _PAGE.fullmatch(key)
    return match and match["job"]


def run_folder(job: str) -> str:
    """The folder of what the runs of a job took."""
    return f"{result_folder(job)}/runs"


def run_key(job: str, began: datetime, number: int) -> str:
    """The key of what a run took.

    Args:
        job: name of the job.
        began: when; to the second, with a time zone.
        number: random, below 2**32: two runs may begin in one second.
    """
    return f"{run_folder(job)}/{began.astimezone(UTC).strftime(_BEGAN)}-{number:08x}.json"


def parse_run_key(key: str) -> tuple[str, datetime, int] | None:
    """Job, begin and number of a run, or None for any other key."""
    match = _RUN.fullmatch(key)
    if not match:
        return None
    try:
        began = datetime.strptime(match["began"], _BEGAN).replace(tzinfo=UTC)
    except ValueError:  # no such day or hour
        return None
    return match["job"], began, int(match["number"], 16)
