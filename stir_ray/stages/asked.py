"""Which versions of its files a job means: looked at once, at the beginning of a command."""

from stir_ray.errors import InputError
from stir_ray.job import Job
from stir_ray.lake.objects import file_version
from stir_ray.plan.asked import Asked, files_of
from stir_ray.stages.several import several


def look(job: Job) -> Asked:
    """The job with its files as they are now.

    Raises:
        InputError: if one of them cannot be read.
    """
    paths = files_of(job)
    return Asked(job, dict(zip(paths, several(_version, paths), strict=True)))


def _version(path: str) -> str:
    try:
        return file_version(path)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{path}: cannot be read ({error or 'no such file'})") from None
