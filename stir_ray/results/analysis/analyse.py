"""Whether what happened to the layers goes with accuracy over the epochs, in every way we know."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stir_ray.numerics import statistics
from stir_ray.results.analysis.epoch_curves import EpochCurves
from stir_ray.results.analysis.intervals import (
    doubt_of_images,
    interval_over_images,
    interval_over_seeds,
    said_of_images,
    said_of_seeds,
    summaries_of,
)
from stir_ray.results.analysis.samples import Sample, over_seeds, samples

LEAST_EPOCHS = 5
"""With fewer there is no second look at a correlation."""
_PUBLISHED = (statistics.Aggregate.STD, "forgetting")


@dataclass(frozen=True)
class ExaminedHypothesis:
    """One hypothesis in detail.

    Attributes:
        why: it is looked at.
        place: its index among those of its family.
        evidence: every look at it.
        verdict: what comes of it, in sentences.
    """

    why: str
    place: int
    evidence: statistics.CorrelationDiagnostics
    verdict: tuple[str, ...]


@dataclass(frozen=True)
class HypothesisFamily:
    """Hypotheses that were tried together, and within which tests are counted.

    Arrays have a place per hypothesis; NaN where it is undefined.

    Attributes:
        name: of what they are about.
        epochs: that were looked at.
        severities: of accuracy.
        screening: r, p and what trying so many costs.
        looks: at each hypothesis and severity.
        prefixes: r of the first epochs, of the examined hypotheses alone, in their order.
        effective: independent epochs that the series are worth, and p of r among so many; without
            the first epochs, NaN if too few are left.
        effective_all_epochs: the same of all epochs, the transient among them.
        circular_shift_p: share of the shifts that correlate as strongly; without the first
            epochs, NaN if too few are left.
        circular_shift_p_all_epochs: the same of all epochs; small by a common transient alone.
        seeds: number of seeds of the inversions; 0 of what no inversion takes part in.
        interval: 95 % t interval of r over the seeds; None with fewer than two.
        halves: of the images, that were measured; 0 for none.
        over_images: of r, had other images been drawn; None without halves.
        examined: the strongest, and the one that the paper found if that is another.
    """

    name: str
    epochs: tuple[int, ...]
    severities: tuple[int, ...]
    screening: statistics.Screening
    looks: tuple[statistics.Look, ...]
    prefixes: tuple[statistics.Look, ...]
    effective: statistics.EffectiveSample
    effective_all_epochs: statistics.EffectiveSample
    circular_shift_p: np.ndarray
    circular_shift_p_all_epochs: np.ndarray
    seeds: int
    interval: statistics.Interval | None
    halves: int
    over_images: statistics.Interval | None
    examined: tuple[ExaminedHypothesis, ...]


@dataclass(frozen=True)
class LayerCorrelation:
    """Of learning with forgetting over the layers, by epoch (App. C.1)."""

    epochs: tuple[int, ...]
    layers: int
    pearson: statistics.Correlation
    spearman: statistics.Correlation


@dataclass(frozen=True)
class Analysis:
    """All that is said of one model's curves by one estimator.

    Attributes:
        of: the curves.
        families: of hypotheses, those that could be tried.
        alike: None where learning or forgetting is not known, or of too few layers.
        notes: what was left out and why, in sentences.
    """

    of: EpochCurves
    families: tuple[HypothesisFamily, ...]
    alike: LayerCorrelation | None
    notes: tuple[str, ...]


def analyse(of: EpochCurves) -> Analysis:
    """Try every hypothesis on the curves of a model."""
    notes: list[str] = []
    families = []
    if not of.severities:
        notes.append("No accuracy is known: nothing to correlate the curves with.")
    if len(of.layers) < 2:
        notes.append("Of a single layer there are no hypotheses.")
    elif of.severities:
        for sample in samples(of):
            left_out = len(of.epochs) - len(sample.epochs)
            if left_out:
                notes.append(
                    f"{sample.name}: {left_out} of {len(of.epochs)} epochs left out, where a "
                    "layer or an accuracy is not known."
                )
            if len(sample.epochs) < LEAST_EPOCHS:
                notes.append(
                    f"{sample.name}: a correlation over epochs needs at least {LEAST_EPOCHS} of "
                    f"them, and there {_is(len(sample.epochs))}."
                )
            else:
                families.append(_family(sample, of))
    return Analysis(of, tuple(families), _alike(of), (*notes, *_of_what_is_missing(of, families)))


def _family(sample: Sample, of: EpochCurves) -> HypothesisFamily:
    means = sample.means
    screening = statistics.screen(means, sample.accuracy, layers=of.layers)
    summaries = summaries_of(screening, means, of.layers)
    over_images = interval_over_images(sample, screening)
    examined = tuple(_examined(sample, screening, over_images))
    rest = statistics.without_transient(summaries), statistics.without_transient(sample.accuracy)
    chosen = summaries[[one.place for one in examined]]
    return HypothesisFamily(
        name=sample.name,
        epochs=sample.epochs,
        severities=of.severities,
        screening=screening,
        looks=tuple(statistics.looks(summaries, sample.accuracy, clean=sample.clean)),
        prefixes=tuple(statistics.prefixes(chosen, sample.accuracy)),
        effective=statistics.effective(*rest),
        effective_all_epochs=statistics.effective(summaries, sample.accuracy),
        circular_shift_p=statistics.circular_shift_p(statistics.shifted(*rest)),
        circular_shift_p_all_epochs=statistics.circular_shift_p(
            statistics.shifted(summaries, sample.accuracy)
        ),
        seeds=sample.seeds,
        interval=interval_over_seeds(sample, screening),
        halves=sample.halves.count if sample.halves else 0,
        over_images=over_images,
        examined=examined,
    )


def _examined(
    sample: Sample, screening: statistics.Screening, over_images: statistics.Interval | None
) -> Iterator[ExaminedHypothesis]:
    strongest = screening.strongest_first()[0]
    tried = len(screening.hypotheses)
    for why, place, family_wise in (
        (f"strongest of {tried}", strongest, float(screening.family_wise[strongest])),
        # Named beforehand, it is a single test.
        ("the one of the paper, taken alone", _published(screening), None),
    ):
        if place is not None and (family_wise is not None or place != strongest):
            hypothesis = screening.hypotheses[place]
            verdict = (
                *sample.verdict(hypothesis, family_wise=family_wise),
                *doubt_of_images(over_images, place),
            )
            yield ExaminedHypothesis(why, place, sample.evidence(hypothesis), verdict)


def _published(screening: statistics.Screening) -> int | None:
    """Where the std of forgetting over all layers but the first is."""
    of_curve = [
        (len(one.layers), place)
        for place, one in enumerate(screening.hypotheses)
        if (one.aggregate, one.curve) == _PUBLISHED
        and one.layers[-1] == screening.hypotheses[-1].layers[-1]
    ]
    return max(of_curve)[1] if of_curve else None


def _alike(of: EpochCurves) -> LayerCorrelation | None:
    if len(of.layers) < 3 or not {"learning", "forgetting"} <= set(of.curves):
        return None
    learning, forgetting = (over_seeds(of.curves[name]) for name in ("learning", "forgetting"))
    known = np.isfinite(learning).all(axis=-1) & np.isfinite(forgetting).all(axis=-1)
    if not known.any():
        return None
    pair = learning[known], forgetting[known]
    return LayerCorrelation(
        tuple(np.asarray(of.epochs)[known].tolist()),
        len(of.layers),
        statistics.pearson(*pair),
        statistics.spearman(*pair),
    )


def _is(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _of_what_is_missing(of: EpochCurves, families: Sequence[HypothesisFamily]) -> Iterator[str]:
    """What the numbers cannot say."""
    if not families:
        return
    if of.clean is None and of.severities == (0,):
        yield (
            "Only accuracy on clean images is known: this is no robustness. Correlations given "
            "clean accuracy need accuracy on corrupted images."
        )
    elif of.clean is None:
        yield "Accuracy on clean images is not known: no correlation given it."
    yield from said_of_seeds({one.name: one.seeds for one in families})
    yield from said_of_images(of.halves, [one.name for one in families if not one.over_images])
