"""Random halves of the images: how far a number could have been off, had others been drawn.

The mean of m of n images, drawn without replacement, has variance (1/m − 1/n) σ² about the mean of
all. For m = n/2 that is σ²/n, which is the variance of the mean of all n itself. So, to first
order, any smooth statistic spreads over halves as it spreads over draws of n images, and nothing
is to be scaled: half-samples of McCarthy 1969, the deletion of d = n/2 images of Shao and Wu 1989.

No image is there twice, as it is in a bootstrap. There, two copies of an image are alike in every
view: unbiased HSIC, which leaves out an image's pair with itself, would count them, and be biased
upward. Of halves it stays unbiased. Biased CKA is larger of fewer images, in a half as in a
bootstrap: its halves spread as they should, around a mean that is too high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool
    from numpy.typing import NDArray

    Halves = Bool[NDArray, "half image"]

SMALLEST = 8
"""Images of which a half is enough for unbiased HSIC."""


def random_halves(n: int, *, seeds: Sequence[int]) -> Halves:
    """Which ⌊n/2⌋ of n images are in each half; each half is a function of its seed and n alone.

    Of an odd number the smaller part: the spread comes out √((n + 1) / (n − 1)) of what it is.
    """
    chosen = np.zeros((len(seeds), n), dtype=bool)
    for half, seed in enumerate(seeds):
        # A counter-based generator, fixed by its key on every platform; its uniform draws are too.
        drawn = np.random.Generator(np.random.Philox(key=seed)).random(n)
        chosen[half, np.argsort(drawn, kind="stable")[: n // 2]] = True
    return chosen
