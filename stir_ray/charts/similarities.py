"""STIR and similarity by other measures than linear CKA: over layers and over epochs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.charts.blocks import EPOCH, LAYER, Chart, Rows, Words, epoch_rows, layer_rows
from stir_ray.charts.curves import layer_looks
from stir_ray.charts.diagnostics import BASELINES, CHANCE, START
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.optional_tables import last_epochs_in, rows_at, table_values
from stir_ray.charts.readings import ComparedModel, Values, compared_model, sample_note
from stir_ray.charts.style import (
    DASHED,
    ESTIMATORS,
    MODELS,
    PALETTE,
    PRETRAINED,
    Look,
    model_at,
    model_name,
)

_NAMES = {"rbf_cka": "RBF CKA", "procrustes": "Procrustes"}
_IMAGES = "similarity on the images"


@dataclass(frozen=True)
class _Measure:
    """A compared model by one measure; `rows` is None for linear CKA, which the results have."""

    name: str
    compared: ComparedModel
    rows: pd.DataFrame | None = None

    def suffixes(self) -> Mapping[str, str]:
        """Suffixes of columns by estimator; one without a name where the measure has no two."""
        has_two = self.rows is None or bool(self.rows["stir_unbiased"].notna().any())
        return ESTIMATORS if has_two else {"": ""}

    @property
    def title(self) -> str:
        return self.name if len(self.suffixes()) > 1 else f"{self.name} (no unbiased form)"

    def values(self, score: str, direction: str, suffix: str, level: str = "") -> Values:
        """Return a score of equal layers at every epoch."""
        column = f"{score}{suffix}{level}"
        if self.rows is None:
            return self.compared.score_curve(column.replace("similarity", "cka"), direction)
        rows = rows_at(self.rows, direction=direction)
        rows = rows[rows["reference_layer"] == rows["target_layer"]]
        target, reference = (self.compared.layers(side) for side in direction.split("|"))
        return table_values(
            rows, column, epochs=self.compared.epochs, layers=[n for n in target if n in reference],
            drift=f"{column}_drift" if f"{column}_drift" in rows else "",
            has_seeds=score != "similarity",
        )  # fmt: skip


def _measures(compared: ComparedModel, table: pd.DataFrame) -> Iterator[_Measure]:
    yield _Measure("linear CKA", compared)
    rows = rows_at(table, model=compared.model)
    for (measure, bandwidth), of_measure in rows.groupby(["measure", "bandwidth"], sort=False):
        name = _NAMES.get(str(measure), str(measure))
        name += f", bandwidth {bandwidth:g}" if bandwidth else ""
        yield _Measure(name, compared, of_measure)


def similarities(
    results: xr.Dataset,
    table: pd.DataFrame,
    *,
    model: str | None = None,
    estimator: str = "unbiased",
) -> Chart:
    """Draw STIR by each measure between self-STIR and chance, by layer; a panel per measure.

    Args:
        results: as `stir_ray.open_results` gives them.
        table: `other_similarities` of the same job.
        model: `finetuned` or `from_scratch`; the first that there is if none is given.
        estimator: of CKA, shown first.
    """
    compared = compared_model(results, model)
    (epoch,) = (
        epoch for other, epoch in last_epochs_in(table, results) if other.model == compared.model
    )
    line = f"STIR({model_name(compared.model, results)} | {PRETRAINED})"
    scores = {
        "self-STIR": ("stir", "pt|pt", ""),
        line: ("stir", "ft|pt", ""),
        _IMAGES: ("similarity", "ft|pt", ""),
        START: ("noise_stir", "ft|pt", ""),
        CHANCE[0]: ("chance_stir", "ft|pt", ""),
        CHANCE[1]: ("chance_stir", "ft|pt", "_q95"),
    }
    looks = {"self-STIR": MODELS[PRETRAINED], line: MODELS[compared.model],
             _IMAGES: Look(PALETTE[3], "diamond", DASHED), **BASELINES}  # fmt: skip
    unconverged = compared.unconverged("pt")[epoch]
    panels, curves = [], []
    for measure in _measures(compared, table):
        rows: Rows = []
        for by, suffix in measure.suffixes().items():
            for label, (score, direction, level) in scores.items():
                curve = measure.values(score, direction, suffix, level).at([epoch])
                if np.isfinite(curve.mean).any():
                    curves.append(curve)
                    bad = unconverged if label == line else None
                    rows += layer_rows(curve, label, estimator=by, unconverged=bad)
        panels.append(Panel(measure.title, "1: full agreement", LAYER, rows))
    title = f"STIR and similarity by other measures: {model_at(compared.model, epoch, results)}"
    words = Words(title, sample_note(results, curves), looks)
    columns = 2 if len(panels) in {2, 4} else 3
    return line_chart(words, panels, estimator=estimator, shared_y=True, columns=columns)


def similarities_over_epochs(
    results: xr.Dataset,
    table: pd.DataFrame,
    *,
    model: str | None = None,
    estimator: str = "unbiased",
) -> Chart:
    """Draw STIR and similarity by each measure over the epochs, a line per layer.

    Arguments as in `similarities`.
    """
    compared = compared_model(results, model)
    name = model_name(compared.model, results)
    panels, curves = [], []
    for measure in _measures(compared, table):
        for score, quantity in {
            "stir": f"STIR({name} | {PRETRAINED})",
            "similarity": _IMAGES,
        }.items():
            rows: Rows = []
            for by, suffix in measure.suffixes().items():
                curves.append(measure.values(score, "ft|pt", suffix))
                bad = compared.unconverged("pt") if score == "stir" else None
                rows += epoch_rows(curves[-1], estimator=by, unconverged=bad)
            panels.append(
                Panel(f"{measure.title}\n{quantity}", "1: full agreement", EPOCH, rows, ())
            )
    title = f"Other measures while the {name} model is trained"
    note = sample_note(results, curves, has_band=False)
    words = Words(title, note, layer_looks(compared.shared_layers))
    return line_chart(words, panels, estimator=estimator, columns=2, bands=False, height=150)
