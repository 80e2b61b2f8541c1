"""Learning, forgetting and CKA divergence over layers and epochs, and whether to trust them."""

from collections.abc import Collection, Iterable

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import Chart, Rows
from stir_ray.charts.lines import (
    EPOCH,
    INVERTED_LAYER,
    LAYER,
    Panel,
    doubt,
    epoch_rows,
    layer_rows,
    line_chart,
    line_rows,
)
from stir_ray.charts.readings import (
    INVERTED_BY,
    OWN,
    ComparedModel,
    compared_model,
    compared_models,
    sample_note,
)
from stir_ray.charts.style import (
    DASHED,
    DOTTED,
    ESTIMATORS,
    GREY,
    MODELS,
    PALETTE,
    PRETRAINED,
    Look,
    layer_looks,
    model_at,
    model_name,
)
from stir_ray.numerics.correlation import pearson
from stir_ray.numerics.criteria import CONVERGED_RESIDUAL, CONVERGED_SELF_STIR

METRICS = {
    "learning": "Learning",
    "forgetting": "Forgetting",
    "cka_divergence": "CKA divergence",
}
_MEANINGS = {
    "learning": "invariances that training added",
    "forgetting": "invariances that training removed",
}
START, CHANCE, CHANCE_95 = "STIR of the start", "STIR by chance", "95 % level of chance"
BASELINES = {
    START: Look(GREY, "cross", DASHED),
    CHANCE: Look(GREY, "triangle-down", DOTTED),
    CHANCE_95: Look("#A6A6A6", "triangle-up", DOTTED),
}
"""Looks of what STIR is compared with."""


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


def _by_layer(results: xr.Dataset, metrics: Iterable[str], title: str, estimator: str) -> Chart:
    looks, panels = {}, []
    for metric in metrics:
        rows: Rows = []
        for compared in compared_models(results):
            line = model_at(compared.model, compared.epochs[-1], results)
            looks[line] = MODELS[compared.model]
            rows += metric_rows(compared, metric, line)
        panels.append(metric_panel(metric, LAYER, rows, f"{METRICS[metric]}: {_MEANINGS[metric]}"))
    note = chance_note(results)
    return line_chart(
        title, note, looks, panels, results=results, estimator=estimator, shared_y=True
    )


def metric_panel(metric: str, x: str, rows: Rows, title: str = "") -> Panel:
    """Return the axes of a metric."""
    unit = "CKA" if metric == "cka_divergence" else "STIR"
    return Panel(title or METRICS[metric], f"difference of {unit}", x, rows)


def metric_rows(compared: ComparedModel, metric: str, line: str) -> Rows:
    """Return the rows of a metric by layer at the last epoch, by both estimators."""
    bad = compared.unconverged(INVERTED_BY[metric])[compared.epochs[-1]]
    return [
        row
        for by in ESTIMATORS
        for row in layer_rows(compared.curve(metric, by), line, by=by, unconverged=bad)
    ]


def score_rows(
    compared: ComparedModel,
    score: str,
    direction: str,
    line: str,
    *,
    level: str = "",
    unconverged: Collection[int] = (),
) -> Rows:
    """Return the rows of a score by layer at the last epoch, by both estimators.

    There are none by an estimator of which nothing is defined: a grey start is the same for all
    images, so that its STIR is undefined, which is no gap.
    """
    rows: Rows = []
    for by, suffix in ESTIMATORS.items():
        curve = compared.score_curve(f"{score}{suffix}{level}", direction)
        if np.isfinite(curve.mean[-1]).any():
            rows += layer_rows(curve, line, by=by, unconverged=unconverged)
    return rows


def chance_note(results: xr.Dataset) -> str:
    """Return what forgetting would be if the images were shown in random order."""
    compared = compared_model(results)
    levels = []
    for by, suffix in ESTIMATORS.items():
        # Forgetting counts from self-STIR, measured or assumed to be 1.
        level = (
            compared.curve("forgetting", by).mean[-1]
            + compared.score_curve(f"stir{suffix}", "ft|pt").mean[-1]
            - compared.score_curve(f"chance_stir{suffix}", "ft|pt").mean[-1]
        )
        if np.isfinite(level).any():
            levels.append(f"{np.nanmean(level):.2f} by {by} CKA")
    return f"0: no change; forgetting by chance: about {', '.join(levels)}." if levels else ""


def cka_divergence(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw CKA divergence beside forgetting by layer, a panel per compared model.

    Arguments as in `learning_and_forgetting`. Figure 3 of Merlin et al. 2023.
    """
    looks = {"forgetting": Look(PALETTE[0]), "CKA divergence": Look(PALETTE[3], "diamond", DASHED)}
    panels = []
    for compared in compared_models(results):
        rows = metric_rows(compared, "forgetting", "forgetting")
        rows += metric_rows(compared, "cka_divergence", "CKA divergence")
        name = model_at(compared.model, compared.epochs[-1], results)
        panels.append(Panel(name, "difference of STIR or CKA", LAYER, rows))
    title = "Forgetting beside CKA divergence"
    return line_chart(title, "", looks, panels, results=results, estimator=estimator, shared_y=True)


def curves(results: xr.Dataset, *, model: str = "", estimator: str = "unbiased") -> Chart:
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
    panels = []
    for metric in METRICS:
        bad = compared.unconverged(INVERTED_BY[metric])
        rows = [
            row
            for by in ESTIMATORS
            for row in epoch_rows(compared.curve(metric, by), by=by, unconverged=bad)
        ]
        panels.append(metric_panel(metric, EPOCH, rows))
    epochs, accuracies = compared.accuracy()
    if epochs:
        looks["accuracy"] = Look("#000000", "square")
        rows = line_rows("accuracy", epochs, [100 * value for value in accuracies])
        panels.append(Panel("Accuracy on clean test images", "accuracy (%)", EPOCH, rows, ()))
    name, note = model_name(compared.model, results), "0: as in the pretrained model."
    title = f"Learning and forgetting while the {name} model is trained"
    return line_chart(
        title, note, looks, panels, results=results, estimator=estimator, columns=2, bands=False
    )


def convergence(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw residuals, the share of images that did not converge, and self-STIR, by layer.

    Arguments as in `learning_and_forgetting`.
    """
    models = compared_models(results)
    # Inversions of the pretrained model are the same beside whatever it is compared with.
    inverted = [(models[0], "pt", PRETRAINED, PRETRAINED)]
    inverted += [(m, "ft", m.model, model_at(m.model, m.epochs[-1], results)) for m in models]
    residuals: Rows = []
    shares: Rows = []
    self_stir: Rows = []
    for compared, side, _, line in inverted:
        layers = compared.layers(side)
        median, high = (
            compared.inversion(f"centered_residual_{name}", side) for name in ("median", "q95")
        )
        residuals += line_rows(line, layers, median, low=median, high=high)
        unconverged, images = (compared.inversion(name, side) for name in ("unconverged", "images"))
        shares += line_rows(line, layers, 100 * unconverged / images)
        for by, suffix in ESTIMATORS.items():
            curve = compared.score_curve(f"stir{suffix}", OWN[side])
            self_stir += layer_rows(curve, line, by=by)
    x, needed = INVERTED_LAYER, f"needed: {CONVERGED_SELF_STIR} (unbiased)"
    panels = [
        Panel("Centered residual: median to 95th percentile", "0: perfect; 1: the average image", x,
              residuals, [(CONVERGED_RESIDUAL, "converged")], (0,)),
        Panel(f"Images above {CONVERGED_RESIDUAL}", "images (%)", x, shares, (), (0, 1)),
        Panel("Self-STIR", "1: perfect", x, self_stir, [(CONVERGED_SELF_STIR, needed)], (0.975, 1)),
    ]  # fmt: skip
    looks = {line: MODELS[model] for _, _, model, line in inverted}
    title = "How well inverted images match the originals for their own model"
    return line_chart(title, "", looks, panels, results=results, estimator=estimator)


def baselines(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw STIR(compared | pretrained) between self-STIR and chance, a panel per compared model.

    Arguments as in `learning_and_forgetting`.
    """
    looks = {"self-STIR": MODELS[PRETRAINED]}
    panels = []
    for compared in compared_models(results):
        line = f"STIR({model_name(compared.model, results)} | {PRETRAINED})"
        looks[line] = MODELS[compared.model]
        bad = compared.unconverged("pt")[compared.epochs[-1]]
        rows = [
            *score_rows(compared, "stir", "pt|pt", "self-STIR"),
            *score_rows(compared, "stir", "ft|pt", line, unconverged=bad),
            *score_rows(compared, "noise_stir", "ft|pt", START),
            *score_rows(compared, "chance_stir", "ft|pt", CHANCE),
            *score_rows(compared, "chance_stir", "ft|pt", CHANCE_95, level="_q95"),
        ]
        title = model_at(compared.model, compared.epochs[-1], results)
        panels.append(Panel(title, "STIR (1: full agreement)", LAYER, rows))
    title = "What the trained model shares, between self-STIR and chance"
    looks |= BASELINES
    return line_chart(title, "", looks, panels, results=results, estimator=estimator, shared_y=True)


def learning_against_forgetting(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw a point per layer: forgetting against learning after the last epoch, with r.

    Arguments as in `learning_and_forgetting`. Appendix C.1 of Merlin et al. 2023.
    """
    panels, looks = [], {}
    every_row: Rows = []
    for compared in compared_models(results):
        names = layer_looks(compared.shared_layers)
        rows: Rows = []
        texts = []
        for by in ESTIMATORS:
            x, y = (compared.curve(metric, by) for metric in ("forgetting", "learning"))
            for n, line in enumerate(names):
                state, label = [doubt(x.moving[-1, n] or y.moving[-1, n])], [str(x.layers[n])]
                rows += line_rows(line, x.mean[-1, n : n + 1], y.mean[-1, n : n + 1], by=by,
                                  seeds=y.most_seeds, state=state, label=label)  # fmt: skip
            is_defined = np.isfinite(x.mean[-1] + y.mean[-1])
            if is_defined.sum() > 2:
                r = pearson(x.mean[-1][is_defined], y.mean[-1][is_defined])
                texts.append(f"r = {float(r.r):.2f}, p = {float(r.p):.1g} ({by})")
        every_row += rows
        rows = [row for row in rows if None not in {row["x"], row["y"]}]
        drawn = {row["line"] for row in rows}
        looks |= {line: look for line, look in names.items() if line in drawn}
        title = f"{model_at(compared.model, compared.epochs[-1], results)}\n{'; '.join(texts)}"
        panels.append(Panel(title.strip(), "learning", "forgetting", rows, ()))
    looks = dict(sorted(looks.items(), key=lambda look: int(look[0].split()[-1])))
    sample, title = sample_note(results, every_row), "Do layers learn where they forget?"
    note = f"Each point is a layer. {sample} p: as if layers were independent. Chance: r = 0."
    return line_chart(
        title, note, looks, panels, estimator=estimator, joined=False, named=True, height=240
    )
