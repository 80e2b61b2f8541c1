"""Everything stir_ray raises on purpose.

    StirRayError              a message for a person; its class names the exit code
    ├── InputError            2: the input is wrong, and nothing was computed from it
    │   ├── JobError          the job file: unknown key, wrong type, value out of range
    │   ├── DataError         the images: missing, of the wrong shape, too few
    │   ├── ModelError        the model: no such architecture, a checkpoint that does not fit
    │   └── LakeError         the lake: cannot be opened, read or written
    ├── MissingArtifact           3: an artifact that a task reads is not in the lake
    ├── CorruptArtifact           3: a stored artifact does not have the checksum in its footer
    │   └── SchemaMismatch    3: it is intact, but of another table or version
    ├── TasksFailed           3: the run ended, and some tasks failed
    ├── RunAborted            4: too many tasks failed alike, so the run was stopped
    ├── StorageUnavailable    4: the lake did not answer for minutes
    └── ClusterUnavailable    4: the cluster did not answer for minutes

A message says what is wrong, where, what was expected and what to do. Each error is built from its
message alone, so that it survives pickling between a worker and the driver.
"""


class StirRayError(Exception):
    """The root: `exit_code` is what the command line returns for it."""

    exit_code = 1


class InputError(StirRayError):
    """The input is wrong; nothing was computed from it."""

    exit_code = 2


class JobError(InputError):
    """The job file does not describe a job that can be run."""


class DataError(InputError):
    """The images that a job describes are not there, or not as it describes them."""


class ModelError(InputError):
    """A model or checkpoint cannot be loaded as the job describes it."""


class LakeError(InputError):
    """The lake cannot be opened, read or written."""


class MissingArtifact(StirRayError):
    """An artifact that a task reads is not in the lake; the task that makes it must run first."""

    exit_code = 3


class CorruptArtifact(StirRayError):
    """A stored artifact cannot be read back as it was written."""

    exit_code = 3


class SchemaMismatch(CorruptArtifact):
    """A stored artifact is intact, but does not have the columns of its table."""


class TasksFailed(StirRayError):
    """Some tasks failed; running again retries them."""

    exit_code = 3


class RunAborted(StirRayError):
    """The run stopped itself because tasks kept failing in the same way."""

    exit_code = 4


class StorageUnavailable(StirRayError):
    """The lake or another store did not answer in time; the same command resumes once it does."""

    exit_code = 4


class ClusterUnavailable(StirRayError):
    """The cluster of a submitted job did not answer in time."""

    exit_code = 4
