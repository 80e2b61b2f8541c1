"""Values that a table cannot hold, whoever computed it."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from stir_ray.identity import bytes_digest
from stir_ray.lake.parquet import images_of, provenance
from stir_ray.lake.schemas import ANALYSIS_TABLES, IMAGE_SETS, INVERSIONS, MATRICES, TableSchema
from stir_ray.measures import result_tables
from stir_ray.measures.half_samples import HALF_SAMPLES
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.numerics.settings import Initialization

_ROUNDING = 1e-9
_WITH_UNDEFINED = (*ANALYSIS_TABLES, HALF_SAMPLES.table, HALF_SAMPLES.result_table)
"""Not every hypothesis has a correlation, and of a few images not every view has a geometry."""
_BETWEEN_0_AND_1 = (
    *("stir", "cka", "noise_stir", "chance_stir", "chance_stir_q95"),
    *("test_accuracy", "accuracy", "chance", "subspace_similarity", "similarity"),
    *("unchanged", "chance_unchanged", "noise_unchanged"),
    *(
        "pearson_p",
        "bonferroni_p",
        "max_statistic_p",
        "circular_shift_p",
        "effective_p",
        "spearman_p",
    ),
    *("max_statistic_p_all_epochs", "circular_shift_p_all_epochs", "effective_p_all_epochs"),
)
_UNBIASED_OR_R = ("_unbiased", "_unbiased_q95", "_r", "pearson", "spearman")
_PERHAPS_UNDEFINED = ("test_accuracy", "accuracy", "stir_drift", "stir_unbiased_drift", "drift")
_NOT_NEGATIVE = (
    "residual",
    "centred_residual",
    "start_residual",
    "steps",
    "train_loss",
    "test_loss",
    "loss",
    "std",
)


def odd_values(schema: TableSchema, table: pa.Table) -> Iterator[str]:
    """What is wrong with the values of a table that is whole."""
    if table.num_rows == 0:
        # Results of a job that has no number yet are empty; a part never is.
        if schema not in (*result_tables().values(), *ANALYSIS_TABLES):
            yield "no rows"
        return
    keys = table.select(list(schema.key))
    if keys.group_by(list(schema.key)).aggregate([]).num_rows != table.num_rows:
        yield f"rows with equal {', '.join(schema.key)}"
    for name in table.column_names:
        column = table[name]
        if isinstance(column.type, pa.FixedShapeTensorType):
            if not np.isfinite(images_of(table)).all():
                yield f"`{name}` holds NaN or infinity"
        elif pa.types.is_floating(column.type):
            yield from _odd_numbers(name, _numbers(schema, table, name))
    if schema is IMAGE_SETS and _digest(table) != provenance(table).get("digest"):
        yield "its images are not those of its digest"


def _numbers(schema: TableSchema, table: pa.Table, name: str) -> np.ndarray:
    values = table[name].to_numpy()
    if schema is MATRICES and name == "std":
        return values[table["seeds"].to_numpy() > 1]  # of a single seed there is none
    if name in ("chance", "subspace_similarity"):
        return values[table["directions"].to_numpy() > 0]  # of none there is no similarity
    if schema in (SIMILARITIES.table, SIMILARITIES.result_table) and "_unbiased" in name:
        values = values[table["bandwidth"].to_numpy() > 0]  # Procrustes has no such estimator
    if name.startswith("snr_db") or (schema is INVERSIONS and name == "drift"):
        # Of equal representations, and of images that are still too unlike the given ones.
        return values[values != np.inf]
    is_baseline = name.startswith("noise_stir") and _may_have_a_grey_start(table)
    if name.startswith(_PERHAPS_UNDEFINED) or is_baseline or schema in _WITH_UNDEFINED:
        # A reconstruction has no accuracy, a grey start no geometry, and images after half of very
        # few steps no score.
        return values[~np.isnan(values)]
    return values


def _may_have_a_grey_start(table: pa.Table) -> bool:
    """Whether a result says that it has, or it is a part: what starts that has, its plan says."""
    job = provenance(table).get("job")
    return not isinstance(job, Mapping) or job["inversion"].get("init") == Initialization.GRAY


def _odd_numbers(name: str, values: np.ndarray) -> Iterator[str]:
    if values.size == 0:
        return
    low, high = values.min(), values.max()
    if not np.isfinite(values).all():
        yield f"`{name}` holds NaN or infinity"
    elif name in _BETWEEN_0_AND_1 and not -_ROUNDING <= low <= high <= 1 + _ROUNDING:
        yield f"`{name}` goes from {low} to {high}; it must stay in [0, 1]"
    elif name.endswith(_UNBIASED_OR_R) and not -1 - _ROUNDING <= low <= high <= 1 + _ROUNDING:
        # Unbiased HSIC is an inner product too (of U-centred matrices), so its ratio is bounded.
        yield f"`{name}` goes from {low} to {high}; it must stay in [-1, 1]"
    elif name.startswith(_NOT_NEGATIVE) and low < 0:
        yield f"`{name}` is negative: {low}"


def _digest(table: pa.Table) -> str:
    """What the images are, as whoever gathered them said it: ids, shape and pixels."""
    ids = table["image_id"].to_numpy()
    shape = [len(ids), *(table[name][0].as_py() for name in ("channels", "height", "width"))]
    pixels = b"".join(table["image"].to_pylist())
    return bytes_digest([ids.tobytes(), np.array(shape, dtype=np.int64).tobytes(), pixels])
