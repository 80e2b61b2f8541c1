"""STIR and similarity by RBF CKA or Procrustes instead of linear CKA, of the same Gram matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from stir_ray.lake.schemas import (
    COMPARED,
    COMPARED_MODEL,
    DIRECTION,
    FLOAT,
    IMAGE_COUNT,
    LAYER_PAIR,
    SEED,
    TEXT,
    Column,
)
from stir_ray.measures.measure import (
    SMALL_VALUES,
    Measure,
    Model,
    Subject,
    Views,
    rows_to_columns,
)
from stir_ray.numerics.settings import Similarity, SimilarityMeasure

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from torch import Tensor

    from stir_ray.charts.blocks import Chart
    from stir_ray.charts.readings import ComparedModel, Values
    from stir_ray.job import Job

_SCORES = (
    Column("measure", TEXT, "`rbf_cka` or `procrustes`, in place of linear CKA"),
    Column("bandwidth", FLOAT, "of RBF CKA: sigma as a fraction of the median distance between "
           "images; 0 of measures that have none", "1", "[0, inf)"),
    Column("stir", FLOAT, "the target's representations of images and inverted images, compared "
           "by this measure; 1 is full agreement", "1", "[0, 1]"),
    Column("stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN of measures without it",
           "1", "[-1, 1]"),
    Column("stir_drift", FLOAT, "change of `stir` since half the steps of the inversion; NaN where "
           "they had no score then", "1", "[-1, 1]"),
    Column("stir_unbiased_drift", FLOAT, "the same of `stir_unbiased`; NaN likewise, and of "
           "measures without it", "1", "[-2, 2]"),
    Column("similarity", FLOAT, "of target and reference on the images themselves",
           "1", "[0, 1]"),
    Column("similarity_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("noise_stir", FLOAT, "baseline: `stir` if nothing were optimised (inverted images = "
           "initial images clipped to [0, 1]); NaN of grey ones", "1", "[0, 1]"),
    Column("noise_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("chance_stir", FLOAT, "baseline: `stir` if the inverted images were the real ones in "
           "a random order; mean over 200 orders, of Procrustes over 20", "1", "[0, 1]"),
    Column("chance_stir_unbiased", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
    Column("chance_stir_q95", FLOAT, "95 % quantile over the orders of `chance_stir`", "1",
           "[0, 1]"),
    Column("chance_stir_unbiased_q95", FLOAT, "the same with unbiased HSIC; NaN likewise",
           "1", "[-1, 1]"),
)  # fmt: skip
_NAMES = {"rbf_cka": "RBF CKA", "procrustes": "Procrustes"}
_IMAGES = "similarity on the images"


class Similarities(Measure):
    """An artifact per similarity, so that one more leaves the others as they are."""

    name = "similarities"
    recipe = 5
    columns = (*COMPARED, *LAYER_PAIR, SEED, IMAGE_COUNT, *_SCORES)
    key = ("reference_layer", "target_layer")
    result = "other_similarities"
    result_columns = (*COMPARED_MODEL, DIRECTION, SEED, *LAYER_PAIR, IMAGE_COUNT, *_SCORES)
    result_key = (
        *("model", "epoch", "direction", "seed", "reference_layer", "target_layer"),
        *("measure", "bandwidth"),
    )
    section = "measures"

    def options(self, job: Job) -> Iterable[SimilarityMeasure]:
        return job.similarity_measures

    def content(self, subject: Subject, option: SimilarityMeasure) -> Mapping[str, object]:
        return {"measure": option, "layers": subject.target_layers}

    def compute(self, views: Views, option: SimilarityMeasure) -> Mapping[str, Any]:
        import numpy as np

        from stir_ray.measures.scores import baselines, drift
        from stir_ray.numerics.similarity import cka_by_chance, procrustes_by_chance

        score = partial(_score, option)

        def score_linear(name: str, first: Tensor, gram: Tensor) -> dict[str, float]:
            return score(name, first, _prepare(option, gram))

        def prepared(model: Model) -> list[Tensor]:
            def make() -> list[Tensor]:
                return [_prepare(option, gram) for gram in views.grams(model, "real")]

            return views.cached(("prepared", option), model, "real", make)

        def by_chance(gram: Tensor, orders: Tensor) -> tuple[np.ndarray, np.ndarray]:
            if option.similarity is Similarity.RBF_CKA:
                return cka_by_chance(gram, orders)
            biased = procrustes_by_chance(gram, orders)
            return biased, np.full_like(biased, np.nan)

        def make_baselines() -> list[dict[str, float]]:
            initial = [_prepare(option, gram) for gram in views.grams("target", "initial")]
            return baselines(real, initial, seed=views.seed, score=score, by_chance=by_chance)

        inverted, earlier = views.grams("target", "inverted"), views.grams("target", "earlier")
        of_layer = prepared("reference")[views.layers("reference").index(views.layer)]
        real = prepared("target")
        chance = views.cached(
            ("baselines", option), "target", "initial", make_baselines, SMALL_VALUES
        )
        rows = [
            score_linear("stir", gram, now)
            | drift("stir", gram, now, before, score=score_linear)
            | score("similarity", gram, of_layer)
            | baseline
            for gram, now, before, baseline in zip(real, inverted, earlier, chance, strict=True)
        ]
        return {
            "target_layer": list(views.target_layers),
            "measure": str(option.similarity),
            "bandwidth": option.bandwidth,
            **rows_to_columns(rows),
        }

    def charts(self, results: xr.Dataset, table: pd.DataFrame) -> Iterator[tuple[str, Chart]]:
        from stir_ray.charts.readings import last_epochs

        for compared, _ in last_epochs(table, results):
            model, stem = compared.model, compared.model.replace("_", "-")
            yield f"21-measures-by-layer-{stem}", similarities(results, table, model=model)
            if len(compared.epochs) > 1:
                chart = similarities_over_epochs(results, table, model=model)
                yield f"22-measures-over-epochs-{stem}", chart


SIMILARITIES = Similarities()


def _prepare(option: SimilarityMeasure, gram: Tensor) -> Tensor:
    """Prepare a linear Gram matrix for comparisons with others."""
    from stir_ray.numerics.similarity import procrustes_coordinates, rbf_of_linear

    if option.similarity is Similarity.RBF_CKA:
        return rbf_of_linear(gram, bandwidth=option.bandwidth)
    return procrustes_coordinates(gram)


def _score(option: SimilarityMeasure, name: str, first: Tensor, second: Tensor) -> dict[str, float]:
    from stir_ray.measures.scores import scores
    from stir_ray.numerics.similarity import procrustes_similarity

    if option.similarity is Similarity.RBF_CKA:
        return scores(name, first, second)
    return {name: procrustes_similarity(first, second), f"{name}_unbiased": float("nan")}


def similarities(
    results: xr.Dataset, table: pd.DataFrame, *, model: str = "", estimator: str = "unbiased"
) -> Chart:
    """Draw STIR by each measure between self-STIR and chance, by layer; a panel per measure.

    Args:
        results: as `stir_ray.open_results` gives them.
        table: `other_similarities` of the same job.
        model: `finetuned` or `from_scratch`; the first that there is if none is given.
        estimator: of CKA, shown first.

    Raises:
        ValueError: if the table has no rows of the model.
    """
    import numpy as np

    from stir_ray.charts.curves import BASELINES, CHANCE, CHANCE_95, START
    from stir_ray.charts.lines import LAYER, Panel, layer_rows, line_chart
    from stir_ray.charts.readings import compared_model, last_epochs
    from stir_ray.charts.style import (
        DASHED,
        MODELS,
        PALETTE,
        PRETRAINED,
        Look,
        model_at,
        model_name,
    )

    model = model or compared_model(results).model
    epochs = {compared.model: epoch for compared, epoch in last_epochs(table, results)}
    if model not in epochs:
        raise ValueError(f"no rows of {model}; there are: {', '.join(epochs) or 'none'}")
    epoch, compared = epochs[model], compared_model(results, model)
    line = f"STIR({model_name(model, results)} | {PRETRAINED})"
    lines = {
        "self-STIR": ("stir", "pt|pt", ""),
        line: ("stir", "ft|pt", ""),
        _IMAGES: ("similarity", "ft|pt", ""),
        START: ("noise_stir", "ft|pt", ""),
        CHANCE: ("chance_stir", "ft|pt", ""),
        CHANCE_95: ("chance_stir", "ft|pt", "_q95"),
    }
    looks = {"self-STIR": MODELS[PRETRAINED], line: MODELS[model],
             _IMAGES: Look(PALETTE[3], "diamond", DASHED), **BASELINES}  # fmt: skip
    unconverged = compared.unconverged("pt")[epoch]
    panels = []
    for title, suffixes, read in _measures(compared, table):
        rows: list[dict] = []
        for by, suffix in suffixes.items():
            for name, (score, direction, level) in lines.items():
                curve = read(f"{score}{suffix}{level}", direction).at(epoch)
                if np.isfinite(curve.mean).any():
                    bad = unconverged if name == line else ()
                    rows += layer_rows(curve, name, by=by, unconverged=bad)
        panels.append(Panel(title, "1: full agreement", LAYER, rows))
    title = f"STIR and similarity by other measures: {model_at(model, epoch, results)}"
    shown = {"shared_y": True, "columns": 2 if len(panels) in {2, 4} else 3}
    return line_chart(title, "", looks, panels, results=results, estimator=estimator, **shown)


def similarities_over_epochs(
    results: xr.Dataset, table: pd.DataFrame, *, model: str = "", estimator: str = "unbiased"
) -> Chart:
    """Draw STIR and similarity by each measure over the epochs, a line per layer.

    Arguments as in `similarities`.
    """
    from stir_ray.charts.lines import EPOCH, Panel, epoch_rows, line_chart
    from stir_ray.charts.readings import compared_model
    from stir_ray.charts.style import PRETRAINED, layer_looks, model_name

    compared = compared_model(results, model)
    name, layers = model_name(compared.model, results), compared.shared_layers
    scores = {"stir": f"STIR({name} | {PRETRAINED})", "similarity": _IMAGES}
    unconverged = {"stir": compared.unconverged("pt"), "similarity": None}
    panels = []
    for title, suffixes, read in _measures(compared, table):
        for score, quantity in scores.items():
            rows = [
                row
                for by, suffix in suffixes.items()
                for row in epoch_rows(
                    read(f"{score}{suffix}", "ft|pt"), by=by, unconverged=unconverged[score]
                )
            ]
            panels.append(Panel(f"{title}\n{quantity}", "1: full agreement", EPOCH, rows, ()))
    title, looks = f"Other measures while the {name} model is trained", layer_looks(layers)
    shown = {"columns": 2, "bands": False, "height": 150}
    return line_chart(title, "", looks, panels, results=results, estimator=estimator, **shown)


def _measures(
    compared: ComparedModel, table: pd.DataFrame
) -> Iterator[tuple[str, Mapping[str, str], Callable[[str, str], Values]]]:
    """Yield linear CKA and the measures of a table.

    Of each its title, how columns end by estimator, and a function that reads a column of a
    direction, where the layer that sees is the inverted layer.
    """
    from stir_ray.charts.readings import table_values
    from stir_ray.charts.style import ESTIMATORS

    def read(rows: pd.DataFrame, column: str, direction: str) -> Values:
        target, reference = (compared.layers(side) for side in direction.split("|"))
        is_equal = rows["reference_layer"] == rows["target_layer"]
        return table_values(
            rows[is_equal & (rows["direction"] == direction)],
            column,
            epochs=compared.epochs,
            layers=[layer for layer in target if layer in reference],
        )

    def read_linear(column: str, direction: str) -> Values:
        return compared.score_curve(column.replace("similarity", "cka"), direction)

    yield "linear CKA", ESTIMATORS, read_linear
    of_model = table[table["model"] == compared.model]
    for (measure, bandwidth), rows in of_model.groupby(["measure", "bandwidth"], sort=False):
        title = _NAMES.get(str(measure), str(measure))
        title += f", bandwidth {bandwidth:g}" if bandwidth else ""
        if rows["stir_unbiased"].notna().any():
            yield title, ESTIMATORS, partial(read, rows)
        else:
            yield f"{title} (no unbiased form)", {"": ""}, partial(read, rows)
