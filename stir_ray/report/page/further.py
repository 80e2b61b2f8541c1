"""The section of what a job asked for besides STIR by linear CKA."""

from collections.abc import Iterator

import pandas as pd
import xarray as xr

from stir_ray.report.further import Further
from stir_ray.report.metamers import BEST_OF_OTHERS, CRITERIA, inverted_models
from stir_ray.report.page.layers import doubts_by_layer
from stir_ray.report.page.measures import measures_by_layer, measures_over_epochs
from stir_ray.report.page.plots import (
    GREY,
    Line,
    Panel,
    Plot,
    Section,
    Variant,
    line_of,
    model_look,
)
from stir_ray.report.readings import Curve, sample_note
from stir_ray.report.unchanged import Seen, seen_by

_WORDS = (
    (
        "What the job measured besides STIR by linear CKA. Nothing of it enters the numbers above: "
        "it is there to see whether they would be the same if asked otherwise."
    ),
)
_METAMER_WORDS = (
    "A metamer is an inverted image that its layer takes for the original: to the layer the two "
    "are more alike than any two different images are, by all three criteria below. Where few "
    "pass, images were not inverted well enough, or the layer hardly tells images apart."
)
_CRITERIA_WORDS = (
    "How alike an image and its inversion are to the inverted layer. Dotted is what they have to "
    "exceed: the best that any two different images reach."
)
_UNCHANGED_WORDS = (
    "Of how many images a model predicts the same class when it is shown the inverted one "
    "instead. It takes no measure of similarity to see from this what two models share: where "
    "images inverted from the other model keep their class, what they lost does not matter."
)
_INVERTED = "inverted layer (transformer block)"


def further_section(results: xr.Dataset, further: Further) -> Section | None:
    """Metamers, unchanged predictions and other similarities; None where there is none of them."""
    plots = [
        *(_metamers(results, further.metamers) if further.metamers is not None else ()),
        *(_unchanged(results, further.unchanged) if further.unchanged is not None else ()),
    ]
    if further.similarities is not None:
        plots += measures_by_layer(results, further.similarities)
        plots += measures_over_epochs(results, further.similarities)
    return Section("further", "Further measures", _WORDS, plots=plots) if plots else None


def _metamers(results: xr.Dataset, counts: pd.DataFrame) -> Iterator[Plot]:
    models = inverted_models(results, counts)
    if not models:
        return
    curves = [one.share for one in models]
    lines = [
        line_of(curve, one.label, **model_look(one.model))
        for one, curve in zip(models, curves, strict=True)
    ]
    panel = Panel("", _INVERTED, "images (%)", lines, lowest=0.0, highest=100.0)
    note, title = sample_note(results, curves), "Metamers: inverted images that pass for originals"
    yield Plot("metamers", title, "", [Variant("", [panel], note)], _METAMER_WORDS)
    panels = []
    for criterion, (name, unit) in CRITERIA.items():
        medians = [line_of(one.median(criterion), one.label, **model_look(one.model))
                   for one in models]  # fmt: skip
        nulls = [_null(one.label, one.null(criterion), one.model) for one in models]
        panels.append(Panel(f"{name}: median", _INVERTED, unit, [*medians, *nulls], rules=()))
    title = "The three criteria, one by one"
    yield Plot("metamer-criteria", title, "", [Variant("", panels, note)], _CRITERIA_WORDS)


def _null(label: str, curve: Curve, model: str) -> Line:
    look = {**model_look(model), "symbol": "x", "dash": "dot"}
    return line_of(curve, f"{label}: {BEST_OF_OTHERS}", **look)


def _unchanged(results: xr.Dataset, unchanged: pd.DataFrame) -> Iterator[Plot]:
    seen = seen_by(results, unchanged)
    if not seen:
        return
    panels = [
        Panel(f"Seen by: {target}", _INVERTED, "predictions unchanged (%)",
              list(_of_target(results, every)), lowest=0.0, highest=100.0)
        for target, every in seen.items()
    ]  # fmt: skip
    curves = [one.share("unchanged") for every in seen.values() for one in every]
    note = (
        f"{sample_note(results, curves)} Chance: as often as the two classes would be the same if "
        "they had nothing to do with each other, each as frequent as it is."
    )
    title = "Predictions that inverted images leave unchanged"
    yield Plot("unchanged", title, "", [Variant("", panels, note)], _UNCHANGED_WORDS)


def _of_target(results: xr.Dataset, every: list[Seen]) -> Iterator[Line]:
    for one in every:
        curve, look = one.share("unchanged"), model_look(one.reference)
        doubtful = doubts_by_layer(results, curve, model=one.model, epoch=one.epoch, side=one.side)
        yield line_of(curve, f"inverted from: {one.label}", doubtful=doubtful, **look)
        chance = {**look, "symbol": "x", "dash": "dot"}
        yield line_of(one.share("chance_unchanged"), f"chance, {one.label}", **chance)
    # The same whichever model is inverted.
    start = {"colour": GREY, "symbol": "cross", "dash": "dash"}
    yield line_of(every[0].share("noise_unchanged"), "start of the inversion", **start)
