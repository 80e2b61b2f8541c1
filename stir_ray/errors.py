"""Everything stir_ray raises on purpose.

    StirRayError              one clear line for a person; its class names the exit code
    ├── InputError            2: the person can mend it, and nothing was computed yet
    │   ├── JobError          the job file: unknown key, wrong type, value out of range
    │   ├── DataError         the images: missing, of the wrong shape, too few
    │   ├── ModelError        the model: no such architecture, a checkpoint that does not fit
    │   └── LakeError         the lake: cannot be reached, read or written
    ├── MissingPart           3: an artifact that a task needs is not in the lake
    ├── CorruptPart           3: a stored object does not match its checksum
    │   └── SchemaMismatch    3: it is whole, but of another table or another version of it
    ├── TasksFailed           3: the run ended and some tasks have no artifact
    ├── RunAborted            4: too many tasks failed alike, so the run was stopped
    ├── StorageUnavailable    4: the lake did not answer for minutes
    └── ClusterUnavailable    4: the cluster did not answer for minutes

A message says what is wrong, where, what was expected and what to do about it. Each error is built
from its message alone, so that it survives pickling between a worker and the driver.
"""


class StirRayError(Exception):
    """The root: `exit_code` is what the command line returns for it."""

    exit_code = 1


class InputError(StirRayError):
    """Bad input, found before anything was computed from it."""

    exit_code = 2


class JobError(InputError):
    """The job file does not say something that can be run."""


class DataError(InputError):
    """The images a job asks for cannot be had as it asks for them."""


class ModelError(InputError):
    """A model or checkpoint cannot be built as the job describes it."""


class LakeError(InputError):
    """The lake cannot be reached, read or written."""


class MissingPart(StirRayError):
    """A part that a task builds on is not in the lake; the task that makes it must run first."""

    exit_code = 3


class CorruptPart(StirRayError):
    """A stored part cannot be read back as it was written."""

    exit_code = 3


class SchemaMismatch(CorruptPart):
    """A stored part is whole, but has other columns than its table has now."""


class TasksFailed(StirRayError):
    """Some tasks ended without a part; running again retries them."""

    exit_code = 3


class RunAborted(StirRayError):
    """The run stopped itself because tasks kept failing in the same way."""

    exit_code = 4


class StorageUnavailable(StirRayError):
    """The lake, or another place that is read, gave no answer for as long as one may wait for it.

    Nothing has to be mended in the job: the same command goes on once the place is back.
    """

    exit_code = 4


class ClusterUnavailable(StirRayError):
    """The cluster that a job was sent to gave no answer for as long as one may wait for it."""

    exit_code = 4
