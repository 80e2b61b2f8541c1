"""How well the inversions of a job converged, in a few numbers."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_OWN = ("pt|pt", "ft|ft")
"""Directions in which a model looks at its own inversions."""
ENOUGH = 0.99
"""Self-STIR of a layer that takes its inverted images for the real ones."""
CRITERION = "unbiased"
"""Estimator of that self-STIR. By the biased one unrelated views nearly pass: it is .987 of 500
images and 38,400 units."""
SELF_STIR = f"stir_{CRITERION}"
"""Column of the results that it is read from."""


@dataclass(frozen=True)
class Convergence:
    """Of all inversions of a job.

    Attributes:
        self_stir: the lowest, unbiased: how a layer sees its own inversions.
        where: the inversion that it is of, in words.
        inversions: how many there are.
        above_limit: of them, those with an image whose residual is above the job's limit.
    """

    self_stir: float
    where: str
    inversions: int
    above_limit: int

    @property
    def is_enough(self) -> bool:
        """Whether every layer takes its inverted images for the real ones."""
        return self.self_stir >= ENOUGH and not self.above_limit


def convergence(
    results: pa.Table, untouched: Container[tuple[str, int]] = ()
) -> Convergence | None:
    """Of all inversions, each once; None where no model has looked at its own.

    Args:
        results: the table of that name.
        untouched: models and epochs whose blocks, and so whose inversions, are the pretrained
            model's.
    """
    rows = results.select(
        [*("model", "epoch", "direction", "seed", "reference_layer", "target_layer"),
         *(SELF_STIR, "unconverged")]
    ).to_pandas()  # fmt: skip
    same_layer = rows["reference_layer"] == rows["target_layer"]
    own = rows[rows["direction"].isin(_OWN) & same_layer]
    if own.empty:
        return None
    compared = zip(own["model"], own["epoch"], strict=True)
    is_untouched = np.array([one in untouched for one in compared])
    is_pretrained = (own["direction"] == "pt|pt") | is_untouched
    # Those of the pretrained model stand there for every model and epoch that it is compared with.
    own = own.assign(
        model=own["model"].mask(is_pretrained, "pretrained"),
        epoch=own["epoch"].mask(is_pretrained, -1),
    ).drop_duplicates(["model", "epoch", "seed", "reference_layer"])
    worst = own.loc[own[SELF_STIR].idxmin()]
    epoch = "" if worst["epoch"] < 0 else f" epoch {worst['epoch']}"
    where = f"{worst['model']}{epoch}, layer {worst['reference_layer']}, seed {worst['seed']}"
    above = int((own["unconverged"] > 0).sum())
    return Convergence(float(worst[SELF_STIR]), where, len(own), above)
