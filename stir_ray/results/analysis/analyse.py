"""Correlate the curves of the layers with accuracy over the epochs, and collect the doubts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stir_ray.numerics.correlation import (
    Correlation,
    Interval,
    pearson,
    percentiles,
    spearman,
    t_interval,
)
from stir_ray.numerics.correlation_diagnostics import (
    LEAST_EPOCHS,
    CorrelationDiagnostics,
    SensitivityCheck,
    interpretation,
    prefixes,
)
from stir_ray.numerics.screening import Aggregate, Screening, screen
from stir_ray.results.analysis.epoch_curves import EpochCurves
from stir_ray.results.analysis.samples import Sample, over_seeds, samples

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
