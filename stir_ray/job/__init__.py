"""The job file: what to compute, on which models and images, as frozen validated values.

Secrets never stand in a job file: they come from the machine's environment or role.
"""

from stir_ray.job.spec import CLEAN, Condition, Job, Robustness
from stir_ray.job.study_inputs import (
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

__all__ = [
    "CLEAN",
    "DATASET",
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
    "FromScratch",
    "ImageFolder",
    "InLake",
    "Job",
    "Pets",
    "RandomModel",
    "Robustness",
    "Selection",
    "TimmModel",
    "TrainedFinetuning",
    "TrainedModel",
    "Training",
]
