"""Made-up further measures of a made-up job, through the same tables as real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import encode, make_table, open_lake
from stir_ray.lake.schemas import TableSchema
from stir_ray.measures.metamers import METAMERS
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.measures.subspaces import SUBSPACES
from tests.report.synthetic import DIRECTIONS, IMAGES, Shape, stir, subspaces

RBF, PROCRUSTES = ("rbf_cka", 0.5), ("procrustes", 0.0)
MEASURES = (RBF, PROCRUSTES)


def further(folder: Path, shape: Shape) -> dict[str, pd.DataFrame]:
    """All of them, written to a lake in `folder` and read back."""
    made = {
        METAMERS.result_table: _metamers(shape),
        PREDICTIONS.result_table: _unchanged(shape),
        SIMILARITIES.result_table: _similarities(shape),
        SUBSPACES.result_table: subspaces(shape),
    }
    for schema, tables in made.items():
        write(folder, schema, list(tables))
    lake = open_lake(str(folder))
    return {
        schema.name: lake.read_object(schema, result_key("synthetic", schema.name)).to_pandas()
        for schema in made
    }


def write(folder: Path, schema: TableSchema, tables: list[pa.Table]) -> None:
    """A result; empty of no tables."""
    table = pa.concat_tables(tables) if tables else schema.arrow().empty_table()
    open_lake(str(folder)).objects.put(result_key("synthetic", schema.name), encode(table, {}))


def metamers(shape: Shape, model: str, epoch: int, seed: int) -> NDArray[np.int64]:
    """How many images of each layer are."""
    fewer = {"pretrained": 0, "finetuned": 3, "from_scratch": 7}[model]
    return IMAGES - fewer - epoch - 2 * seed - 5 * np.arange(len(shape.layers))


def unchanged(shape: Shape, direction: str, epoch: int, seed: int) -> NDArray[np.float64]:
    """Fraction of predictions by inverted layer."""
    less = 0.07 * DIRECTIONS.index(direction) + 0.02 * epoch + 0.01 * seed
    return 0.95 - less - 0.04 * np.arange(len(shape.layers), dtype=np.float64)


def by_measure(values: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """A score by another measure, of what it is by linear CKA."""
    return values**2 if measure == "rbf_cka" else np.sqrt(values)


def _compared(shape: Shape) -> Iterator[tuple[str, int]]:
    yield from (("finetuned", epoch) for epoch in shape.epochs)
    if shape.scratch_epoch is not None:
        yield "from_scratch", shape.scratch_epoch


def _inverted(shape: Shape, model: str, direction: str) -> list[bool]:
    return [(model, direction, layer) not in shape.without for layer in shape.layers]


def _metamers(shape: Shape) -> Iterator[pa.Table]:
    for model, epoch in (("pretrained", 0), *_compared(shape)):
        own = ("finetuned", "pt|pt") if model == "pretrained" else (model, "ft|ft")
        there = _inverted(shape, *own)
        for seed in shape.seeds:
            count, place = len(shape.layers), np.arange(len(shape.layers))
            rows = make_table(
                METAMERS.result_table,
                {
                    "model": model,
                    "epoch": epoch,
                    "seed": seed,
                    "reference_layer": list(shape.layers),
                    "images": IMAGES,
                    "metamers": metamers(shape, model, epoch, seed),
                    "pearson_median": 0.99 - 0.01 * place,
                    "spearman_median": 0.98 - 0.02 * place,
                    "snr_db_median": 40.0 - 3 * place + seed,
                    "null_pearson": [0.9] * count,
                    "null_spearman": [0.85] * count,
                    "null_snr_db": [11.0] * count,
                },
            )
            yield rows.filter(pa.array(there))


def _unchanged(shape: Shape) -> Iterator[pa.Table]:
    for model, epoch in _compared(shape):
        for direction in DIRECTIONS:
            for seed in shape.seeds:
                values = unchanged(shape, direction, epoch, seed)
                rows = make_table(
                    PREDICTIONS.result_table,
                    {
                        "model": model,
                        "epoch": epoch,
                        "direction": direction,
                        "seed": seed,
                        "reference_layer": list(shape.layers),
                        "images": IMAGES,
                        "unchanged": values,
                        "chance_unchanged": values / 3,
                        "noise_unchanged": 0.13,
                    },
                )
                yield rows.filter(pa.array(_inverted(shape, model, direction)))


def _similarities(shape: Shape) -> Iterator[pa.Table]:
    for model, epoch in _compared(shape):
        for direction in DIRECTIONS:
            for seed in shape.seeds:
                scores = stir(shape, model, epoch, direction, seed)
                there = _inverted(shape, model, direction)
                for measure, bandwidth in MEASURES:
                    place = {"model": model, "epoch": epoch, "direction": direction, "seed": seed}
                    of = {"measure": measure, "bandwidth": bandwidth}
                    yield from _of_measure(shape, scores, there, {**place, **of})


def _of_measure(
    shape: Shape, scores: NDArray[np.float64], there: list[bool], place: dict[str, object]
) -> Iterator[pa.Table]:
    values = by_measure(scores, str(place["measure"]))
    less = 0.02 if place["measure"] == "rbf_cka" else np.nan
    for column, reference in enumerate(shape.layers):
        if not there[column]:
            continue
        stirs = {"stir": values[:, column], "noise_stir": 0.31, "chance_stir": 0.22}
        of_images = {"similarity": 0.9 - 0.01 * column}
        both = {**stirs, **of_images}
        yield make_table(
            SIMILARITIES.result_table,
            {
                **place,
                "reference_layer": reference,
                "target_layer": list(shape.layers),
                "images": IMAGES,
                **both,
                **{f"{name}_unbiased": np.asarray(value) - less + np.zeros(len(shape.layers))
                   for name, value in both.items()},
                "stir_drift": 0.004,
                "stir_unbiased_drift": 0.004 - less,
                "chance_stir_q95": 0.25,
                "chance_stir_unbiased_q95": 0.25 - less,
            },
        )  # fmt: skip
