"""The section of whether the numbers can be trusted: residuals, self-STIR and baselines."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from stir_ray.numerics.criteria import (
    CONVERGED_DRIFT,
    CONVERGED_RESIDUAL,
    CONVERGED_SELF_STIR,
    NOT_INVERTED_RESIDUAL,
)
from stir_ray.report import style
from stir_ray.report.diagnostics import Inverted, inverted_models
from stir_ray.report.page.layers import LAYER
from stir_ray.report.page.plots import (
    GREY,
    LINE_COLOURS,
    Line,
    Panel,
    Plot,
    Rule,
    Section,
    Variant,
    chance_lines,
    line_of,
    model_look,
)
from stir_ray.report.page.values import decimals
from stir_ray.report.readings import (
    inversion_curve,
    last_epochs,
    metric_curve,
    sample_note,
    score_curve,
)
from stir_ray.results.metric_info import CRITERION, ESTIMATORS

_WORDS = (
    (
        "What an inversion misses looks like something that was forgotten. The centred residual is "
        "how far an inverted image's representation is from the original's, relative to the "
        f"distance of that from the mean of all images: 0 is perfect, {CONVERGED_RESIDUAL} counts "
        f"as converged, above {NOT_INVERTED_RESIDUAL} an image is not inverted. Self-STIR is how "
        f"alike a model finds its own inversions and the originals: 1 is perfect, "
        f"{CONVERGED_SELF_STIR} by {CRITERION} CKA is needed and does not suffice. So every number "
        "also has its drift, its change since half the steps: what changed by more than "
        f"{CONVERGED_DRIFT}, or by a third of its size, is still moving."
    ),
    (
        "STIR is above 0 for images that share nothing. So it is held against two baselines. "
        "Chance is what the real images in a random order give: the mean of many orders, and the "
        "level that 95 % of them stay below. The other is what the inversion started from, as an "
        "image in [0, 1]. By unbiased CKA chance is about 0."
    ),
)
_INVERTED = "inverted layer (transformer block)"


def trust(results: xr.Dataset) -> Section:
    """Convergence by inverted layer and model, and STIR between self-STIR and chance."""
    return Section(
        "trust",
        "Can the numbers be trusted?",
        _WORDS,
        plots=[
            Plot(
                "convergence",
                "How well inverted images pass for the originals with their own model",
                "CKA estimator",
                [_convergence(results, estimator) for estimator in ESTIMATORS],
            ),
            Plot(
                "baselines",
                "What the trained model shares, between self-STIR and chance",
                "CKA estimator",
                [_baselines(results, estimator) for estimator in ESTIMATORS],
            ),
            Plot(
                "alike",
                "Do layers learn where they forget? (Appendix C.1 of the paper)",
                "CKA estimator",
                [_alike(results, estimator) for estimator in ESTIMATORS],
            ),
        ],
    )


def _convergence(results: xr.Dataset, estimator: str) -> Variant:
    residuals, unconverged, own = [], [], []
    for inverted in inverted_models(results):
        residuals.append(_residuals(results, inverted))
        unconverged.append(_share_unconverged(results, inverted))
        curve = score_curve(results, f"stir{ESTIMATORS[estimator]}", **inverted.place)
        own.append(line_of(curve, inverted.label, **model_look(inverted.model)))
    return Variant(
        estimator,
        [
            Panel("Centred residual: median to 95 % of the images", _INVERTED, "0 is perfect",
                  residuals, rules=[Rule(CONVERGED_RESIDUAL, "converged: 95 % below")]),
            Panel(f"Images above {CONVERGED_RESIDUAL}", _INVERTED, "images (%)", unconverged,
                  highest=1.0),
            Panel("Self-STIR", _INVERTED, "1 is perfect", own, rules=_criterion(estimator),
                  lowest=0.975, highest=1.001),
        ],
    )  # fmt: skip


def _criterion(estimator: str) -> Sequence[Rule]:
    return (
        [Rule(CONVERGED_SELF_STIR, f"needed: {CONVERGED_SELF_STIR} or more")]
        if estimator == CRITERION
        else ()
    )


def _residuals(results: xr.Dataset, inverted: Inverted) -> Line:
    median, high = (
        inversion_curve(results, f"centred_residual_{name}", **inverted.place)
        for name in ("median", "q95")
    )
    return Line(
        inverted.label,
        x=median.layers,
        y=decimals(median.mean),
        low=decimals(median.mean),
        high=decimals(high.mean),
        **model_look(inverted.model),
    )


def _share_unconverged(results: xr.Dataset, inverted: Inverted) -> Line:
    above = inversion_curve(results, "unconverged", **inverted.place)
    of_all = inversion_curve(results, "images", **inverted.place)
    share = decimals(100 * above.mean / of_all.mean)
    look = model_look(inverted.model)
    return Line(inverted.label, x=above.layers, y=share, **look)


def _baselines(results: xr.Dataset, estimator: str) -> Variant:
    last = last_epochs(results)
    panels = [
        Panel(
            style.model_at(model, epoch).capitalize(),
            LAYER,
            "STIR (1 is full agreement)",
            list(_shares(results, model, epoch, ESTIMATORS[estimator])),
        )
        for model, epoch in last.items()
    ]
    curves = [
        metric_curve(results, "forgetting", model=model, epoch=epoch, estimator=estimator)
        for model, epoch in last.items()
    ]
    return Variant(estimator, panels, sample_note(results, curves))


def _shares(results: xr.Dataset, model: str, epoch: int, suffix: str) -> Iterator[Line]:
    name = style.MODEL_NAMES[model]
    lines = (
        ("self-STIR of the pretrained model", "stir", "pt|pt", model_look("pretrained")),
        (f"STIR({name} | pretrained)", "stir", "ft|pt", model_look(model)),
        ("STIR of the start", "noise_stir", "ft|pt",
         {"colour": GREY, "symbol": "x", "dash": "dash"}),
    )  # fmt: skip
    for label, score, direction, look in lines:
        place = {"model": model, "epoch": epoch, "direction": direction}
        curve = score_curve(results, f"{score}{suffix}", **place)
        # A grey start is the same for all images, and its STIR undefined: it is no gap.
        if score != "noise_stir" or np.isfinite(curve.mean).any():
            yield line_of(curve, label, **look)
    place = {"model": model, "epoch": epoch, "direction": "ft|pt"}
    column = f"chance_stir{suffix}"
    yield from chance_lines(
        score_curve(results, column, **place), score_curve(results, f"{column}_q95", **place)
    )


def _alike(results: xr.Dataset, estimator: str) -> Variant:
    panels = []
    for place, (model, epoch) in enumerate(last_epochs(results).items()):
        of = {"model": model, "epoch": epoch, "estimator": estimator}
        learning = metric_curve(results, "learning", **of)
        forgetting = metric_curve(results, "forgetting", **of)
        name = style.model_at(model, epoch)
        line = Line(
            name,
            LINE_COLOURS[place],
            decimals(forgetting.mean),
            decimals(learning.mean),
            symbol=str(model_look(model)["symbol"]),
        )
        panels.append(
            Panel(name.capitalize(), "forgetting", "learning", [line], rules=(), is_scatter=True,
                  labels=[f"layer {layer}" for layer in learning.layers])
        )  # fmt: skip
    return Variant(estimator, panels, "A point is a layer; its number stands above it.")
