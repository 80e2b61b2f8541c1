"""Matrices of layers: invariance flow, the metrics for all pairs of layers, and raw scores."""

import xarray as xr

from stir_ray.charts.blocks import Chart, Words
from stir_ray.charts.heatmaps import MatrixPanel, matrix_chart
from stir_ray.charts.readings import ComparedModel, compared_model
from stir_ray.charts.style import ESTIMATORS, PRETRAINED, formula, model_name

_SIDES = (
    "Above 0 left of the diagonal: invariances moved to shallower layers (compression); right of "
    "it: to deeper layers (expansion)."
)
_FORMULAS = {
    "flow": "STIR(ft j | pt i) − STIR(ft i | pt i)",
    "flow_control": "STIR(pt j | pt i) − STIR(pt i | pt i)",
    "flow_beyond_control": "flow − control: due to training",
    "learning": "STIR(ft i | ft j) − STIR(pt i | ft j)",
    "forgetting": "STIR(pt i | pt j) − STIR(ft i | pt j)",
    "cka_divergence": "CKA(pt i, pt j) − CKA(ft i, pt j)",
}


def flow(
    results: xr.Dataset,
    *,
    model: str | None = None,
    epoch: int | None = None,
    estimator: str = "unbiased",
) -> Chart:
    """Draw the invariance flow, its control without training, and their difference.

    Args:
        results: as `stir_ray.open_results` gives them.
        model: `finetuned` or `from_scratch`; the first that there is if none is given.
        epoch: shown first; the last if none is given.
        estimator: of CKA, shown first.

    Returns:
        A chart with a slider for the epoch, which shows itself in a notebook.

    Raises:
        ValueError: if there are no results of the model.

    Figure 4 of Merlin et al. 2023.
    """
    compared = compared_model(results, model)
    name = model_name(compared.model, results)
    panels = [
        _panel(compared, "flow", "Flow", f"{name} layer j"),
        _panel(compared, "flow_control", "Control: no training", f"{PRETRAINED} layer j"),
        _panel(compared, "flow_beyond_control", "Flow minus control", f"{name} layer j"),
    ]
    return _chart(compared, f"Invariance flow: {name}, epoch {{epoch}}", panels, epoch, estimator,
                  rows=f"{PRETRAINED} layer i", note=_SIDES,
                  scale="difference of STIR")  # fmt: skip


def matrices(
    results: xr.Dataset,
    *,
    model: str | None = None,
    epoch: int | None = None,
    estimator: str = "unbiased",
) -> Chart:
    """Draw learning, forgetting and CKA divergence for all pairs of layers; see `flow`."""
    compared = compared_model(results, model)
    name = model_name(compared.model, results)
    panels = [
        _panel(compared, "learning", "Learning", f"{name} layer j, inverted"),
        _panel(compared, "forgetting", "Forgetting", f"{PRETRAINED} layer j, inverted"),
        _panel(compared, "cka_divergence", "CKA divergence", f"{PRETRAINED} layer j"),
    ]
    title = f"Learning and forgetting between all layers: {name}, epoch {{epoch}}"
    return _chart(compared, title, panels, epoch, estimator, rows="layer i, which sees the images",
                  note="0: no change.", scale="difference of STIR or CKA")  # fmt: skip


def scores(
    results: xr.Dataset,
    *,
    model: str | None = None,
    epoch: int | None = None,
    estimator: str = "unbiased",
) -> Chart:
    """Draw STIR in both directions and CKA for all pairs of layers; see `flow`."""
    compared = compared_model(results, model)
    name = model_name(compared.model, results)
    panels = [
        MatrixPanel(title, form, columns, {by: compared.score(f"{score}{suffix}", direction)
                                           for by, suffix in ESTIMATORS.items()})
        for title, form, columns, score, direction in (
            (f"STIR({name} | {PRETRAINED})", "layer j is inverted, layer i sees",
             f"{PRETRAINED} layer j", "stir", "ft|pt"),
            (f"STIR({PRETRAINED} | {name})", "layer j is inverted, layer i sees",
             f"{name} layer j", "stir", "pt|ft"),
            ("CKA", "on the images themselves", f"{PRETRAINED} layer j", "cka", "ft|pt"),
        )
    ]  # fmt: skip
    title = f"What the layers of both models share: {name}, epoch {{epoch}}"
    return _chart(compared, title, panels, epoch, estimator, rows="layer i of the other model",
                  note="1: full agreement.", scale="STIR or CKA")  # fmt: skip


def _panel(compared: ComparedModel, metric: str, title: str, columns: str) -> MatrixPanel:
    values = {estimator: compared.metric(metric, estimator) for estimator in ESTIMATORS}
    return MatrixPanel(title, formula(_FORMULAS[metric], compared.results), columns, values)


def _chart(
    compared: ComparedModel,
    title: str,
    panels: list[MatrixPanel],
    epoch: int | None,
    estimator: str,
    *,
    rows: str,
    note: str,
    scale: str,
) -> Chart:
    if epoch is not None and epoch not in compared.epochs:
        raise ValueError(f"epoch {epoch}: there are {', '.join(map(str, compared.epochs))}")
    pt, ft = compared.layers("pt"), compared.layers("ft")
    if pt != ft:
        note += f" Of {len(pt)} and {len(ft)} layers: a difference needs a layer of both models."
    values = [v for panel in panels for v in panel.values.values()]
    seeds = max(v.most_seeds for v in values)
    images = f"{compared.results['images'].max().fillna(0).item():.0f} images"
    sample = f"{images}, {'one seed' if seeds < 2 else f'mean of {seeds} seeds'}. {note}"
    return matrix_chart(
        Words(title, sample), panels, rows=rows, scale=scale, estimator=estimator, epoch=epoch
    )
