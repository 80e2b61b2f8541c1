"""The analysis of a job's own results, stored beside them."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from stir_ray.errors import LakeError
from stir_ray.identity import content_id
from stir_ray.job import Job
from stir_ray.lake.layout import result_key
from stir_ray.lake.schemas import HISTORY, RESULTS, SUBSPACE_SIMILARITY, TableSchema
from stir_ray.lake.tables import Lake, encode
from stir_ray.plan.study import Study
from stir_ray.stages.analyse import Analysis, analyse
from stir_ray.stages.reduce import Reduced
from stir_ray.stages.trajectories import CLEAN, Measured, trajectories

_RECIPE = 1


def analyse_job(job: Job, study: Study, lake: Lake, reduced: Reduced) -> tuple[Analysis, ...]:
    """Of every compared model by both estimators.

    Args:
        job: whose results are analysed.
        study: its layers.
        lake: that holds the results.
        reduced: how complete they are.

    Raises:
        LakeError: if nothing of the job has a number yet.
    """
    if not reduced.present:
        raise LakeError(
            f"job {job.name}: no cell has a number yet, so there is nothing to analyse; "
            "`stir-ray run` first"
        )
    results, history, subspaces = (
        lake.read_object(schema, result_key(job.name, schema.name)).to_pandas()
        for schema in (RESULTS, HISTORY, SUBSPACE_SIMILARITY)
    )
    measured = Measured(results, _accuracies(history), subspaces)
    layers = study.question.layers
    return tuple(analyse(one) for one in trajectories(measured, job, layers))


def store_analysis(
    tables: Mapping[TableSchema, pa.Table], job: Job, lake: Lake, reduced: Reduced
) -> list[str]:
    """Put the tables of an analysis beside the results; where they are."""
    made = {
        "inputs": content_id("analysis", recipe=_RECIPE, results=reduced.inputs),
        "job": job.model_dump(mode="json"),
    }
    keys = {schema: result_key(job.name, schema.name) for schema in tables}
    for schema, table in tables.items():
        lake.objects.put(keys[schema], encode(table, made))
    return [lake.objects.location(key) for key in keys.values()]


def _accuracies(history: pd.DataFrame) -> pd.DataFrame:
    """The clean accuracies that the trainings recorded, as measurements at severity 0."""
    named = history.rename(columns={"test_accuracy": "accuracy"})
    return named[["model", "epoch", "accuracy"]].assign(severity=CLEAN)
