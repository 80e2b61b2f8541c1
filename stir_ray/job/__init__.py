"""The job file: what to compute, on which models and images, as frozen validated values.

Secrets never stand in a job file: they come from the machine's environment or role.
"""

from stir_ray.job.spec import CLEAN, Condition, Job, Robustness  # noqa: F401 - for other packages
from stir_ray.job.study_inputs import (  # noqa: F401 - for other packages
    DATASET,
    UNPACKED,
    Architecture,
    CheckpointFinetuning,
    CheckpointModel,
    Cifar10,
    Cifar100,
    ComparedCheckpoint,
    Data,
    Digits,
    EuroSat,
    FromScratch,
    ImageFolder,
    InLake,
    Pets,
    RandomModel,
    Selection,
    TimmModel,
    TrainedFinetuning,
    TrainedModel,
    Training,
)
