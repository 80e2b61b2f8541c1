"""The correlation study: do changes of the layers go with accuracy over the epochs?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
from stir_ray.numerics.screening import (
    Aggregate,
    Screening,
    screen,
)
from stir_ray.results.epoch_curves import EpochCurves, Sample, over_seeds, samples

_PAIR = ("learning", "forgetting")


@dataclass(frozen=True)
class ExaminedHypothesis:
    """One hypothesis in detail."""

    reason: str  # why it is examined
    index: int  # in its family
    interpretation: tuple[str, ...]  # the correlation and the doubts, in sentences


@dataclass(frozen=True)
class HypothesisFamily:
    """Hypotheses that were tried together, and within which tests are counted.

    Arrays have an element per hypothesis; NaN where it is undefined.
    """

    name: str
    epochs: tuple[int, ...]
    severities: tuple[int, ...]
    screening: Screening  # r and p, corrected for the number of hypotheses
    diagnostics: CorrelationDiagnostics
    prefixes: tuple[SensitivityCheck, ...]  # r of the first epochs, of `examined` in their order
    seeds: int  # of the inversions; 0 for curves without inversions
    over_seeds: Interval | None  # 95 % t interval of r; None with fewer than two seeds
    halves: int  # of the images that were measured
    over_images: Interval | None  # 95 % interval of r; None without halves
    examined: tuple[ExaminedHypothesis, ...]  # the strongest, and that of the paper


@dataclass(frozen=True)
class LayerCorrelation:
    """Correlation of learning with forgetting over the layers, by epoch (App. C.1)."""

    epochs: tuple[int, ...]
    layers: int
    pearson: Correlation
    spearman: Correlation


@dataclass(frozen=True)
class Analysis:
    """The analysis of one model's curves by one estimator."""

    curves: EpochCurves
    families: tuple[HypothesisFamily, ...]  # those that could be tried
    layer_correlation: LayerCorrelation | None  # None of too few layers or unknown curves
    notes: tuple[str, ...]  # what was left out and why, and what the numbers cannot say


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
                    f"{sample.name}: {count} known epochs; a correlation over epochs needs at "
                    f"least {LEAST_EPOCHS}."
                )
            else:
                families.append(_family(sample))
    if families:
        notes += _limits(curves, families)
    return Analysis(curves, tuple(families), _layer_correlation(curves), tuple(notes))


def _family(sample: Sample) -> HypothesisFamily:
    curves = sample.curves
    means, layers = sample.means, curves.layers
    screening = screen(means, curves.accuracy, layers=layers)
    summaries = np.stack([it.summary(means, layers=layers) for it in screening.hypotheses])
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
        sentences = interpretation(diagnostics.of(index), family_wise=family_wise)
        if over_images is not None and not np.isnan(over_images.low[index]):
            low, high = over_images.low[index], over_images.high[index]
            doubt = ": its sign may be that of these images alone" if low <= 0 <= high else ""
            text = f"With other images r would mostly lie between {low:.2f} and {high:.2f}{doubt}."
            sentences = (*sentences, text)
        yield ExaminedHypothesis(reason, index, sentences)


def interval_over_seeds(sample: Sample, screening: Screening) -> Interval | None:
    """Return the t interval of r of each hypothesis; None with fewer than 2 seeds.

    It lies around the r of the mean over seeds. The mean of the r of single seeds would be another
    number: a single seed is noisier, and noise draws r towards 0.
    """
    if sample.seeds < 2:
        return None
    curves, leave_one_out = sample.curves, []
    for seed in range(sample.seeds):
        means = {
            name: over_seeds(np.delete(curve, seed, axis=0))
            for name, curve in curves.curves.items()
        }
        leave_one_out.append(_r(screening, means, curves.accuracy, curves.layers))
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
    summaries = (hypothesis.summary(curves, layers=layers) for hypothesis in screening.hypotheses)
    r = [pearson(summary[..., None, :], accuracy).averaged().r for summary in summaries]
    return np.stack(r, axis=-1)


def _layer_correlation(curves: EpochCurves) -> LayerCorrelation | None:
    if len(curves.layers) < 3 or not set(_PAIR) <= set(curves.curves):
        return None
    learning, forgetting = (over_seeds(curves.curves[name]) for name in _PAIR)
    finite = np.isfinite(learning).all(axis=-1) & np.isfinite(forgetting).all(axis=-1)
    if not finite.any():
        return None
    pair = learning[finite], forgetting[finite]
    epochs = tuple(np.asarray(curves.epochs)[finite].tolist())
    return LayerCorrelation(epochs, len(curves.layers), pearson(*pair), spearman(*pair))


def _limits(curves: EpochCurves, families: Sequence[HypothesisFamily]) -> Iterator[str]:
    """Yield what the numbers cannot say."""
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
    if seedless := [family.name for family in families if not family.seeds]:
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
