"""A part that is not what was written is never taken for one."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from stir_ray.errors import CorruptPart
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS, RESULTS, TableSchema
from stir_ray.lake.tables import Lake, build, decode, encode, open_lake
from tests.lake.values import example, read_back, same

MADE = {"job": "digits", "node": "node-7"}
WHERE = "s3://bucket/parts/x.parquet"


def part(schema: TableSchema) -> bytes:
    """The bytes of a small part."""
    return encode(build(schema, example(schema)), MADE)


@pytest.fixture
def lake_with_a_broken_part(tmp_path: Path) -> Lake:
    """A lake in which one part was cut short."""
    lake = open_lake(str(tmp_path))
    lake.objects.put(f"parts/inversions/{'0' * 32}.parquet", part(INVERSIONS)[:-97])
    return lake


def values_end(content: bytes) -> int:
    """Where the pages end and the Parquet footer begins."""
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def unnoticed(schema: TableSchema, positions: range) -> list[int]:
    """Bytes that can be flipped so that other values are read, without an error that says so."""
    content = part(schema)
    expected = example(schema)
    found = []
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        try:
            table = decode(bytes(flipped), schema, WHERE)
        except CorruptPart:
            continue
        if not same(read_back(table), expected):
            found.append(position)
    return found


@pytest.mark.parametrize("schema", [INVERSIONS, IMAGES], ids=lambda schema: schema.name)
def test_a_flipped_bit_among_the_values_is_noticed_or_changes_nothing(schema: TableSchema) -> None:
    assert unnoticed(schema, range(values_end(part(schema)))) == []


@pytest.mark.parametrize("schema", [COMPARISONS, IMAGES], ids=lambda schema: schema.name)
def test_a_truncated_part_is_noticed(schema: TableSchema) -> None:
    content = part(schema)
    for length in [*range(0, len(content), 97), *range(len(content) - 13, len(content))]:
        with pytest.raises(CorruptPart, match=WHERE):
            decode(content[:length], schema, WHERE)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 3, b"<Error>NoSuchKey</Error>"])
def test_what_is_no_parquet_is_told_in_one_line(content: bytes) -> None:
    with pytest.raises(CorruptPart) as caught:
        decode(content, INVERSIONS, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert "\n" not in str(caught.value)


def test_a_part_of_another_table_is_noticed() -> None:
    with pytest.raises(CorruptPart, match=f"{WHERE}.*columns.*{RESULTS.name}"):
        decode(part(INVERSIONS), RESULTS, WHERE)


def rewritten(table: pa.Table) -> bytes:
    """The bytes that another program would write of a table."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_columns_in_another_order_or_of_another_type_are_noticed() -> None:
    table = decode(part(INVERSIONS), INVERSIONS, WHERE)
    names = table.column_names
    place = names.index("seed")
    odd = [
        table.select([*names[1:], names[0]]),
        table.select(names[:-1]),
        table.set_column(place, "seed", table["seed"].cast(pa.int32())),
    ]
    for other in odd:
        with pytest.raises(CorruptPart, match="columns"):
            decode(rewritten(other), INVERSIONS, WHERE)


@pytest.mark.parametrize("name", ["residual", "reference", "image_id"])
def test_a_value_changed_by_another_program_is_noticed(name: str) -> None:
    table = decode(part(INVERSIONS), INVERSIONS, WHERE)
    assert same(
        read_back(decode(rewritten(table), INVERSIONS, WHERE)), example(INVERSIONS)
    )  # The same values in other bytes are the same part.
    field = table.schema.field(name)
    other = pa.array(["x", "y", "z"]) if name == "reference" else pc.add(table[name], 1)
    changed = table.set_column(table.column_names.index(name), field, other)
    with pytest.raises(CorruptPart, match="checksum"):
        decode(rewritten(changed), INVERSIONS, WHERE)


def test_rows_that_are_missing_or_stand_elsewhere_are_noticed() -> None:
    table = decode(part(INVERSIONS), INVERSIONS, WHERE)
    for other in (table.slice(0, 2), table.take([2, 0, 1]), table.slice(0, 0)):
        with pytest.raises(CorruptPart, match="checksum"):
            decode(rewritten(other), INVERSIONS, WHERE)


def test_a_table_that_never_had_a_checksum_is_no_part() -> None:
    bare = build(INVERSIONS, example(INVERSIONS))
    with pytest.raises(CorruptPart, match=WHERE):
        decode(rewritten(bare), INVERSIONS, WHERE)


def test_a_corrupt_part_is_told_with_its_place(lake_with_a_broken_part: Lake) -> None:
    lake = lake_with_a_broken_part
    with pytest.raises(CorruptPart, match=lake.objects.url):
        lake.read(INVERSIONS, "0" * 32)
    with pytest.raises(CorruptPart, match=f"inversions/{'0' * 32}"):
        lake.read_parts(INVERSIONS, ["0" * 32])
