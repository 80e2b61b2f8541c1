"""How well the inversions of a job converged, and whether its numbers still move."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

_OWN = ("pt|pt", "ft|ft")
"""Directions in which a model looks at its own inversions."""
CRITERION = "unbiased"
"""Estimator of self-STIR. By the biased one unrelated views nearly pass: it is .987 of 500 images
and 38,400 units."""
SELF_STIR = f"stir_{CRITERION}"
"""Column of the results that it is read from."""
MOVED = ("learning", "forgetting", "flow")
"""Metrics that move with the steps of inversions."""


@dataclass(frozen=True)
class Worst:
    """The largest or least of some numbers, and in words what it is of."""

    value: float
    where: str


@dataclass(frozen=True)
class Convergence:
    """Of all inversions of a job, and of the metrics built on them.

    Attributes:
        inversions: how many there are.
        converged: how many of them converged.
        iterations: the fewest and the most steps that one took.
        residual: the largest 95 % quantile over images of the centred residual.
        self_stir: the least unbiased self-STIR: of the inverted layer, with the representation
            `tokens` also of all deeper ones.
        not_inverted: images with a centred residual above 0.5, all inversions together.
        stuck: images far beyond all others of their inversion.
        cells: numbers of learning, forgetting and flow, by the unbiased estimator.
        moving: how many of them still move.
        drift: the largest change of one since half the steps, without its sign.
    """

    inversions: int
    converged: int
    iterations: tuple[int, int]
    residual: Worst
    self_stir: Worst
    not_inverted: int
    stuck: int
    cells: int
    moving: int
    drift: Worst

    @property
    def is_enough(self) -> bool:
        """Whether every inversion converged."""
        return self.converged == self.inversions


def convergence(
    results: pa.Table,
    matrices: pa.Table,
    representation: str,
    untouched: Container[tuple[str, int]] = (),
) -> Convergence | None:
    """Of all inversions, each once; None where no model has looked at its own.

    Args:
        results: the table of that name.
        matrices: the table of that name.
        representation: of the job.
        untouched: models and epochs whose blocks, and so whose inversions, are the pretrained
            model's.
    """
    rows = results.to_pandas()
    deeper = rows["target_layer"] > rows["reference_layer"]
    looks = rows["target_layer"] == rows["reference_layer"]
    if representation == "tokens":
        # Equal tokens of a layer make all deeper layers equal.
        looks |= deeper
    own = rows[rows["direction"].isin(_OWN) & looks]
    if own.empty:
        return None
    compared = zip(own["model"], own["epoch"], strict=True)
    is_untouched = np.array([one in untouched for one in compared])
    is_pretrained = (own["direction"] == "pt|pt") | is_untouched
    # Those of the pretrained model stand there for every model and epoch that it is compared with.
    own = own.assign(
        model=own["model"].mask(is_pretrained, "pretrained"),
        epoch=own["epoch"].mask(is_pretrained, -1),
    )
    inversions = own.drop_duplicates(["model", "epoch", "seed", "reference_layer"])
    residual = inversions.loc[inversions["centred_residual_q95"].idxmax()]
    self_stir = own.loc[own[SELF_STIR].idxmin()]
    cells = _metrics(matrices)
    return Convergence(
        inversions=len(inversions),
        converged=int(inversions["is_converged"].sum()),
        iterations=(int(inversions["iterations"].min()), int(inversions["iterations"].max())),
        residual=Worst(float(residual["centred_residual_q95"]), _inversion(residual)),
        self_stir=Worst(float(self_stir[SELF_STIR]), _look(self_stir)),
        not_inverted=int(inversions["not_inverted"].sum()),
        stuck=int(inversions["stuck"].sum()),
        cells=len(cells),
        moving=int(cells["is_moving"].sum()),
        drift=_largest_drift(cells),
    )


def _metrics(matrices: pa.Table) -> pd.DataFrame:
    cells = matrices.to_pandas()
    on_diagonal = (cells["metric"] == "flow") & (cells["row_layer"] == cells["column_layer"])
    return cells[cells["metric"].isin(MOVED) & (cells["estimator"] == CRITERION) & ~on_diagonal]


def _largest_drift(cells: pd.DataFrame) -> Worst:
    sizes = cells["drift"].abs().dropna()
    if sizes.empty:
        return Worst(float("nan"), "")
    cell = cells.loc[cells.index == sizes.idxmax()].iloc[0]
    layers = f"layers {cell['row_layer']} and {cell['column_layer']}"
    return Worst(
        float(sizes.max()), f"{cell['metric']}, {cell['model']} epoch {cell['epoch']}, {layers}"
    )


def _inversion(row: pd.Series) -> str:
    epoch = "" if row["epoch"] < 0 else f" epoch {row['epoch']}"
    return f"{row['model']}{epoch}, layer {row['reference_layer']}, seed {row['seed']}"


def _look(row: pd.Series) -> str:
    seen = row["target_layer"] != row["reference_layer"]
    return _inversion(row) + (f", seen by layer {row['target_layer']}" if seen else "")
