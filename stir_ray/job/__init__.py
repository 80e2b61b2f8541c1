"""The job file: what to compute, on which models and images, as frozen validated values.

Parameters live here; the command line has verbs. Secrets never stand in a job file: they come from
the machine's environment or role.
"""

from stir_ray.job.images import (
    UNPACKED,
    Cifar10,
    Cifar100,
    Data,
    Digits,
    EuroSat,
    ImageFolder,
    InLake,
    Pets,
    Published,
    Selection,
)
from stir_ray.job.models import (
    Architecture,
    CheckpointFinetuning,
    CheckpointModel,
    ComparedCheckpoint,
    FromScratch,
    RandomInit,
    RandomModel,
    TimmModel,
    TrainedFinetuning,
    TrainedModel,
    Training,
)
from stir_ray.job.robustness import CLEAN, Condition, Released, Robustness
from stir_ray.job.settings import Execution, InversionChoice, Sample, TimeLimits
from stir_ray.job.spec import Job

__all__ = [
    "CLEAN",
    "UNPACKED",
    "Architecture",
    "CheckpointFinetuning",
    "CheckpointModel",
    "Cifar10",
    "Cifar100",
    "ComparedCheckpoint",
    "Condition",
    "Data",
    "Digits",
    "EuroSat",
    "Execution",
    "FromScratch",
    "ImageFolder",
    "InLake",
    "InversionChoice",
    "Job",
    "Pets",
    "Published",
    "RandomInit",
    "RandomModel",
    "Released",
    "Robustness",
    "Sample",
    "Selection",
    "TimeLimits",
    "TimmModel",
    "TrainedFinetuning",
    "TrainedModel",
    "Training",
]
