"""Random halves of the images: the same in every layer, epoch, direction and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from stir_ray.job import Job
from stir_ray.numerics import metrics
from stir_ray.plan.halves import halves_of
from stir_ray.results.matrices import ESTIMATORS, FT_FT, FT_PT, PT_FT, PT_PT


@dataclass(frozen=True)
class Halves:
    """The curves and accuracies of one model by half of the images; NaN is what is not known.

    Attributes:
        count: number of halves.
        curves: by metric, (half, seed, epoch, layer).
        accuracy: (half, severity, epoch), of halves of the test images; None if it is not known
            which of those are right.
    """

    count: int
    curves: Mapping[str, np.ndarray]
    accuracy: np.ndarray | None


@dataclass(frozen=True)
class Places:
    """The epochs, layers and severities of arrays, each in the order of its axis."""

    epochs: tuple[int, ...]
    layers: tuple[int, ...]
    severities: tuple[int, ...]


def halves_measured(
    scores: pd.DataFrame, answers: pd.DataFrame, estimator: str, job: Job, places: Places
) -> Halves | None:
    """What was measured of halves; None if nothing was.

    Args:
        scores: rows of `half_sample_scores`, of one model.
        answers: the same of `test_correct`.
        estimator: biased or unbiased.
        job: whose halves, seeds and assumption about self-STIR hold.
        places: of the arrays.
    """
    if scores.empty:
        return None
    accuracy = None if answers.empty else _accuracy(answers, job.half_samples, places)
    return Halves(job.half_samples, _curves(scores, ESTIMATORS[estimator], job, places), accuracy)


def _curves(scores: pd.DataFrame, suffix: str, job: Job, places: Places) -> dict[str, np.ndarray]:
    orders: dict[str, Sequence[int]] = {
        "half": range(job.half_samples),
        "seed": job.seeds,
        "epoch": places.epochs,
        "layer": places.layers,
    }
    known = scores
    for name, order in orders.items():
        known = known[known[name].isin(order)]
    shape = [len(order) for order in orders.values()]

    def of(column: str, direction: str) -> np.ndarray:
        rows = known[known["direction"] == direction]
        place = tuple(
            pd.Index(order).get_indexer(pd.Index(rows[name])) for name, order in orders.items()
        )
        found = np.full(shape, np.nan)
        found[place] = rows[column + suffix]
        return found

    def own(direction: str) -> np.ndarray:
        return np.ones(shape) if job.assume_self_stir_one else of("stir", direction)

    pt_with_pt, ft_with_pt = of("cka", PT_PT), of("cka", FT_PT)
    return {
        "forgetting": metrics.forgetting(pt_given_pt=own(PT_PT), ft_given_pt=of("stir", FT_PT)),
        "learning": metrics.learning(ft_given_ft=own(FT_FT), pt_given_ft=of("stir", PT_FT)),
        "cka_divergence": metrics.cka_divergence(pt_with_pt=pt_with_pt, ft_with_pt=ft_with_pt),
    }


def _accuracy(answers: pd.DataFrame, count: int, places: Places) -> np.ndarray:
    """The mean over corruptions, as of all images; NaN where one of them is missing."""
    found = np.full((count, len(places.severities), len(places.epochs)), np.nan)
    corruptions = answers.groupby("severity")["corruption"].nunique()
    by_place = dict(list(answers.groupby(["epoch", "severity"])))
    for (row, severity), (column, epoch) in product(
        enumerate(places.severities), enumerate(places.epochs)
    ):
        rows = by_place.get((epoch, severity))
        if rows is not None and len(rows) == corruptions.loc[severity]:
            right = np.stack(rows["right"].tolist()).mean(axis=0)
            chosen = halves_of(rows["test_set"].iloc[0], len(right), count)
            found[:, row, column] = chosen @ right / chosen.sum(axis=1)
    return found
