"""What charts read from the tables of optional measures, which lie beside the results."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from stir_ray.charts.readings import ComparedModel, Values, compared_models, over_seeds


def table_values(
    rows: pd.DataFrame,
    column: str,
    *,
    epochs: Sequence[int],
    layers: Sequence[int],
    drift: str = "",
    has_seeds: bool = True,
) -> Values:
    """Return a column of an optional measure's table by epoch and inverted layer.

    Args:
        rows: differing in seed, epoch and `reference_layer` alone.
        column: of the values.
        epochs: of the result.
        layers: of the result; NaN where there is no row.
        drift: column of their change since half the steps; empty for none.
        has_seeds: whether values vary with the seed of the inversion.
    """
    seeds = sorted(rows["seed"].unique()) or [0]
    places = pd.MultiIndex.from_product([seeds, epochs, layers])
    shape = (len(seeds), len(epochs), len(layers))
    indexed = rows.set_index(["seed", "epoch", "reference_layer"]).reindex(places)
    values, moved = (
        np.asarray(indexed[name], dtype=np.float64).reshape(shape)
        for name in (column, drift or column)
    )
    layers = list(layers)
    return over_seeds(
        list(epochs), layers, layers, values, moved if drift else None, has_seeds=has_seeds
    )


def last_epochs_in(table: pd.DataFrame, results: xr.Dataset) -> list[tuple[ComparedModel, int]]:
    """Return each compared model that a table has rows of, with the last epoch of them."""
    models = []
    for compared in compared_models(results):
        there = set(table.loc[table["model"] == compared.model, "epoch"])
        epochs = [epoch for epoch in compared.epochs if epoch in there]
        models += [(compared, epochs[-1])] if epochs else []
    return models


def rows_at(table: pd.DataFrame, **selection: object) -> pd.DataFrame:
    """Return the rows whose columns have these values."""
    for column, value in selection.items():
        table = table[table[column] == value]
    return table
