"""What a job may ask for besides STIR by linear CKA, as figures and page read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import TableSchema
from stir_ray.measures.metamers import METAMERS
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.report.readings import Curve, Numbers, compared_models, epochs_of


@dataclass(frozen=True)
class Further:
    """The tables of further measures; None of what is not asked for, or has no number yet.

    Attributes:
        metamers: the table `metamer_counts`.
        unchanged: the table `unchanged_predictions`.
        similarities: the table `other_similarities`.
    """

    metamers: pd.DataFrame | None = None
    unchanged: pd.DataFrame | None = None
    similarities: pd.DataFrame | None = None


def read_further(job: str, lake: Lake) -> Further:
    """What a reduced job has of them."""
    tables = METAMERS.result_table, PREDICTIONS.result_table, SIMILARITIES.result_table
    return Further(*(_read(schema, job, lake) for schema in tables))


def _read(schema: TableSchema, job: str, lake: Lake) -> pd.DataFrame | None:
    try:
        table = lake.read_object(schema, result_key(job, schema.name))
    except FileNotFoundError:  # Results of earlier versions do not have it.
        return None
    return table.to_pandas() if table.num_rows else None


def last_epochs_with(table: pd.DataFrame, results: xr.Dataset) -> dict[str, int]:
    """The last epoch of each compared model that a table has a row of, of those that have one."""
    last = {}
    for model in compared_models(results):
        there = set(table.loc[table["model"] == model, "epoch"])
        known = [epoch for epoch in epochs_of(results, model) if epoch in there]
        if known:
            last[model] = known[-1]
    return last


def rows_at(table: pd.DataFrame, **place: object) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for column, value in place.items():
        table = table[table[column] == value]
    return table


def curve_over_layers(rows: pd.DataFrame, column: str, layers: Sequence[int]) -> Curve:
    """A column by inverted layer, of rows that differ in layer and seed; NaN where there is none.

    Args:
        rows: of one model, epoch and direction.
        column: of them.
        layers: that there should be.
    """
    of_layer = rows.groupby("reference_layer")[column]

    def array(found: pd.Series) -> Numbers:
        return np.asarray(found.reindex(list(layers)), dtype=np.float64)

    # pandas counts what is known, and knows no deviation of a single number.
    seeds = np.nan_to_num(array(of_layer.count()))
    return Curve(
        list(layers), array(of_layer.mean()), array(of_layer.std()), int(seeds.max(initial=0))
    )
