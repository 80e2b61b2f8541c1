"""The job file: what to compute, on which models and images, as frozen validated values.

Parameters live here; the command line has verbs. Secrets never stand in a job file: they come from
the machine's environment or role.
"""

from stir_ray.job.data import Data, Digits, ImageFolder, Selection
from stir_ray.job.job import Job
from stir_ray.job.models import (
    Architecture,
    CheckpointFinetuning,
    CheckpointModel,
    FromScratch,
    TimmModel,
    TrainedFinetuning,
    TrainedModel,
    Training,
)
from stir_ray.job.settings import Execution, InversionChoice, Sample, TimeLimits

__all__ = [
    "Architecture",
    "CheckpointFinetuning",
    "CheckpointModel",
    "Data",
    "Digits",
    "Execution",
    "FromScratch",
    "ImageFolder",
    "InversionChoice",
    "Job",
    "Sample",
    "Selection",
    "TimeLimits",
    "TimmModel",
    "TrainedFinetuning",
    "TrainedModel",
    "Training",
]
