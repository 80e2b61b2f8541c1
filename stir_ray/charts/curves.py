"""Learning, forgetting and CKA divergence as curves: over layers and over epochs."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import (
    EPOCH,
    LAYER,
    Chart,
    Rows,
    Words,
    curve_rows,
    epoch_rows,
    layer_rows,
)
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.readings import (
    INVERTED_BY,
    ComparedModel,
    Values,
    compared_model,
    compared_models,
    sample_note,
)
from stir_ray.charts.style import (
    DASHED,
    ESTIMATORS,
    MODELS,
    PALETTE,
    Look,
    layer_colours,
    model_at,
    model_name,
)

METRICS = {
    "learning": "Learning",
    "forgetting": "Forgetting",
    "cka_divergence": "CKA divergence",
}
_MEANINGS = {
    "learning": "invariances that training added",
    "forgetting": "invariances that training removed",
}


def learning(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw learning by layer after the last epoch; see `learning_and_forgetting`."""
    return _by_layer(results, ["learning"], "Learning by layer", estimator)


def forgetting(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw forgetting by layer after the last epoch; see `learning_and_forgetting`."""
    return _by_layer(results, ["forgetting"], "Forgetting by layer", estimator)


def learning_and_forgetting(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw learning and forgetting by layer after the last epoch, a line per compared model.

    Args:
        results: as `stir_ray.open_results` gives them.
        estimator: of CKA, shown first.

    Returns:
        A chart that shows itself in a notebook.

    Figures 1 and 2 of Merlin et al. 2023.
    """
    title = "What training has learned and forgotten, layer by layer"
    return _by_layer(results, ["learning", "forgetting"], title, estimator)


def _by_layer(results: xr.Dataset, metrics: Sequence[str], title: str, estimator: str) -> Chart:
    panels, curves, looks = [], [], {}
    for metric in metrics:
        rows: Rows = []
        for compared in compared_models(results):
            name = model_at(compared.model, compared.epochs[-1], results)
            looks[name] = MODELS[compared.model]
            rows += last_rows(compared, metric, name, curves)
        heading = f"{METRICS[metric]}: {_MEANINGS[metric]}"
        panels.append(Panel(heading, "difference of STIR", LAYER, rows))
    note = f"{sample_note(results, curves)} {chance_note(results)}".strip()
    return line_chart(Words(title, note, looks), panels, estimator=estimator, shared_y=True)


def last_rows(compared: ComparedModel, metric: str, line: str, curves: list[Values]) -> Rows:
    """Return the rows of a metric at the last epoch, and append its curves to `curves`."""
    rows: Rows = []
    epoch = compared.epochs[-1]
    unconverged = compared.unconverged(INVERTED_BY[metric])[epoch]
    for estimator in ESTIMATORS:
        curve = compared.curve(metric, estimator).at([epoch])
        curves.append(curve)
        rows += layer_rows(curve, line, estimator=estimator, unconverged=unconverged)
    return rows


def chance_note(results: xr.Dataset) -> str:
    """Return what forgetting would be if the images were shown in random order."""
    compared = compared_model(results)
    levels = {}
    for estimator, suffix in ESTIMATORS.items():
        lost = compared.curve("forgetting", estimator).mean[-1]
        kept, chance = (
            compared.score_curve(f"{score}{suffix}", "ft|pt").mean[-1]
            for score in ("stir", "chance_stir")
        )
        # Forgetting counts from self-STIR, measured or assumed to be 1.
        defined = (lost + kept - chance)[np.isfinite(lost + kept - chance)]
        if defined.size:
            levels[estimator] = f"{defined.mean():.2f} by {estimator} CKA"
    if not levels:
        return ""
    return f"0: no change; forgetting by chance: about {', '.join(levels.values())}."


def cka_divergence(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw CKA divergence beside forgetting by layer, a panel per compared model.

    Arguments as in `learning_and_forgetting`. Figure 3 of Merlin et al. 2023.
    """
    looks = {"forgetting": Look(PALETTE[0]), "CKA divergence": Look(PALETTE[3], "diamond", DASHED)}
    panels, curves = [], []
    for compared in compared_models(results):
        rows = [
            row
            for name, metric in zip(looks, ("forgetting", "cka_divergence"), strict=True)
            for row in last_rows(compared, metric, name, curves)
        ]
        title = model_at(compared.model, compared.epochs[-1], results)
        panels.append(Panel(title, "difference of STIR or CKA", LAYER, rows))
    words = Words("Forgetting beside CKA divergence", sample_note(results, curves), looks)
    return line_chart(words, panels, estimator=estimator, shared_y=True)


def curves(results: xr.Dataset, *, model: str | None = None, estimator: str = "unbiased") -> Chart:
    """Draw learning, forgetting and CKA divergence over the epochs, a line per layer.

    A panel of accuracy on clean test images follows where the training is known.

    Args:
        results: as `stir_ray.open_results` gives them.
        model: `finetuned` or `from_scratch`; the first that there is if none is given.
        estimator: of CKA, shown first.

    Raises:
        ValueError: if there are no results of the model.

    Figure 5 of Merlin et al. 2023.
    """
    compared = compared_model(results, model)
    looks = layer_looks(compared.shared_layers)
    panels, shown = [], []
    for metric, title in METRICS.items():
        rows: Rows = []
        for by in ESTIMATORS:
            values = compared.curve(metric, by)
            shown.append(values)
            unconverged = compared.unconverged(INVERTED_BY[metric])
            rows += epoch_rows(values, estimator=by, unconverged=unconverged)
        kind = "CKA" if metric == "cka_divergence" else "STIR"
        panels.append(Panel(title, f"difference of {kind}", EPOCH, rows))
    epochs, accuracies = compared.accuracy()
    if epochs:
        line = "accuracy"
        looks[line] = Look("#000000", "square")
        rows = curve_rows(epochs, [100 * value for value in accuracies], line)
        panels.append(Panel("Accuracy on clean test images", "accuracy (%)", EPOCH, rows, ()))
    note = f"{sample_note(results, shown, has_band=False)} 0: as in the pretrained model."
    title = (
        f"Learning and forgetting while the {model_name(compared.model, results)} model is trained"
    )
    return line_chart(
        Words(title, note, looks), panels, estimator=estimator, columns=2, bands=False
    )


def layer_looks(layers: Sequence[int]) -> dict[str, Look]:
    """Return the look of each layer's line, dark for shallow and light for deep layers."""
    colours = layer_colours(len(layers))
    return {f"layer {layer}": Look(colour) for layer, colour in zip(layers, colours, strict=True)}
