"""The correlation study: do changes of the layers go with accuracy over the epochs?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from stir_ray.numerics.correlation import (
    Correlation,
    Interval,
    pearson,
    percentiles,
    spearman,
    t_interval,
)
from stir_ray.numerics.correlation_diagnostics import (
    DROPPED,
    LEAST_EPOCHS,
    CorrelationDiagnostics,
    SensitivityCheck,
    diagnose,
    interpretation,
    prefixes,
)
from stir_ray.numerics.screening import (
    Aggregate,
    Hypothesis,
    Screening,
    learning_and_forgetting,
    screen,
)
from stir_ray.plan.study import Study
from stir_ray.results import analysis_inputs
from stir_ray.results.epoch_curves import JOB_TABLES, EpochCurves, Halves, job_epoch_curves
from stir_ray.results.metric_info import OF_NO_SEED
from stir_ray.results.reduce import Reduced, is_current

_MIXED = "learning and forgetting"
_ALONE = {"cka_divergence": "CKA divergence", "subspace_similarity": "subspace similarity"}
_OF_NO_SEED = {name for metric, name in _ALONE.items() if metric in OF_NO_SEED}


@dataclass(frozen=True)
class Sample:
    """A family of hypotheses, and its curves and accuracy at the epochs at which all are known."""

    name: str
    curves: EpochCurves

    @property
    def seeds(self) -> int:
        """Number of seeds of the inversions; 0 for curves without inversions."""
        return 0 if self.name in _OF_NO_SEED else len(next(iter(self.curves.curves.values())))

    @property
    def means(self) -> dict[str, np.ndarray]:
        """The curves averaged over seeds, (epoch, layer)."""
        return {name: over_seeds(curve) for name, curve in self.curves.curves.items()}

    def diagnostics(self, summaries: np.ndarray) -> CorrelationDiagnostics:
        """Diagnose the correlations of summaries of the layers with accuracy."""
        curves = self.curves
        return diagnose(summaries, curves.accuracy, clean=curves.clean, epochs=curves.epochs)

    def interpretation(self, hypothesis: Hypothesis, *, family_wise: float) -> tuple[str, ...]:
        """Interpret one hypothesis; `family_wise` is its p among all that were tried."""
        diagnostics = self.diagnostics(hypothesis.summary(self.means, layers=self.curves.layers))
        return interpretation(diagnostics, family_wise=family_wise)


def samples(curves: EpochCurves) -> Iterator[Sample]:
    """Yield a sample of each family that there are curves for."""
    for name, family in curves_of_families(curves.curves).items():
        finite = np.asarray(np.isfinite(curves.accuracy).all(axis=0))
        for values in family.values():
            finite &= np.isfinite(over_seeds(values)).all(axis=-1)
        if curves.clean is not None:
            finite &= np.isfinite(curves.clean)
        # A seed that is not computed yet would count as a draw, and make an interval too narrow.
        computed = np.any(
            [np.isfinite(values[:, finite]).any(axis=(1, 2)) for values in family.values()], axis=0
        )
        sample = replace(
            curves,
            epochs=tuple(np.asarray(curves.epochs)[finite].tolist()),
            curves={curve: values[computed][:, finite] for curve, values in family.items()},
            accuracy=curves.accuracy[:, finite],
            clean=None if curves.clean is None else curves.clean[finite],
            halves=curves.halves and _halves(curves.halves, name, finite),
        )
        yield Sample(name, sample)


def _halves(halves: Halves, family: str, finite: np.ndarray) -> Halves | None:
    curves = curves_of_families(halves.curves).get(family)
    if curves is None:
        return None
    return Halves(
        halves.count,
        {name: values[:, :, finite] for name, values in curves.items()},
        None if halves.accuracy is None else halves.accuracy[..., finite],
    )


def curves_of_families(curves: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the curves that hypotheses are about, by family and name.

    Args:
        curves: by metric.
    """
    families = {}
    if {"learning", "forgetting"} <= set(curves):
        pair = {name: curves[name] for name in ("learning", "forgetting")}
        families[_MIXED] = learning_and_forgetting(**pair)
    elif alone := [name for name in ("learning", "forgetting") if name in curves]:
        families[alone[0]] = {alone[0]: curves[alone[0]]}
    return families | {
        name: {name: curves[metric]} for metric, name in _ALONE.items() if metric in curves
    }


def over_seeds(curve: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of the known values; NaN where there is none."""
    return np.ma.masked_invalid(curve).mean(axis=0).filled(np.nan)


_PUBLISHED = (Aggregate.STD, "forgetting")


@dataclass(frozen=True)
class ExaminedHypothesis:
    """One hypothesis in detail.

    Attributes:
        reason: why it is examined.
        index: its index in its family.
        interpretation: the correlation and the doubts, in sentences.
    """

    reason: str
    index: int
    interpretation: tuple[str, ...]


@dataclass(frozen=True)
class HypothesisFamily:
    """Hypotheses that were tried together, and within which tests are counted.

    Arrays have an element per hypothesis; NaN where it is undefined.

    Attributes:
        name: of the family.
        epochs: that count.
        severities: of accuracy.
        screening: r and p, corrected for the number of hypotheses.
        diagnostics: of all hypotheses.
        prefixes: r of the first epochs, of the examined hypotheses alone, in their order.
        seeds: number of seeds of the inversions; 0 for curves without inversions.
        over_seeds: 95 % t interval of r over the seeds; None with fewer than two.
        halves: number of halves of the images that were measured.
        over_images: 95 % interval of r over images; None without halves.
        examined: the strongest hypothesis, and that of the paper if it is another.
    """

    name: str
    epochs: tuple[int, ...]
    severities: tuple[int, ...]
    screening: Screening
    diagnostics: CorrelationDiagnostics
    prefixes: tuple[SensitivityCheck, ...]
    seeds: int
    over_seeds: Interval | None
    halves: int
    over_images: Interval | None
    examined: tuple[ExaminedHypothesis, ...]


@dataclass(frozen=True)
class LayerCorrelation:
    """Correlation of learning with forgetting over the layers, by epoch (App. C.1)."""

    epochs: tuple[int, ...]
    layers: int
    pearson: Correlation
    spearman: Correlation


@dataclass(frozen=True)
class Analysis:
    """The analysis of one model's curves by one estimator.

    Attributes:
        curves: that were analysed.
        families: of hypotheses, those that could be tried.
        layer_correlation: None where learning or forgetting is unknown, or of too few layers.
        notes: what was left out and why, in sentences.
    """

    curves: EpochCurves
    families: tuple[HypothesisFamily, ...]
    layer_correlation: LayerCorrelation | None
    notes: tuple[str, ...]


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
            if count < LEAST_EPOCHS:
                notes.append(
                    f"{sample.name}: a correlation over epochs needs at least {LEAST_EPOCHS} of "
                    f"them, and there {'is' if count == 1 else 'are'} {count}."
                )
            else:
                families.append(_family(sample))
    notes += _limits(curves, families)
    return Analysis(curves, tuple(families), _layer_correlation(curves), tuple(notes))


def _family(sample: Sample) -> HypothesisFamily:
    curves = sample.curves
    screening = screen(sample.means, curves.accuracy, layers=curves.layers)
    summaries = np.stack(
        [
            hypothesis.summary(sample.means, layers=curves.layers)
            for hypothesis in screening.hypotheses
        ]
    )
    diagnostics = sample.diagnostics(summaries)
    over_images = interval_over_images(sample, screening)
    examined = tuple(_examined(screening, diagnostics, over_images))
    chosen = summaries[[hypothesis.index for hypothesis in examined]]
    return HypothesisFamily(
        name=sample.name,
        epochs=curves.epochs,
        severities=curves.severities,
        screening=screening,
        diagnostics=diagnostics,
        prefixes=tuple(prefixes(chosen, curves.accuracy)),
        seeds=sample.seeds,
        over_seeds=interval_over_seeds(sample, screening),
        halves=curves.halves.count if curves.halves else 0,
        over_images=over_images,
        examined=examined,
    )


def _examined(
    screening: Screening,
    diagnostics: CorrelationDiagnostics,
    over_images: Interval | None,
) -> Iterator[ExaminedHypothesis]:
    strongest, published = screening.strongest_first()[0], _published(screening)
    reasons = {strongest: f"strongest of {len(screening.hypotheses)}"}
    if published is not None:
        reasons.setdefault(published, "the hypothesis of the paper, taken alone")
    for index, reason in reasons.items():
        # Named beforehand, a hypothesis is a single test.
        family_wise = float(screening.family_wise[index]) if index == strongest else None
        sentences = interpretation(diagnostics.of(index), family_wise=family_wise)
        if over_images is not None and not np.isnan(over_images.low[index]):
            low, high = over_images.low[index], over_images.high[index]
            doubt = ": its sign may be that of these images alone" if low <= 0 <= high else ""
            text = f"With other images r would mostly lie between {low:.2f} and {high:.2f}{doubt}."
            sentences = (*sentences, text)
        yield ExaminedHypothesis(reason, index, sentences)


def _published(screening: Screening) -> int | None:
    """Return the index of the std of forgetting over all layers but the first."""
    last = screening.hypotheses[-1].layers[-1]
    of_curve = [
        (len(hypothesis.layers), index)
        for index, hypothesis in enumerate(screening.hypotheses)
        if (hypothesis.aggregate, hypothesis.curve) == _PUBLISHED and hypothesis.layers[-1] == last
    ]
    return max(of_curve)[1] if of_curve else None


def interval_over_seeds(sample: Sample, screening: Screening) -> Interval | None:
    """Return the t interval of r of each hypothesis; None with fewer than 2 seeds.

    It lies around the r of the mean over seeds. The mean of the r of single seeds would be another
    number: a single seed is noisier, and noise draws r towards 0.
    """
    if sample.seeds < 2:
        return None
    leave_one_out = []
    for seed in range(sample.seeds):
        remaining = {
            name: np.delete(curve, seed, axis=0) for name, curve in sample.curves.curves.items()
        }
        means = Sample(sample.name, replace(sample.curves, curves=remaining)).means
        leave_one_out.append(_r(screening, means, sample.curves.accuracy, sample.curves.layers))
    interval = t_interval(screening.r, np.stack(leave_one_out))
    return Interval(np.clip(interval.low, -1, 1), np.clip(interval.high, -1, 1))


def interval_over_images(sample: Sample, screening: Screening) -> Interval | None:
    """Return the interval of r of each hypothesis over random halves of the images, if measured.

    Accuracy is fixed where that of halves is unknown. Curves of a half are noisier, and noise draws
    r towards 0: the interval leans that way.
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
    summaries = [hypothesis.summary(curves, layers=layers) for hypothesis in screening.hypotheses]
    r = [pearson(summary[..., None, :], accuracy).averaged().r for summary in summaries]
    return np.stack(r, axis=-1)


def _layer_correlation(curves: EpochCurves) -> LayerCorrelation | None:
    if len(curves.layers) < 3 or not {"learning", "forgetting"} <= set(curves.curves):
        return None
    learning, forgetting = (over_seeds(curves.curves[name]) for name in ("learning", "forgetting"))
    finite = np.isfinite(learning).all(axis=-1) & np.isfinite(forgetting).all(axis=-1)
    if not finite.any():
        return None
    pair = learning[finite], forgetting[finite]
    epochs = tuple(np.asarray(curves.epochs)[finite].tolist())
    return LayerCorrelation(epochs, len(curves.layers), pearson(*pair), spearman(*pair))


def _limits(curves: EpochCurves, families: Sequence[HypothesisFamily]) -> Iterator[str]:
    """Yield what the numbers cannot say."""
    if not families:
        return
    if curves.clean is None and curves.severities == (0,):
        yield (
            "Only accuracy on clean images is known: this is no robustness. Correlations given "
            "clean accuracy need accuracy on corrupted images."
        )
    elif curves.clean is None:
        yield "Accuracy on clean images is not known: no correlation given it."
    seeds = max(family.seeds for family in families)
    if seeds == 1:
        yield "One seed of the inversions: no t interval over seeds."
    elif seeds:
        yield (
            f"The t interval over {seeds} seeds is about other noise of the inversions, not about "
            "other trainings: how much another training would differ, only another training can "
            "tell."
        )
    seedless = [family.name for family in families if not family.seeds]
    if seedless:
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
    without = [family.name for family in families if not family.over_images]
    if without:
        yield f"No interval over images of {', '.join(without)}: not measured on halves."


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
        if analysis.layer_correlation is not None:
            layers = analysis.layer_correlation
            columns = {"epoch": list(layers.epochs), "layers": layers.layers}
            for name in ("pearson", "spearman"):
                correlation = getattr(layers, name)
                columns |= {f"{name}_r": correlation.r, f"{name}_p": correlation.p}
            rows[LEARNING_WITH_FORGETTING].append(curves | columns)
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
    tried = family.screening.hypotheses
    for check in family.diagnostics.checks:
        yield _check(check, tried, family)
    for check in family.prefixes:
        yield _check(check, [tried[examined.index] for examined in family.examined], family)


def _check(
    check: SensitivityCheck, hypotheses: Sequence[Hypothesis], family: HypothesisFamily
) -> dict[str, Any]:
    epochs = family.epochs[check.start : check.stop]
    return {
        "hypothesis": np.repeat(
            [str(hypothesis) for hypothesis in hypotheses], len(family.severities)
        ),
        "look": check.name,
        "first_epoch": epochs[0],
        "last_epoch": epochs[-1],
        "severity": np.tile(family.severities, len(hypotheses)),
        "epochs": len(epochs),
        "r": check.correlation.r.ravel(),
        "p": check.correlation.p.ravel(),
    }


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
