"""The tables of an analysis, and the analysis of a job stored beside its results."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from stir_ray.errors import LakeError
from stir_ray.job import Job
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake, concat_tables, encode
from stir_ray.lake.schemas import (
    ANALYSIS_TABLES,
    CORRELATIONS,
    HYPOTHESES,
    LEARNING_WITH_FORGETTING,
    RESULTS,
    ROBUSTNESS,
    TableSchema,
)
from stir_ray.numerics.correlation_diagnostics import (
    DROPPED,
    LEAST_EPOCHS,
)
from stir_ray.plan.study import Study
from stir_ray.results import analysis_inputs
from stir_ray.results.correlation_study import Analysis, HypothesisFamily, analyse
from stir_ray.results.epoch_curves import JOB_TABLES, EpochCurves, job_epoch_curves
from stir_ray.results.reduce import Reduced, is_current


@dataclass(frozen=True)
class StoredAnalysis:
    """An analysis as it is stored."""

    curves: tuple[EpochCurves, ...]  # that were analysed, by both estimators
    hypotheses: pd.DataFrame
    correlations: pd.DataFrame
    images: int  # of the curves
    tested_images: int  # of the accuracies on corrupted images; 0 without those


def analysis_tables(analyses: Iterable[Analysis]) -> dict[TableSchema, pa.Table]:
    """Return the tables `hypotheses`, `correlations` and `learning_with_forgetting`."""
    rows: dict[TableSchema, list[dict[str, Any]]] = {
        HYPOTHESES: [],
        CORRELATIONS: [],
        LEARNING_WITH_FORGETTING: [],
    }
    for analysis in analyses:
        curves = {"model": analysis.curves.model, "estimator": analysis.curves.estimator}
        for family in analysis.families:
            rows[HYPOTHESES].append(curves | _hypotheses(family))
            rows[CORRELATIONS].extend(curves | columns for columns in _correlations(family))
        if layers := analysis.layer_correlation:
            rows[LEARNING_WITH_FORGETTING].append(
                {
                    **curves,
                    "epoch": list(layers.epochs),
                    "layers": layers.layers,
                    "pearson_r": layers.pearson.r,
                    "pearson_p": layers.pearson.p,
                    "spearman_r": layers.spearman.r,
                    "spearman_p": layers.spearman.p,
                }
            )
    return {schema: concat_tables(schema, columns) for schema, columns in rows.items()}


def _hypotheses(family: HypothesisFamily) -> dict[str, Any]:
    screening, diagnostics = family.screening, family.diagnostics
    tried = screening.hypotheses
    unknown = np.full(len(tried), np.nan)
    columns = {
        "family": family.name,
        "hypothesis": [str(hypothesis) for hypothesis in tried],
        "curve": [hypothesis.curve for hypothesis in tried],
        "aggregate": [str(hypothesis.aggregate) for hypothesis in tried],
        "first_layer": [hypothesis.layers[0] for hypothesis in tried],
        "last_layer": [hypothesis.layers[-1] for hypothesis in tried],
        "is_undefined": np.isnan(screening.r),
        "rank": np.argsort(screening.strongest_first()) + 1,
        "epochs": len(family.epochs),
        "severities": len(family.severities),
        "pearson_r": screening.r,
        "pearson_p": screening.p,
        "bonferroni_p": screening.bonferroni,
        "max_statistic_p": screening.family_wise,
        "max_statistic_p_all_epochs": screening.family_wise_all_epochs,
        "circular_shift_p": diagnostics.circular_shift_p,
        "circular_shift_p_all_epochs": diagnostics.circular_shift_p_all_epochs,
        "effective_epochs": diagnostics.effective.epochs,
        "effective_p": diagnostics.effective.p,
        "effective_epochs_all_epochs": diagnostics.effective_all_epochs.epochs,
        "effective_p_all_epochs": diagnostics.effective_all_epochs.p,
        "seeds": family.seeds,
        "half_samples": family.halves,
    }
    for name, interval in (("seeds", family.over_seeds), ("images", family.over_images)):
        columns[f"{name}_low"] = unknown if interval is None else interval.low
        columns[f"{name}_high"] = unknown if interval is None else interval.high
    for name in ("spearman", "differences", "given_clean"):
        check = diagnostics.check(name)
        columns[f"{name}_r"] = unknown if check is None else check.r
        columns[f"{name}_p"] = unknown if check is None else check.p
    for count in DROPPED:
        for name, prefix in (("pearson", ""), ("differences", "differences_")):
            check = diagnostics.check(name, without_first=count)
            columns[f"{prefix}without_first_{count}_r"] = unknown if check is None else check.r
    return columns


def _correlations(family: HypothesisFamily) -> Iterator[dict[str, Any]]:
    names = [str(hypothesis) for hypothesis in family.screening.hypotheses]
    examined = [names[hypothesis.index] for hypothesis in family.examined]
    checks = [(check, names) for check in family.diagnostics.checks]
    for check, hypotheses in checks + [(prefix, examined) for prefix in family.prefixes]:
        epochs = family.epochs[check.start : check.stop]
        yield {
            "hypothesis": np.repeat(hypotheses, len(family.severities)),
            "look": check.name,
            "first_epoch": epochs[0],
            "last_epoch": epochs[-1],
            "severity": np.tile(family.severities, len(hypotheses)),
            "epochs": len(epochs),
            "r": check.correlation.r.ravel(),
            "p": check.correlation.p.ravel(),
        }


def analyse_job(job: Job, study: Study, lake: Lake, reduced: Reduced) -> tuple[Analysis, ...]:
    """Analyse every compared model of a reduced job by both estimators.

    Raises:
        LakeError: if nothing of the job has a number yet, or no epoch of a training has.
    """
    if not reduced.present:
        raise LakeError(
            f"job {job.name}: no cell has a number yet, so there is nothing to analyse; "
            "`stir-ray run` first"
        )
    analyses = tuple(map(analyse, _epoch_curves(job, study, lake)))
    if not analyses:
        raise LakeError(
            f"job {job.name}: no epoch after 0 has a number, and an analysis is over the epochs of "
            "a training; give `finetuned: {checkpoints, epochs}`, or wait for the run"
        )
    return analyses


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
    locations = {}
    for schema, table in tables.items():
        key = result_key(job.name, schema.name)
        lake.objects.put(key, encode(table, footer))
        locations[schema.name] = lake.objects.location(key)
    return locations


def is_analysed(job: Job, lake: Lake, reduced: Reduced) -> bool:
    """Return whether the tables of an analysis of these results are stored."""
    inputs = analysis_inputs(reduced.inputs)
    return all(is_current(lake, job, schema, inputs) for schema in ANALYSIS_TABLES)


def analyse_robustness(job: Job, study: Study, lake: Lake, reduced: Reduced) -> None:
    """Analyse a job with `robustness`, unless that is done or too few epochs are tested."""
    if job.robustness is None or not reduced.present or reduced.tested < LEAST_EPOCHS:
        return
    if not is_analysed(job, lake, reduced):
        analyses = tuple(map(analyse, _epoch_curves(job, study, lake)))
        if any(analysis.families for analysis in analyses):
            store_analysis(analysis_tables(analyses), job, lake, reduced)


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
