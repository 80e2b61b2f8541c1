"""Everything stir_ray raises on purpose.

    StirRayError              a message for a person; its class names the exit code
    ├── InputError            2: the input is wrong, and nothing was computed from it
    │   ├── JobError          the job file: unknown key, wrong type, value out of range
    │   ├── DataError         the images: missing, of the wrong shape, too few
    │   ├── ModelError        the model: no such architecture, a checkpoint that does not fit
    │   └── LakeError         the lake: cannot be opened, read or written
    ├── MissingArtifact       3: an artifact that a task reads is not in the lake
    ├── CorruptArtifact       3: a stored artifact does not have the checksum in its footer
    │   └── SchemaMismatch    3: it is intact, but of another table or version
    ├── TasksFailed           3: the run ended, and some tasks failed
    ├── RunAborted            4: too many tasks failed alike, so the run was stopped
    ├── StorageUnavailable    4: the lake did not answer for minutes
    └── ClusterUnavailable    4: the cluster did not answer for minutes

A message says what is wrong, where, what was expected and what to do. Each error is built from its
message alone, so that it survives pickling between a worker and the driver.
"""


class StirRayError(Exception):
    exit_code = 1
    """What the command line returns."""


class InputError(StirRayError):
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
    exit_code = 3


class CorruptArtifact(StirRayError):
    exit_code = 3


class SchemaMismatch(CorruptArtifact):
    """A stored artifact is intact, but does not have the columns of its table."""


class TasksFailed(StirRayError):
    exit_code = 3


class RunAborted(StirRayError):
    exit_code = 4


class StorageUnavailable(StirRayError):
    exit_code = 4


class ClusterUnavailable(StirRayError):
    exit_code = 4
