"""Laws of tables: what is written is read back, and says what it means."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stir_ray.identity import canonical_json, content_id, text_id
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, decode, encode, make_table, open_lake, provenance, rehash
from stir_ray.lake.schemas import ANALYSIS_TABLES, COMPARISONS, IMAGES, INVERSIONS, TableSchema
from stir_ray.measures import artifact_tables, result_tables
from tests.lake.values import IMAGE_SHAPE, awkward, example, read_back, same

TABLES = (*artifact_tables().values(), *result_tables().values(), *ANALYSIS_TABLES)
every_table = pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.name)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(str(tmp_path / "lake"))


@every_table
def test_a_table_is_read_as_it_was_written(schema: TableSchema) -> None:
    columns = awkward(schema)
    whole = make_table(schema, columns)
    chunked = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 1), whole.slice(3)])
    for table in (whole, chunked):
        again = decode(encode(table, {"job": "other"}), schema, "here")
        assert same(read_back(again), columns)
    assert decode(encode(whole.slice(0, 0), {}), schema, "here").num_rows == 0


def test_only_the_declared_columns_make_a_table() -> None:
    columns = example(COMPARISONS)
    reference = columns.pop("reference")
    with pytest.raises(ValueError, match=r"comparisons: columns missing or unknown: reference$"):
        make_table(COMPARISONS, columns)
    with pytest.raises(ValueError, match=r"comparisons: .*: colour, reference$"):
        make_table(COMPARISONS, columns | {"colour": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"comparisons: .*: colour$"):
        make_table(COMPARISONS, columns | {"colour": [1, 2, 3], "reference": reference})


def test_columns_of_unequal_length_make_no_table() -> None:
    with pytest.raises(ValueError, match=r"comparisons.*lengths \[3, 5\]"):
        make_table(COMPARISONS, example(COMPARISONS, 3) | {"cka": [0.5] * 5})


def test_a_scalar_stands_for_a_whole_column() -> None:
    spelled_out = example(INVERSIONS, 5) | {"seed": [7] * 5, "reference": ["abc"] * 5}
    short = spelled_out | {"seed": 7, "reference": "abc"}
    assert make_table(INVERSIONS, short).equals(make_table(INVERSIONS, spelled_out))
    scalars = {name: values[0] for name, values in example(INVERSIONS).items()}
    assert make_table(INVERSIONS, scalars).num_rows == 1


@pytest.mark.parametrize("value", ["text", [None, 1, 2], 2**63])
def test_a_value_of_another_type_never_reaches_the_lake(value: object) -> None:
    # OverflowError is Python's own for an integer past 64 bits.
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError, OverflowError)):
        encode(make_table(INVERSIONS, example(INVERSIONS) | {"image_id": value}), {})


def test_the_stored_ids_are_those_written_and_no_others(lake: Lake) -> None:
    assert lake.stored(INVERSIONS) == frozenset()
    table = make_table(INVERSIONS, example(INVERSIONS))
    ids = [f"{number:032x}" for number in (3, 5, 2**127)]
    for artifact_id in ids:
        lake.write(INVERSIONS, artifact_id, table)
    lake.write(COMPARISONS, "7" * 32, make_table(COMPARISONS, example(COMPARISONS)))
    for foreign in ("readme.txt", "x.parquet", f"7/{'8' * 32}.parquet", f"9/{'9' * 32}.csv"):
        lake.objects.put(f"artifacts/inversions/{foreign}", b"not ours")
    assert lake.stored(INVERSIONS) == frozenset(ids)
    assert lake.stored(COMPARISONS) == {"7" * 32}
    assert lake.has(INVERSIONS, ids[0])
    assert not lake.has(COMPARISONS, ids[0])


def test_artifacts_come_in_the_requested_order(lake: Lake) -> None:
    ids = [f"{number:032x}" for number in range(7)]
    for number, artifact_id in enumerate(ids):
        columns = example(INVERSIONS) | {"seed": number}
        lake.write(INVERSIONS, artifact_id, make_table(INVERSIONS, columns))
    tables = lake.read_artifacts(INVERSIONS, [ids[5], ids[2], ids[3]])
    assert [table["seed"][0].as_py() for table in tables] == [5, 2, 3]
    with pytest.raises(FileNotFoundError):
        lake.read_artifacts(INVERSIONS, [ids[0], "f" * 32])


@every_table
def test_an_artifact_opens_in_pandas_polars_and_duckdb_and_says_what_its_columns_mean(
    lake: Lake, schema: TableSchema
) -> None:
    columns = example(schema, 5)
    lake.write(schema, "0" * 32, make_table(schema, columns))
    path = lake.objects.location(artifact_key(schema.name, "0" * 32))
    names, plain = [column.name for column in schema.columns], schema.key[-1]
    by_pandas, by_polars = pd.read_parquet(path), pl.read_parquet(path)
    by_duckdb = duckdb.read_parquet(path)
    assert list(by_pandas) == by_polars.columns == by_duckdb.columns == names
    assert by_pandas[plain].tolist() == by_polars[plain].to_list() == columns[plain]
    assert by_duckdb.select(plain).fetchall() == [(value,) for value in columns[plain]]
    if schema is IMAGES:
        pixels = np.array([np.array(image) for image in by_pandas["image"]])
        assert (pixels.reshape(5, *IMAGE_SHAPE) == columns["image"]).all()
    for field, column in zip(pq.read_schema(path), schema.columns, strict=True):
        assert field.metadata[b"meaning"].decode() == column.meaning
        assert not field.nullable
    assert set(schema.key) <= set(names)


def test_an_artifact_carries_provenance_and_the_content_of_its_id(
    lake: Lake,
) -> None:
    described = {"kind": "inversions", "recipe": 3, "content": {"layer": 5, "seed": 7}}
    text = canonical_json(described)
    table, made = make_table(INVERSIONS, example(INVERSIONS)), {"job": "digits", "seconds": 3.5}
    lake.write(INVERSIONS, text_id(text), table, content=text, **made)
    table = lake.read(INVERSIONS, text_id(text))
    assert made.items() <= provenance(table).items()
    assert rehash(table) == text_id(text) == content_id("inversions", recipe=3, layer=5, seed=7)
