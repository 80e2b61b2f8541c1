"""Every column of every table, declared once with its type and meaning."""

from stir_ray.lake.schemas.analysis import (
    ANALYSIS_TABLES,
    CORRELATIONS,
    HYPOTHESES,
    LEARNING_WITH_FORGETTING,
)
from stir_ray.lake.schemas.artifacts import (
    ACCURACIES,
    ARTIFACT_TABLES,
    COMPARISONS,
    CORRECT,
    FAILURES,
    IMAGE_SETS,
    IMAGES,
    INVERSIONS,
    MODELS,
    TEST_SETS,
    TRAININGS,
)
from stir_ray.lake.schemas.columns import IMAGE, Column, TableSchema
from stir_ray.lake.schemas.datasets import DATASET_TABLES, INDEX, SHARD
from stir_ray.lake.schemas.results import (
    HISTORY,
    MATRICES,
    RESULT_TABLES,
    RESULTS,
    ROBUSTNESS,
    TEST_CORRECT,
)

__all__ = [
    "ACCURACIES",
    "ANALYSIS_TABLES",
    "ARTIFACT_TABLES",
    "COMPARISONS",
    "CORRECT",
    "CORRELATIONS",
    "DATASET_TABLES",
    "FAILURES",
    "HISTORY",
    "HYPOTHESES",
    "IMAGE",
    "IMAGES",
    "IMAGE_SETS",
    "INDEX",
    "INVERSIONS",
    "LEARNING_WITH_FORGETTING",
    "MATRICES",
    "MODELS",
    "RESULTS",
    "RESULT_TABLES",
    "ROBUSTNESS",
    "SHARD",
    "TEST_CORRECT",
    "TEST_SETS",
    "TRAININGS",
    "Column",
    "TableSchema",
]
