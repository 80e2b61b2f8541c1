"""Whether the numbers can be trusted: residuals, self-STIR, baselines of STIR, correlations."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import INVERTED_LAYER, LAYER, Chart, Rows, Words, curve_rows, layer_rows
from stir_ray.charts.curves import chance_note
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.readings import (
    OWN,
    ComparedModel,
    Numbers,
    Values,
    compared_models,
    sample_note,
)
from stir_ray.charts.style import (
    DASHED,
    DOTTED,
    ESTIMATORS,
    GREY,
    MODELS,
    PRETRAINED,
    SHAPES,
    Look,
    layer_colours,
    model_at,
    model_name,
)
from stir_ray.numerics.correlation import pearson
from stir_ray.numerics.criteria import CONVERGED_RESIDUAL, CONVERGED_SELF_STIR

START = "STIR of the start"
CHANCE = ("STIR by chance", "95 % level of chance")
BASELINES = {
    START: Look(GREY, "cross", DASHED),
    CHANCE[0]: Look(GREY, "triangle-down", DOTTED),
    CHANCE[1]: Look("#A6A6A6", "triangle-up", DOTTED),
}
"""Looks of what STIR is compared with."""


@dataclass(frozen=True)
class InvertedModel:
    """A model whose layers were inverted, in its own eyes, at its last epoch."""

    compared: ComparedModel
    side: str
    model: str
    label: str

    def score(self, name: str) -> Values:
        """Return a score of its layers that see their own inversions."""
        return self.compared.score_curve(name, OWN[self.side]).at([self.compared.epochs[-1]])

    def inversion(self, column: str) -> Numbers:
        """Return a column of its inversions by layer."""
        return self.compared.inversion(column, self.side).mean[-1]


def inverted_models(results: xr.Dataset) -> Iterator[InvertedModel]:
    """Return the pretrained model, and the last checkpoint of each compared one."""
    models = compared_models(results)
    for compared in models[:1]:
        # Its inversions are the same beside whatever it is compared with.
        yield InvertedModel(compared, "pt", PRETRAINED, PRETRAINED)
    for compared in models:
        yield InvertedModel(
            compared, "ft", compared.model, model_at(compared.model, compared.epochs[-1], results)
        )


def convergence(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw residuals, the share of images that did not converge, and self-STIR, by layer.

    Arguments as in `learning_and_forgetting`.
    """
    residuals: Rows = []
    unconverged: Rows = []
    self_stir: Rows = []
    looks, curves = {}, []
    for inverted in inverted_models(results):
        line = inverted.label
        looks[line] = MODELS[inverted.model]
        layers = inverted.compared.layers(inverted.side)
        median, high = (
            inverted.inversion(f"centred_residual_{name}") for name in ("median", "q95")
        )
        residuals += curve_rows(layers, median, line, low=median, high=high)
        share = 100 * inverted.inversion("unconverged") / inverted.inversion("images")
        unconverged += curve_rows(layers, share, line)
        for by, suffix in ESTIMATORS.items():
            curves.append(inverted.score(f"stir{suffix}"))
            self_stir += layer_rows(curves[-1], line, estimator=by)
    panels = [
        Panel("Centred residual: median to 95 % of images", "0: perfect; 1: the average image",
              INVERTED_LAYER, residuals, [(CONVERGED_RESIDUAL, "converged")], (0,)),
        Panel(f"Images above {CONVERGED_RESIDUAL}", "images (%)", INVERTED_LAYER, unconverged,
              (), (0, 1)),
        Panel("Self-STIR", "1: perfect", INVERTED_LAYER, self_stir,
              [(CONVERGED_SELF_STIR, f"needed: {CONVERGED_SELF_STIR} (unbiased)")], (0.975, 1)),
    ]  # fmt: skip
    title = "How well inverted images match the originals for their own model"
    return line_chart(
        Words(title, sample_note(results, curves), looks), panels, estimator=estimator
    )


def baselines(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw STIR(compared | pretrained) between self-STIR and chance, a panel per compared model.

    Arguments as in `learning_and_forgetting`.
    """
    looks = {"self-STIR": MODELS[PRETRAINED]}
    panels, curves = [], []
    for compared in compared_models(results):
        line = f"STIR({model_name(compared.model, results)} | {PRETRAINED})"
        looks[line] = MODELS[compared.model]
        rows: Rows = []
        for by, suffix in ESTIMATORS.items():
            rows += list(_shared(compared, line, by, suffix, curves))
        title = model_at(compared.model, compared.epochs[-1], results)
        panels.append(Panel(title, "STIR (1: full agreement)", LAYER, rows))
    words = Words(
        "What the trained model shares, between self-STIR and chance",
        f"{sample_note(results, curves)} {chance_note(results)}".strip(),
        looks | BASELINES,
    )
    return line_chart(words, panels, estimator=estimator, shared_y=True)


def _shared(
    compared: ComparedModel, line: str, by: str, suffix: str, curves: list[Values]
) -> Iterator[dict]:
    epoch = compared.epochs[-1]
    lines = {
        "self-STIR": (f"stir{suffix}", "pt|pt"),
        line: (f"stir{suffix}", "ft|pt"),
        START: (f"noise_stir{suffix}", "ft|pt"),
        CHANCE[0]: (f"chance_stir{suffix}", "ft|pt"),
        CHANCE[1]: (f"chance_stir{suffix}_q95", "ft|pt"),
    }
    unconverged = compared.unconverged("pt")[epoch]
    for label, (score, direction) in lines.items():
        curve = compared.score_curve(score, direction).at([epoch])
        # A grey start is the same for all images, so that its STIR is undefined: no gap.
        if np.isfinite(curve.mean).any():
            curves.append(curve)
            yield from layer_rows(
                curve, label, estimator=by, unconverged=unconverged if label == line else None
            )


def learning_against_forgetting(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw a point per layer: forgetting against learning after the last epoch, with r.

    Arguments as in `learning_and_forgetting`. Appendix C.1 of Merlin et al. 2023.
    """
    panels, curves, looks = [], [], {}
    for compared in compared_models(results):
        rows: Rows = []
        texts = []
        colours = layer_colours(len(compared.shared_layers))
        for by in ESTIMATORS:
            x, y = (
                compared.curve(m, by).at([compared.epochs[-1]]) for m in ("forgetting", "learning")
            )
            curves += [x, y]
            is_defined = np.isfinite(x.mean[0]) & np.isfinite(y.mean[0])
            for n, layer in enumerate(x.layers):
                if is_defined[n]:
                    line = f"layer {layer}"
                    looks.setdefault(line, Look(colours[n], SHAPES[0]))
                    moving = "still moving" if x.moving[0, n] or y.moving[0, n] else ""
                    rows += curve_rows([x.mean[0, n]], [y.mean[0, n]], line, estimator=by,
                                       states=[moving], labels=[str(layer)])  # fmt: skip
            if is_defined.sum() > 2:
                correlation = pearson(x.mean[0][is_defined], y.mean[0][is_defined])
                texts.append(
                    f"r = {float(correlation.r):.2f}, p = {float(correlation.p):.1g} ({by})"
                )
        title = f"{model_at(compared.model, compared.epochs[-1], results)}\n{'; '.join(texts)}"
        panels.append(Panel(title.strip(), "learning", "forgetting", rows, ()))
    note = (
        f"A point is a layer. {sample_note(results, curves, has_band=False)} p: as if layers were "
        "independent. Chance: r = 0."
    )
    looks = dict(sorted(looks.items(), key=lambda look: int(look[0].split()[-1])))
    words = Words("Do layers learn where they forget?", note, looks)
    return line_chart(words, panels, estimator=estimator, joined=False, named=True, height=240)
