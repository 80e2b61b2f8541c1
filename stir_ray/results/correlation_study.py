"""The correlation study: do changes of the layers go with accuracy over the epochs?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from stir_ray.numerics.correlation import Interval, pearson, percentiles, spearman, t_interval
from stir_ray.numerics.correlation_diagnostics import (
    DROPPED,
    LEAST_EPOCHS,
    CorrelationDiagnostics,
    SensitivityCheck,
    interpretation,
    prefixes,
)
from stir_ray.numerics.screening import Aggregate, Screening, screen
from stir_ray.plan.study import Study
from stir_ray.results import analysis_inputs
from stir_ray.results.epoch_curves import (
    EpochCurves,
    Sample,
    job_epoch_curves,
    over_seeds,
    samples,
)
from stir_ray.results.reduce import Reduced, is_current, read_result

_PAIR = ("learning", "forgetting")


@dataclass(frozen=True)
class ExaminedHypothesis:
    """One hypothesis in detail."""

    reason: str  # why it is examined
    index: int  # in its family
    interpretation: tuple[str, ...]  # the correlation and the doubts, in sentences


@dataclass(frozen=True)
class HypothesisFamily:
    """Hypotheses that were tried together, and within which tests are counted."""

    sample: Sample
    screening: Screening  # r and p, corrected for the number of hypotheses
    diagnostics: CorrelationDiagnostics
    prefixes: tuple[SensitivityCheck, ...]  # r of the first epochs, of `examined` in their order
    over_seeds: Interval | None  # 95 % t interval of r; None with fewer than two seeds
    over_images: Interval | None  # 95 % interval of r; None without halves of the images
    examined: tuple[ExaminedHypothesis, ...]  # the strongest, and that of the paper

    @property
    def name(self) -> str:
        """What its hypotheses are about."""
        return self.sample.name


@dataclass(frozen=True)
class Analysis:
    """The analysis of one model's curves by one estimator."""

    curves: EpochCurves
    families: tuple[HypothesisFamily, ...]  # those that could be tried
    # Columns of the table `learning_with_forgetting`; None of too few layers or unknown curves.
    learning_with_forgetting: Mapping[str, Any] | None
    notes: tuple[str, ...]  # what was left out and why, and what the numbers cannot say


@dataclass(frozen=True)
class StoredAnalysis:
    """An analysis as it is stored."""

    curves: tuple[EpochCurves, ...]  # that were analysed, by both estimators
    hypotheses: pd.DataFrame
    correlations: pd.DataFrame
    images: int  # of the curves
    tested_images: int  # of the accuracies on corrupted images; 0 without those


def analyse(curves: EpochCurves) -> Analysis:
    """Try every hypothesis on the curves of a model."""
    notes: list[str] = []
    families = []
    if not curves.severities:
        notes.append("No accuracy is known: nothing to correlate the curves with.")
    if len(curves.layers) < 2:
        notes.append("A single layer has no hypotheses.")
    elif curves.severities:
        for sample in samples(curves):
            count, total = len(sample.curves.epochs), len(curves.epochs)
            if count < total:
                notes.append(
                    f"{sample.name}: {total - count} of {total} epochs left out, where a layer or "
                    "an accuracy is not known."
                )
            if count >= LEAST_EPOCHS:
                families.append(_family(sample))
                continue
            least = f"a correlation over epochs needs at least {LEAST_EPOCHS}"
            notes.append(f"{sample.name}: {count} known epochs; {least}.")
    if families:
        notes += _limits(curves, families)
    return Analysis(curves, tuple(families), _learning_with_forgetting(curves), tuple(notes))


def _family(sample: Sample) -> HypothesisFamily:
    curves = sample.curves
    means, layers = sample.means, curves.layers
    screening = screen(means, curves.accuracy, layers=layers)
    summaries = np.stack([each.summary(means, layers=layers) for each in screening.hypotheses])
    diagnostics = sample.diagnostics(summaries)
    over_images = _interval_over_images(sample, screening)
    examined = tuple(_examined(screening, diagnostics, over_images))
    chosen = summaries[[hypothesis.index for hypothesis in examined]]
    return HypothesisFamily(
        sample,
        screening,
        diagnostics,
        prefixes=tuple(prefixes(chosen, curves.accuracy)),
        over_seeds=interval_over_seeds(sample, screening),
        over_images=over_images,
        examined=examined,
    )


def _examined(
    screening: Screening, diagnostics: CorrelationDiagnostics, over_images: Interval | None
) -> Iterator[ExaminedHypothesis]:
    strongest = screening.strongest_first()[0]
    reasons = {strongest: f"strongest of {len(screening.hypotheses)}"}
    # That of the paper is the std of forgetting over all layers but the first.
    last = screening.hypotheses[-1].layers[-1]
    published = [
        (len(hypothesis.layers), index)
        for index, hypothesis in enumerate(screening.hypotheses)
        if (hypothesis.aggregate, hypothesis.curve) == (Aggregate.STD, "forgetting")
        and hypothesis.layers[-1] == last
    ]
    if published:
        reasons.setdefault(max(published)[1], "the hypothesis of the paper, taken alone")
    for index, reason in reasons.items():
        # Named beforehand, a hypothesis is a single test.
        family_wise = float(screening.family_wise[index]) if index == strongest else None
        sentences = interpretation(diagnostics.for_hypothesis(index), family_wise=family_wise)
        if over_images is not None and not np.isnan(over_images.low[index]):
            low, high = over_images.low[index], over_images.high[index]
            doubt = ": its sign may be that of these images alone" if low <= 0 <= high else ""
            text = f"With other images r would mostly lie between {low:.2f} and {high:.2f}{doubt}."
            sentences = (*sentences, text)
        yield ExaminedHypothesis(reason, index, sentences)


def interval_over_seeds(sample: Sample, screening: Screening) -> Interval | None:
    """Return the t interval of r of each hypothesis; None with fewer than 2 seeds.

    It lies around the r of the mean over seeds: that of a single seed is noisier, and noise draws r
    towards 0.
    """
    if sample.seeds < 2:
        return None
    whole, leave_one_out = sample.curves, []
    for seed in range(sample.seeds):
        curves = ((name, np.delete(curve, seed, axis=0)) for name, curve in whole.curves.items())
        means = {name: over_seeds(curve) for name, curve in curves}
        leave_one_out.append(_r(screening, means, whole.accuracy, whole.layers))
    interval = t_interval(screening.r, np.stack(leave_one_out))
    return Interval(np.clip(interval.low, -1, 1), np.clip(interval.high, -1, 1))


def _interval_over_images(sample: Sample, screening: Screening) -> Interval | None:
    """Return the interval of r of each hypothesis over random halves of the images, if measured.

    Accuracy is fixed where that of halves is unknown. Halves are noisier: it leans towards 0.
    """
    halves = sample.curves.halves
    if halves is None:
        return None
    means = {name: over_seeds(np.moveaxis(curve, 1, 0)) for name, curve in halves.curves.items()}
    accuracy = sample.curves.accuracy if halves.accuracy is None else halves.accuracy
    return percentiles(_r(screening, means, accuracy, sample.curves.layers))


def _r(
    screening: Screening,
    curves: Mapping[str, np.ndarray],
    accuracy: np.ndarray,
    layers: Sequence[int],
) -> np.ndarray:
    """Return Pearson's r averaged over severities, (..., hypothesis)."""
    summaries = (hypothesis.summary(curves, layers=layers) for hypothesis in screening.hypotheses)
    r = [pearson(summary[..., None, :], accuracy).averaged().r for summary in summaries]
    return np.stack(r, axis=-1)


def _learning_with_forgetting(curves: EpochCurves) -> dict[str, Any] | None:
    """Correlate learning with forgetting over the layers, epoch by epoch (App. C.1)."""
    if len(curves.layers) < 3 or not set(_PAIR) <= set(curves.curves):
        return None
    learning, forgetting = (over_seeds(curves.curves[name]) for name in _PAIR)
    finite = np.isfinite(learning).all(axis=-1) & np.isfinite(forgetting).all(axis=-1)
    if not finite.any():
        return None
    columns = {"epoch": np.asarray(curves.epochs)[finite], "layers": len(curves.layers)}
    for name, correlate in (("pearson", pearson), ("spearman", spearman)):
        correlation = correlate(learning[finite], forgetting[finite])
        columns |= {f"{name}_r": correlation.r, f"{name}_p": correlation.p}
    return columns


def _limits(curves: EpochCurves, families: Sequence[HypothesisFamily]) -> Iterator[str]:
    """Yield what the numbers cannot say."""
    if curves.clean is None and curves.severities == (0,):
        yield (
            "Only accuracy on clean images is known: this is no robustness. Correlations given "
            "clean accuracy need accuracy on corrupted images."
        )
    elif curves.clean is None:
        yield "Accuracy on clean images is not known: no correlation given it."
    seeds = max(family.sample.seeds for family in families)
    if seeds == 1:
        yield "One seed of the inversions: no t interval over seeds."
    elif seeds:
        yield (
            f"The t interval over {seeds} seeds is about other noise of the inversions, not about "
            "other trainings: how much another training would differ, only another training can "
            "tell."
        )
    if seedless := [family.name for family in families if not family.sample.seeds]:
        yield (
            f"No inversion takes part in {' or '.join(seedless)}: nothing varies with the seed, "
            "and there is no t interval over seeds."
        )
    if curves.halves is None:
        yield (
            "No interval over images: only scores of all images together are known; a job with "
            "`half_samples: 200` also measures random halves of them."
        )
        return
    yield (
        f"The interval over images is of {curves.halves.count} random halves of them, the same "
        "ones at every epoch; it does not say how much another training would differ."
    )
    if curves.halves.accuracy is None:
        yield (
            "In it accuracy is fixed: which test images are classified correctly is known with "
            "`robustness` alone."
        )
    if without := [family.name for family in families if not family.over_images]:
        yield f"No interval over images of {', '.join(without)}: not measured on halves."


def analysis_tables(analyses: Iterable[Analysis]) -> dict[TableSchema, pa.Table]:
    """Return the tables `hypotheses`, `correlations` and `learning_with_forgetting`."""
    rows: dict[TableSchema, list[dict[str, Any]]] = {schema: [] for schema in ANALYSIS_TABLES}
    for analysis in analyses:
        curves = {"model": analysis.curves.model, "estimator": analysis.curves.estimator}
        for family in analysis.families:
            rows[HYPOTHESES].append(curves | _hypotheses(family))
            rows[CORRELATIONS].extend(curves | columns for columns in _correlations(family))
        if analysis.learning_with_forgetting:
            rows[LEARNING_WITH_FORGETTING].append({**curves, **analysis.learning_with_forgetting})
    return {schema: concat_tables(schema, columns) for schema, columns in rows.items()}


def _hypotheses(family: HypothesisFamily) -> dict[str, Any]:
    screening, diagnostics, curves = family.screening, family.diagnostics, family.sample.curves
    hypotheses = screening.hypotheses
    unknown = np.full(len(hypotheses), np.nan)
    columns = {
        "family": family.name,
        "hypothesis": [str(hypothesis) for hypothesis in hypotheses],
        "curve": [hypothesis.curve for hypothesis in hypotheses],
        "aggregate": [str(hypothesis.aggregate) for hypothesis in hypotheses],
        "first_layer": [hypothesis.layers[0] for hypothesis in hypotheses],
        "last_layer": [hypothesis.layers[-1] for hypothesis in hypotheses],
        "is_undefined": np.isnan(screening.r),
        "rank": np.argsort(screening.strongest_first()) + 1,
        "epochs": len(curves.epochs),
        "severities": len(curves.severities),
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
        "seeds": family.sample.seeds,
        "half_samples": curves.halves.count if curves.halves else 0,
    }
    for name, interval in (("seeds", family.over_seeds), ("images", family.over_images)):
        columns |= {f"{name}_{end}": getattr(interval, end, unknown) for end in ("low", "high")}
    for name in ("spearman", "differences", "given_clean"):
        check = diagnostics.check(name)
        columns |= {f"{name}_{value}": getattr(check, value, unknown) for value in ("r", "p")}
    for count in DROPPED:
        for name, prefix in (("pearson", ""), ("differences", "differences_")):
            check = diagnostics.check(name, without_first=count)
            columns[f"{prefix}without_first_{count}_r"] = getattr(check, "r", unknown)
    return columns


def _correlations(family: HypothesisFamily) -> Iterator[dict[str, Any]]:
    curves = family.sample.curves
    names = [str(hypothesis) for hypothesis in family.screening.hypotheses]
    examined = [names[hypothesis.index] for hypothesis in family.examined]
    checks = [(check, names) for check in family.diagnostics.checks]
    for check, hypotheses in checks + [(prefix, examined) for prefix in family.prefixes]:
        epochs = curves.epochs[check.start : check.stop]
        yield {
            "hypothesis": np.repeat(hypotheses, len(curves.severities)),
            "look": check.name,
            "first_epoch": epochs[0],
            "last_epoch": epochs[-1],
            "severity": np.tile(curves.severities, len(hypotheses)),
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
    analyses = tuple(map(analyse, job_epoch_curves(job, study, lake)))
    if not analyses:
        raise LakeError(
            f"job {job.name}: no epoch after 0 has a number, and an analysis is over the epochs of "
            "a training; give `finetuned: {checkpoints, epochs}`, or wait for the run"
        )
    return analyses


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
        analyses = tuple(map(analyse, job_epoch_curves(job, study, lake)))
        if any(analysis.families for analysis in analyses):
            store_analysis(analysis_tables(analyses), job, lake, reduced)


def read_analysis(job: Job, study: Study, lake: Lake) -> StoredAnalysis:
    """Read the stored analysis of a job."""
    results, tested = read_result(RESULTS, job, lake), read_result(ROBUSTNESS, job, lake)
    return StoredAnalysis(
        tuple(job_epoch_curves(job, study, lake)),
        read_result(HYPOTHESES, job, lake),
        read_result(CORRELATIONS, job, lake),
        int(results["images"].max()),
        0 if tested.empty else int(tested["images"].max()),
    )
