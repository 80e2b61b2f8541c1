"""Every way of looking at many hypotheses at once, one severity at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stir_ray.numerics.statistics import correlation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray

    from stir_ray.numerics.statistics.correlation import Correlation

    Summaries = Float[NDArray, "hypothesis epoch"]
    Accuracy = Float[NDArray, "severity epoch"]
    Clean = Float[NDArray, "epoch"]

DROPPED = (1, 2, 3, 5)
"""First epochs that are left out in turn."""


@dataclass(frozen=True)
class Look:
    """One way of correlating, over some of the epochs.

    Attributes:
        name: pearson, spearman, differences or given_clean.
        start: index of the first epoch that is looked at.
        stop: index after the last one.
        found: r and p of (hypothesis, severity).
    """

    name: str
    start: int
    stop: int
    found: Correlation


def looks(
    summaries: Summaries,
    accuracy: Accuracy,
    *,
    clean: Clean | None = None,
    dropped: Sequence[int] = DROPPED,
) -> Iterator[Look]:
    """Pearson, Spearman, first differences, given clean accuracy.

    Pearson and first differences also without the first epochs.

    Args:
        summaries: one series per hypothesis.
        accuracy: per severity, without the clean one.
        clean: accuracy without corruption; None leaves that look out.
        dropped: how many first epochs to leave out; what leaves fewer than 3, or fewer than 3
            differences, is not tried.

    Raises:
        ValueError: for fewer than 4 epochs, or unequal numbers of them.
    """
    n = accuracy.shape[-1]
    each = summaries[:, None]
    yield Look("pearson", 0, n, correlation.pearson(each, accuracy))
    yield Look("spearman", 0, n, correlation.spearman(each, accuracy))
    yield Look("differences", 0, n, correlation.of_differences(each, accuracy))
    if clean is not None:
        yield Look("given_clean", 0, n, correlation.partial(each, accuracy, given=clean))
    for k in dropped:
        if n - k >= correlation.SMALLEST_SAMPLE:
            found = correlation.without_first(each, accuracy, dropped=k)
            yield Look("pearson", k, n, found)
        if n - k > correlation.SMALLEST_SAMPLE:
            found = correlation.of_differences(each[..., k:], accuracy[..., k:])
            yield Look("differences", k, n, found)


def prefixes(summaries: Summaries, accuracy: Accuracy) -> Iterator[Look]:
    """Pearson's r of the first 3, 4, .. epochs, up to all but the last: Figure 14."""
    for n in range(correlation.SMALLEST_SAMPLE, accuracy.shape[-1]):
        found = correlation.pearson(summaries[:, None, :n], accuracy[:, :n])
        yield Look("pearson", 0, n, found)
