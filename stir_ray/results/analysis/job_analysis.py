"""The analysis of a job's own results, stored beside them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from stir_ray.errors import LakeError
from stir_ray.job import CLEAN as CLEAN_IMAGES
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, encode
from stir_ray.lake.schemas import (
    ANALYSIS_TABLES,
    CORRELATIONS,
    HALF_SAMPLE_SCORES,
    HISTORY,
    HYPOTHESES,
    RESULTS,
    ROBUSTNESS,
    SUBSPACE_SIMILARITY,
    TEST_CORRECT,
    TableSchema,
)
from stir_ray.plan.checkpoints import Role
from stir_ray.plan.study import Study
from stir_ray.results.analysis.analyse import LEAST_EPOCHS, Analysis, analyse
from stir_ray.results.analysis.analysis_tables import analysis_tables
from stir_ray.results.analysis.epoch_curves import CLEAN, EpochCurves, Measured, trajectories
from stir_ray.results.provenance_digests import analysis_inputs
from stir_ray.results.reduce import Reduced, is_current


def analyse_job(job: Job, study: Study, lake: Lake, reduced: Reduced) -> tuple[Analysis, ...]:
    """Of every compared model by both estimators.

    Args:
        job: whose results are analysed.
        study: its layers.
        lake: that holds the results.
        reduced: how complete they are.

    Raises:
        LakeError: if nothing of the job has a number yet, or no epoch of a training has.
    """
    if not reduced.present:
        raise LakeError(
            f"job {job.name}: no cell has a number yet, so there is nothing to analyse; "
            "`stir-ray run` first"
        )
    found = _analyses(job, study, lake)
    if not found:
        raise LakeError(
            f"job {job.name}: no epoch after 0 has a number, and an analysis is over the epochs of "
            "a training; give `finetuned: {checkpoints, epochs}`, or wait for the run"
        )
    return found


def _analyses(job: Job, study: Study, lake: Lake) -> tuple[Analysis, ...]:
    return tuple(analyse(one) for one in _trajectories(job, study, lake))


def _trajectories(job: Job, study: Study, lake: Lake) -> Iterator[EpochCurves]:
    results, history, robustness, subspaces = (
        _read(schema, job, lake) for schema in (RESULTS, HISTORY, ROBUSTNESS, SUBSPACE_SIMILARITY)
    )
    half_samples = (HALF_SAMPLE_SCORES, TEST_CORRECT) if job.half_samples else ()
    of_halves = (_read(schema, job, lake) for schema in half_samples)
    measured = Measured(results, accuracies(history, robustness), subspaces, *of_halves)
    shared: dict[Role, tuple[int, ...]] = {
        role: study.shared_layers(role) for role in study.compared
    }
    return trajectories(measured, job, shared)


def _read(schema: TableSchema, job: Job, lake: Lake) -> pd.DataFrame:
    return lake.read_object(schema, result_key(job.name, schema.name)).to_pandas()


def store_analysis(
    tables: Mapping[TableSchema, pa.Table], job: Job, lake: Lake, reduced: Reduced
) -> dict[str, str]:
    """Put the tables of an analysis beside the results; where each is, by its name."""
    made = {"inputs": analysis_inputs(reduced.inputs), "job": job.model_dump(mode="json")}
    keys = {schema: result_key(job.name, schema.name) for schema in tables}
    for schema, table in tables.items():
        lake.objects.put(keys[schema], encode(table, made))
    return {schema.name: lake.objects.location(key) for schema, key in keys.items()}


def analyse_robustness(job: Job, study: Study, lake: Lake, reduced: Reduced) -> bool:
    """Analyse a job that asks for robustness, unless it is done; whether its tables are there now.

    They are not where too few epochs are tested for a correlation over them.
    """
    if job.robustness is None or not reduced.present or reduced.tested < LEAST_EPOCHS:
        return False
    if is_analysed(job, lake, reduced):
        return True
    analyses = _analyses(job, study, lake)
    there_are_any = any(analysis.families for analysis in analyses)
    if there_are_any:
        store_analysis(analysis_tables(analyses), job, lake, reduced)
    return there_are_any


@dataclass(frozen=True)
class Analysed:
    """An analysis as it is stored, and what it is of.

    Attributes:
        of: the trajectories, by both estimators.
        hypotheses: the table of that name.
        correlations: likewise.
        images: that the curves are of.
        tested_images: that accuracies on corrupted images are of; 0 if there are none.
    """

    of: tuple[EpochCurves, ...]
    hypotheses: pd.DataFrame
    correlations: pd.DataFrame
    images: int
    tested_images: int


def read_analysis(job: Job, study: Study, lake: Lake) -> Analysed:
    """The stored analysis of a job that has one."""
    results, tested = _read(RESULTS, job, lake), _read(ROBUSTNESS, job, lake)
    return Analysed(
        tuple(_trajectories(job, study, lake)),
        _read(HYPOTHESES, job, lake),
        _read(CORRELATIONS, job, lake),
        int(results["images"].max()),
        0 if tested.empty else int(tested["images"].max()),
    )


def is_analysed(job: Job, lake: Lake, reduced: Reduced) -> bool:
    """Whether the tables of an analysis of just these results are there."""
    inputs = analysis_inputs(reduced.inputs)
    return all(is_current(lake, job, schema, inputs) for schema in ANALYSIS_TABLES)


def accuracies(history: pd.DataFrame, robustness: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by model, epoch, severity and corruption, each from one source.

    Args:
        history: of the trainings, which know the clean accuracy alone.
        robustness: the tests on clean and corrupted images. They alone count for a model that was
            tested: its clean accuracy there is of the same images as the others.
    """
    tested = robustness.dropna(subset="accuracy")
    trained = history[~history["model"].isin(tested["model"])]
    named = trained.rename(columns={"test_accuracy": "accuracy"})
    clean = named.assign(severity=CLEAN, corruption=CLEAN_IMAGES, source=CLEAN_IMAGES)
    return pd.concat([one[_ACCURACIES] for one in (tested, clean)], ignore_index=True)


_ACCURACIES = ["model", "epoch", "severity", "corruption", "source", "accuracy"]
