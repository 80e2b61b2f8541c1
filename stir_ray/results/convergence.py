"""Convergence of the inversions of a job, and metrics that still move."""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from stir_ray.results.metric_info import CRITERION, FT_FT, PT_PT

SELF_STIR = f"stir_{CRITERION}"
"""Column of the results that self-STIR is read from."""
_MOVING = ("learning", "forgetting", "flow")
"""Metrics that change with the steps of inversions."""


@dataclass(frozen=True)
class Worst:
    """The largest or least of some numbers, and the inversion or cell that it belongs to."""

    value: float
    where: str


@dataclass(frozen=True)
class Convergence:
    """Convergence of all inversions of a job and of the metrics built on them.

    Attributes:
        inversions: number of inversions.
        converged: number of converged inversions.
        iterations: the fewest and the most steps of an inversion.
        residual: the largest 95 % quantile over images of the centred residual.
        self_stir: the least unbiased self-STIR: of the inverted layer, with the representation
            `tokens` also of all deeper ones.
        not_inverted: images with a centred residual above 0.5, of all inversions.
        stuck: images with a far larger residual than the others of their inversion.
        cells: values of learning, forgetting and flow, by the unbiased estimator.
        moving: number of those that still move.
        drift: the largest absolute change since half the steps.
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
    unchanged: Container[tuple[str, int]] = (),
) -> Convergence | None:
    """Summarise all inversions, each counted once; None without scores of a model on its own.

    Args:
        results: the table of that name.
        matrices: the table of that name.
        representation: of the job.
        unchanged: models and epochs whose weights, and so whose inversions, are the pretrained
            model's.
    """
    rows = results.to_pandas()
    depth = rows["target_layer"] - rows["reference_layer"]
    # Equal tokens of a layer make all deeper layers equal.
    expected = depth >= 0 if representation == "tokens" else depth == 0
    scores = rows[rows["direction"].isin((PT_PT, FT_FT)) & expected]
    if scores.empty:
        return None
    # Inversions of the pretrained model are listed for every model and epoch compared with it.
    models = zip(scores["model"], scores["epoch"], strict=True)
    is_pretrained = (scores["direction"] == PT_PT) | np.array(
        [pair in unchanged for pair in models]
    )
    scores = scores.assign(
        model=scores["model"].mask(is_pretrained, "pretrained"),
        epoch=scores["epoch"].mask(is_pretrained, -1),
    )
    inversions = scores.drop_duplicates(["model", "epoch", "seed", "reference_layer"])
    residual = inversions.loc[inversions["centred_residual_q95"].idxmax()]
    self_stir = scores.loc[scores[SELF_STIR].idxmin()]
    seen_by = ""
    if self_stir["target_layer"] != self_stir["reference_layer"]:
        seen_by = f", seen by layer {self_stir['target_layer']}"
    cells = matrices.to_pandas()
    on_diagonal = (cells["metric"] == "flow") & (cells["row_layer"] == cells["column_layer"])
    cells = cells[
        cells["metric"].isin(_MOVING) & (cells["estimator"] == CRITERION) & ~on_diagonal
    ].reset_index()
    return Convergence(
        inversions=len(inversions),
        converged=int(inversions["is_converged"].sum()),
        iterations=(int(inversions["iterations"].min()), int(inversions["iterations"].max())),
        residual=Worst(float(residual["centred_residual_q95"]), _inversion(residual)),
        self_stir=Worst(float(self_stir[SELF_STIR]), _inversion(self_stir) + seen_by),
        not_inverted=int(inversions["not_inverted"].sum()),
        stuck=int(inversions["stuck"].sum()),
        cells=len(cells),
        moving=int(cells["is_moving"].sum()),
        drift=_largest_drift(cells),
    )


def _largest_drift(cells: pd.DataFrame) -> Worst:
    drifts = cells["drift"].abs()
    if not drifts.notna().any():
        return Worst(float("nan"), "")
    cell = cells.iloc[int(np.nanargmax(drifts))]
    layers = f"layers {cell['row_layer']} and {cell['column_layer']}"
    return Worst(
        float(drifts.max()), f"{cell['metric']}, {cell['model']} epoch {cell['epoch']}, {layers}"
    )


def _inversion(row: pd.Series) -> str:
    epoch = "" if row["epoch"] < 0 else f" epoch {row['epoch']}"
    return f"{row['model']}{epoch}, layer {row['reference_layer']}, seed {row['seed']}"
