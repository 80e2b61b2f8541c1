"""The analysis of a job's own results, stored beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from stir_ray.errors import LakeError
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, encode
from stir_ray.lake.schemas import (
    ANALYSIS_TABLES,
    CORRELATIONS,
    HYPOTHESES,
    RESULTS,
    ROBUSTNESS,
    TableSchema,
)
from stir_ray.numerics.correlation_diagnostics import LEAST_EPOCHS
from stir_ray.plan.study import Study
from stir_ray.results.analysis.analyse import Analysis, analyse
from stir_ray.results.analysis.analysis_tables import analysis_tables
from stir_ray.results.analysis.epoch_curves import JOB_TABLES, EpochCurves, job_epoch_curves
from stir_ray.results.provenance_digests import analysis_inputs
from stir_ray.results.reduce import Reduced, is_current


def analyse_job(job: Job, study: Study, lake: Lake, reduced: Reduced) -> tuple[Analysis, ...]:
    """Analyse every compared model by both estimators.

    Args:
        job: whose results are analysed.
        study: its layers.
        lake: with the results.
        reduced: how complete they are.

    Raises:
        LakeError: if nothing of the job has a number yet, or no epoch of a training has.
    """
    if not reduced.present:
        raise LakeError(
            f"job {job.name}: no cell has a number yet, so there is nothing to analyse; "
            "`stir-ray run` first"
        )
    analyses = _analyses(job, study, lake)
    if not analyses:
        raise LakeError(
            f"job {job.name}: no epoch after 0 has a number, and an analysis is over the epochs of "
            "a training; give `finetuned: {checkpoints, epochs}`, or wait for the run"
        )
    return analyses


def _analyses(job: Job, study: Study, lake: Lake) -> tuple[Analysis, ...]:
    return tuple(analyse(curves) for curves in _epoch_curves(job, study, lake))


def _epoch_curves(job: Job, study: Study, lake: Lake) -> Iterator[EpochCurves]:
    tables = {schema: _read(schema, job, lake) for schema in JOB_TABLES}
    layers = {role: study.shared_layers(role) for role in study.compared}
    return job_epoch_curves(tables, job, layers)


def _read(schema: TableSchema, job: Job, lake: Lake) -> pd.DataFrame:
    return lake.read_object(schema, result_key(job.name, schema.name)).to_pandas()


def store_analysis(
    tables: Mapping[TableSchema, pa.Table], job: Job, lake: Lake, reduced: Reduced
) -> dict[str, str]:
    """Store the tables of an analysis beside the results; return the location of each by name."""
    footer = {"inputs": analysis_inputs(reduced.inputs), "job": job.model_dump(mode="json")}
    keys = {schema: result_key(job.name, schema.name) for schema in tables}
    for schema, table in tables.items():
        lake.objects.put(keys[schema], encode(table, footer))
    return {schema.name: lake.objects.location(key) for schema, key in keys.items()}


def analyse_robustness(job: Job, study: Study, lake: Lake, reduced: Reduced) -> bool:
    """Analyse a job with `robustness`, unless that is done; return whether its tables exist now.

    They do not where too few epochs are tested for a correlation over them.
    """
    if job.robustness is None or not reduced.present or reduced.tested < LEAST_EPOCHS:
        return False
    if is_analysed(job, lake, reduced):
        return True
    analyses = _analyses(job, study, lake)
    has_families = any(analysis.families for analysis in analyses)
    if has_families:
        store_analysis(analysis_tables(analyses), job, lake, reduced)
    return has_families


@dataclass(frozen=True)
class StoredAnalysis:
    """An analysis as it is stored.

    Attributes:
        curves: that were analysed, by both estimators.
        hypotheses: the table of that name.
        correlations: likewise.
        images: number of images of the curves.
        tested_images: number of images of the accuracies on corrupted images; 0 without those.
    """

    curves: tuple[EpochCurves, ...]
    hypotheses: pd.DataFrame
    correlations: pd.DataFrame
    images: int
    tested_images: int


def read_analysis(job: Job, study: Study, lake: Lake) -> StoredAnalysis:
    """Read the stored analysis of a job."""
    results, tested = _read(RESULTS, job, lake), _read(ROBUSTNESS, job, lake)
    return StoredAnalysis(
        tuple(_epoch_curves(job, study, lake)),
        _read(HYPOTHESES, job, lake),
        _read(CORRELATIONS, job, lake),
        int(results["images"].max()),
        0 if tested.empty else int(tested["images"].max()),
    )


def is_analysed(job: Job, lake: Lake, reduced: Reduced) -> bool:
    """Return whether the tables of an analysis of these results are stored."""
    inputs = analysis_inputs(reduced.inputs)
    return all(is_current(lake, job, schema, inputs) for schema in ANALYSIS_TABLES)
