"""An analysis as tidy tables."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from stir_ray.lake.parquet import concat_tables
from stir_ray.lake.schemas import CORRELATIONS, HYPOTHESES, LEARNING_WITH_FORGETTING, TableSchema
from stir_ray.numerics.correlation_diagnostics import DROPPED, SensitivityCheck
from stir_ray.numerics.screening import Hypothesis
from stir_ray.results.analysis.analyse import Analysis, HypothesisFamily


def analysis_tables(analyses: Iterable[Analysis]) -> dict[TableSchema, pa.Table]:
    """Return the tables `hypotheses`, `correlations` and `learning_with_forgetting`."""
    rows: dict[TableSchema, list[dict[str, Any]]] = {
        HYPOTHESES: [],
        CORRELATIONS: [],
        LEARNING_WITH_FORGETTING: [],
    }
    for analysis in analyses:
        curves = {"model": analysis.curves.model, "estimator": analysis.curves.estimator}
        for family in analysis.families:
            rows[HYPOTHESES].append(curves | _hypotheses(family))
            rows[CORRELATIONS].extend(curves | columns for columns in _correlations(family))
        if analysis.layer_correlation is not None:
            layers = analysis.layer_correlation
            columns = {"epoch": list(layers.epochs), "layers": layers.layers}
            for name in ("pearson", "spearman"):
                correlation = getattr(layers, name)
                columns |= {f"{name}_r": correlation.r, f"{name}_p": correlation.p}
            rows[LEARNING_WITH_FORGETTING].append(curves | columns)
    return {schema: concat_tables(schema, columns) for schema, columns in rows.items()}


def _hypotheses(family: HypothesisFamily) -> dict[str, Any]:
    screening, diagnostics = family.screening, family.diagnostics
    tried = screening.hypotheses
    unknown = np.full(len(tried), np.nan)
    columns = {
        "family": family.name,
        "hypothesis": [str(hypothesis) for hypothesis in tried],
        "curve": [hypothesis.curve for hypothesis in tried],
        "aggregate": [str(hypothesis.aggregate) for hypothesis in tried],
        "first_layer": [hypothesis.layers[0] for hypothesis in tried],
        "last_layer": [hypothesis.layers[-1] for hypothesis in tried],
        "is_undefined": np.isnan(screening.r),
        "rank": np.argsort(screening.strongest_first()) + 1,
        "epochs": len(family.epochs),
        "severities": len(family.severities),
        "pearson_r": screening.r,
        "pearson_p": screening.p,
        "bonferroni_p": screening.bonferroni,
        "max_statistic_p": screening.family_wise,
        "max_statistic_p_all_epochs": screening.family_wise_all_epochs,
        "circular_shift_p": diagnostics.circular_shift_p,
        "circular_shift_p_all_epochs": diagnostics.circular_shift_p_all_epochs,
        "effective_epochs": diagnostics.effective.epochs,
        "effective_p": diagnostics.effective.p,
        "effective_epochs_all_epochs": diagnostics.effective_all_epochs.epochs,
        "effective_p_all_epochs": diagnostics.effective_all_epochs.p,
        "seeds": family.seeds,
        "half_samples": family.halves,
    }
    for name, interval in (("seeds", family.over_seeds), ("images", family.over_images)):
        columns[f"{name}_low"] = unknown if interval is None else interval.low
        columns[f"{name}_high"] = unknown if interval is None else interval.high
    for name in ("spearman", "differences", "given_clean"):
        check = diagnostics.check(name)
        columns[f"{name}_r"] = unknown if check is None else check.r
        columns[f"{name}_p"] = unknown if check is None else check.p
    for count in DROPPED:
        for name, prefix in (("pearson", ""), ("differences", "differences_")):
            check = diagnostics.check(name, without_first=count)
            columns[f"{prefix}without_first_{count}_r"] = unknown if check is None else check.r
    return columns


def _correlations(family: HypothesisFamily) -> Iterator[dict[str, Any]]:
    tried = family.screening.hypotheses
    for check in family.diagnostics.checks:
        yield _check(check, tried, family)
    for check in family.prefixes:
        yield _check(check, [tried[examined.index] for examined in family.examined], family)


def _check(
    check: SensitivityCheck, hypotheses: Sequence[Hypothesis], family: HypothesisFamily
) -> dict[str, Any]:
    epochs = family.epochs[check.start : check.stop]
    return {
        "hypothesis": np.repeat(
            [str(hypothesis) for hypothesis in hypotheses], len(family.severities)
        ),
        "look": check.name,
        "first_epoch": epochs[0],
        "last_epoch": epochs[-1],
        "severity": np.tile(family.severities, len(hypotheses)),
        "epochs": len(epochs),
        "r": check.correlation.r.ravel(),
        "p": check.correlation.p.ravel(),
    }
