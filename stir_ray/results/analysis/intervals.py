"""How far the r of every hypothesis could have been off, had other seeds or images been drawn."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stir_ray.numerics import statistics
from stir_ray.results.analysis.halves import Halves
from stir_ray.results.analysis.samples import Sample, over_seeds


def summaries_of(
    screening: statistics.Screening, means: Mapping[str, np.ndarray], layers: Sequence[int]
) -> np.ndarray:
    """Every hypothesis, (hypothesis, ..., epoch)."""
    return np.stack([one.summary(means, layers=layers) for one in screening.hypotheses])


def interval_over_seeds(
    sample: Sample, screening: statistics.Screening
) -> statistics.Interval | None:
    """Return the t interval of r of each hypothesis; None with fewer than 2 seeds.

    It lies around the r of the mean over seeds. The mean of the r of single seeds would be another
    number: a single seed is noisier, and noise draws r towards 0.
    """
    n = sample.seeds
    if n < 2:
        return None
    every = range(n)
    leave_one_out = [_r([one for one in every if one != at], sample, screening) for at in every]
    found = statistics.t_interval(screening.r, np.stack(leave_one_out))
    return statistics.Interval(np.clip(found.low, -1, 1), np.clip(found.high, -1, 1))


def _r(seeds: Sequence[int], sample: Sample, screening: statistics.Screening) -> np.ndarray:
    """Of each hypothesis, with the curves averaged over some of the seeds."""
    means = {name: over_seeds(curve[seeds]) for name, curve in sample.curves.items()}
    summaries = summaries_of(screening, means, sample.layers)
    return statistics.pearson(summaries[:, None], sample.accuracy).averaged().r


def interval_over_images(
    sample: Sample, screening: statistics.Screening
) -> statistics.Interval | None:
    """Of r of each hypothesis, over random halves of the images; None where there are none.

    Accuracy is held fast where that of halves is not known. Curves of a half are noisier, and
    noise draws r towards 0: the interval leans that way.
    """
    halves = sample.halves
    if halves is None:
        return None
    means = {name: over_seeds(np.moveaxis(curve, 1, 0)) for name, curve in halves.curves.items()}
    summaries = summaries_of(screening, means, sample.layers)
    tested = [sample.accuracy] * halves.count if halves.accuracy is None else halves.accuracy
    repeated = [
        statistics.pearson(summaries[:, half, None], of_half).averaged().r
        for half, of_half in enumerate(tested)
    ]
    return statistics.percentiles(np.stack(repeated))


def doubt_of_images(over_images: statistics.Interval | None, place: int) -> Iterator[str]:
    """What an interval over images says of one hypothesis, in a sentence."""
    if over_images is None or np.isnan(over_images.low[place]):
        return
    low, high = over_images.low[place], over_images.high[place]
    doubt = ": its sign may be that of these images alone" if low <= 0 <= high else ""
    yield f"Of other images r would mostly lie between {low:.2f} and {high:.2f}{doubt}."


def said_of_seeds(seeds: Mapping[str, int]) -> Iterator[str]:
    """What an interval over seeds is of.

    Args:
        seeds: how many each family has; 0 of what no inversion takes part in.
    """
    most = max(seeds.values())
    if most == 1:
        yield "One seed of the inversions: no t interval over seeds."
    elif most:
        yield (
            f"The t interval over {most} seeds is about other noise starts of the inversions, not "
            "about other trainings: how much another training would differ, only another training "
            "can tell."
        )
    of_none = [family for family, count in seeds.items() if not count]
    if of_none:
        yield (
            f"No inversion takes part in {' or '.join(of_none)}: nothing varies with its seed, and "
            "there is no t interval over seeds."
        )


def said_of_images(halves: Halves | None, without: Sequence[str]) -> Iterator[str]:
    """The same of an interval over images.

    Args:
        halves: of the images.
        without: names of the families that have no such interval.
    """
    if halves is None:
        yield (
            "No interval over images: scores of all of them together are what is known; a job with "
            "`half_samples: 200` measures random halves of them too."
        )
        return
    yield (
        f"The interval over images is of {halves.count} random halves of them, the same ones at "
        "every epoch; nor does it say how much another training would differ."
    )
    if halves.accuracy is None:
        yield (
            "In it accuracy is as measured: which test images are right is known with `robustness` "
            "alone."
        )
    if without:
        yield f"No interval over images of {', '.join(without)}: not measured of halves."
