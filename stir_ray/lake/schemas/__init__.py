"""Every column of every table, declared once with its type and meaning."""

from stir_ray.lake.schemas.analysis import (
    ANALYSIS_TABLES,
    CORRELATIONS,
    HYPOTHESES,
    LEARNING_WITH_FORGETTING,
)
from stir_ray.lake.schemas.beside import (
    METAMER_COUNTS,
    METAMERS,
    OTHER_SIMILARITIES,
    PREDICTIONS,
    SIMILARITIES,
    UNCHANGED_PREDICTIONS,
)
from stir_ray.lake.schemas.columns import IMAGE, Column, TableSchema
from stir_ray.lake.schemas.datasets import DATASET_TABLES, INDEX, SHARD
from stir_ray.lake.schemas.parts import (
    ACCURACIES,
    COMPARISONS,
    FAILURES,
    IMAGE_SETS,
    IMAGES,
    INVERSIONS,
    MODELS,
    PART_TABLES,
    SUBSPACES,
    TEST_SETS,
    TRAININGS,
)
from stir_ray.lake.schemas.results import (
    HISTORY,
    MATRICES,
    RESULT_TABLES,
    RESULTS,
    ROBUSTNESS,
    SUBSPACE_SIMILARITY,
)

__all__ = [
    "ACCURACIES",
    "ANALYSIS_TABLES",
    "COMPARISONS",
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
    "METAMERS",
    "METAMER_COUNTS",
    "MODELS",
    "OTHER_SIMILARITIES",
    "PART_TABLES",
    "PREDICTIONS",
    "RESULTS",
    "RESULT_TABLES",
    "ROBUSTNESS",
    "SHARD",
    "SIMILARITIES",
    "SUBSPACES",
    "SUBSPACE_SIMILARITY",
    "TEST_SETS",
    "TRAININGS",
    "UNCHANGED_PREDICTIONS",
    "Column",
    "TableSchema",
]
