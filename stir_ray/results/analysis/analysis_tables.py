"""An analysis as tidy tables."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import CORRELATIONS, HYPOTHESES, LEARNING_WITH_FORGETTING, TableSchema
from stir_ray.numerics.statistics import Hypothesis, Look
from stir_ray.numerics.statistics.sensitivity import DROPPED
from stir_ray.results.analysis.analyse import Analysis, HypothesisFamily, LayerCorrelation


def analysis_tables(analyses: Iterable[Analysis]) -> dict[TableSchema, pa.Table]:
    """The tables `hypotheses`, `correlations` and `learning_with_forgetting` of all of them."""
    tables: dict[TableSchema, list[pa.Table]] = {
        HYPOTHESES: [],
        CORRELATIONS: [],
        LEARNING_WITH_FORGETTING: [],
    }
    for analysis in analyses:
        for family in analysis.families:
            tables[HYPOTHESES].append(_hypotheses(analysis, family))
            tables[CORRELATIONS].extend(_correlations(analysis, family))
        if analysis.alike is not None:
            tables[LEARNING_WITH_FORGETTING].append(_alike(analysis, analysis.alike))
    return {
        schema: pa.concat_tables(some) if some else schema.arrow().empty_table()
        for schema, some in tables.items()
    }


def _of_curves(analysis: Analysis) -> dict[str, str]:
    return {"model": analysis.of.model, "estimator": analysis.of.estimator}


def _hypotheses(analysis: Analysis, family: HypothesisFamily) -> pa.Table:
    found = family.screening
    tried = found.hypotheses
    ranks = np.argsort(found.strongest_first()) + 1
    unknown = np.full(len(tried), np.nan)
    interval, over_images = family.interval, family.over_images
    return make_table(
        HYPOTHESES,
        _of_curves(analysis)
        | _of_looks(family, unknown)
        | {
            "family": family.name,
            "hypothesis": [str(one) for one in tried],
            "curve": [one.curve for one in tried],
            "aggregate": [str(one.aggregate) for one in tried],
            "first_layer": [one.layers[0] for one in tried],
            "last_layer": [one.layers[-1] for one in tried],
            "is_undefined": np.isnan(found.r),
            "rank": ranks,
            "epochs": len(family.epochs),
            "severities": len(family.severities),
            "pearson_r": found.r,
            "pearson_p": found.p,
            "bonferroni_p": found.bonferroni,
            "max_statistic_p": found.family_wise,
            "max_statistic_p_all_epochs": found.family_wise_all_epochs,
            "circular_shift_p": family.circular_shift_p,
            "circular_shift_p_all_epochs": family.circular_shift_p_all_epochs,
            "effective_epochs": family.effective.epochs,
            "effective_p": family.effective.p,
            "effective_epochs_all_epochs": family.effective_all_epochs.epochs,
            "effective_p_all_epochs": family.effective_all_epochs.p,
            "seeds": family.seeds,
            "seeds_low": unknown if interval is None else interval.low,
            "seeds_high": unknown if interval is None else interval.high,
            "half_samples": family.halves,
            "images_low": unknown if over_images is None else over_images.low,
            "images_high": unknown if over_images is None else over_images.high,
        },
    )


def _of_looks(family: HypothesisFamily, unknown: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of what is averaged over severities here, and by severity in `correlations`."""
    averaged = {(look.name, look.start): look.found.averaged() for look in family.looks}
    columns = {}
    for name in ("spearman", "differences", "given_clean"):
        there = averaged.get((name, 0))
        columns[f"{name}_r"] = unknown if there is None else there.r
        columns[f"{name}_p"] = unknown if there is None else there.p
    for count in DROPPED:
        there = averaged.get(("pearson", count))
        columns[f"without_first_{count}_r"] = unknown if there is None else there.r
        there = averaged.get(("differences", count))
        columns[f"differences_without_first_{count}_r"] = unknown if there is None else there.r
    return columns


def _correlations(analysis: Analysis, family: HypothesisFamily) -> Iterator[pa.Table]:
    tried = family.screening.hypotheses
    for look in family.looks:
        yield _of_look(look, tried, analysis, family)
    for look in family.prefixes:
        yield _of_look(look, [tried[one.place] for one in family.examined], analysis, family)


def _of_look(
    look: Look, of: Sequence[Hypothesis], analysis: Analysis, family: HypothesisFamily
) -> pa.Table:
    epochs = family.epochs[look.start : look.stop]
    return make_table(
        CORRELATIONS,
        {
            **_of_curves(analysis),
            "hypothesis": np.repeat([str(one) for one in of], len(family.severities)),
            "look": look.name,
            "first_epoch": epochs[0],
            "last_epoch": epochs[-1],
            "severity": np.tile(family.severities, len(of)),
            "epochs": len(epochs),
            "r": look.found.r.ravel(),
            "p": look.found.p.ravel(),
        },
    )


def _alike(analysis: Analysis, alike: LayerCorrelation) -> pa.Table:
    return make_table(
        LEARNING_WITH_FORGETTING,
        {
            **_of_curves(analysis),
            "epoch": list(alike.epochs),
            "layers": alike.layers,
            "pearson_r": alike.pearson.r,
            "pearson_p": alike.pearson.p,
            "spearman_r": alike.spearman.r,
            "spearman_p": alike.spearman.p,
        },
    )
