"""An artifact that is not what was written is never taken for it."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stir_ray.errors import CorruptArtifact, SchemaMismatch
from stir_ray.identity import bytes_digest
from stir_ray.lake.keys import artifact_key, checkpoint_key
from stir_ray.lake.parquet import decode, encode, make_table, open_lake, provenance
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS, RESULTS, TableSchema
from tests.lake.values import example, read_back, same

PROVENANCE = {"job": "digits", "node": "node-7"}
WHERE = "s3://bucket/artifacts/x.parquet"


def artifact(schema: TableSchema) -> bytes:
    return encode(make_table(schema, example(schema)), PROVENANCE)


@pytest.mark.parametrize("schema", [INVERSIONS, IMAGES], ids=lambda schema: schema.name)
def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(schema: TableSchema) -> None:
    content, expected = artifact(schema), example(schema)
    unnoticed = []
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        try:
            table = decode(bytes(flipped), schema, WHERE)
        except CorruptArtifact:
            continue
        if not (same(read_back(table), expected) and provenance(table) == PROVENANCE):
            unnoticed.append(position)
    assert unnoticed == []


@pytest.mark.parametrize("schema", [COMPARISONS, IMAGES], ids=lambda schema: schema.name)
def test_a_truncated_artifact_is_noticed(schema: TableSchema) -> None:
    content = artifact(schema)
    lengths = [*range(0, len(content), 97), *range(len(content) - 13, len(content))]
    other = [b"PAR1", b"PAR1" * 3, b"<Error>NoSuchKey</Error>"]
    for damaged in (*(content[:length] for length in lengths), *other):
        with pytest.raises(CorruptArtifact, match=rf"^{WHERE}: [^\n]+$"):
            decode(damaged, schema, WHERE)


def test_another_table_or_version_of_it_is_distinguished_from_damage() -> None:
    with pytest.raises(SchemaMismatch, match=f"{WHERE}.*columns.*{RESULTS.name}"):
        decode(artifact(INVERSIONS), RESULTS, WHERE)


def test_an_artifact_under_the_id_of_another_is_noticed(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    right, wrong = "3" * 32, "5" * 32
    lake.write(INVERSIONS, right, make_table(INVERSIONS, example(INVERSIONS)))
    lake.objects.put(
        artifact_key("inversions", wrong), lake.objects.get(artifact_key("inversions", right))
    )
    assert lake.read(INVERSIONS, right).num_rows == 3
    for read in (lambda: lake.read(INVERSIONS, wrong),
                 lambda: lake.read_artifacts(INVERSIONS, [right, wrong])):  # fmt: skip
        with pytest.raises(CorruptArtifact, match=f"{lake.objects.url}.*inversions/5/{wrong}"):
            read()


def test_a_table_changed_by_another_program_is_noticed() -> None:
    table = decode(artifact(INVERSIONS), INVERSIONS, WHERE)
    changed = [table.slice(0, 2), table.take([2, 0, 1]), table.slice(0, 0)]
    for name in ("residual", "reference", "image_id"):
        column, field = table.column_names.index(name), table.schema.field(name)
        changed.append(table.set_column(column, field, table[name].take([1, 1, 2])))
    for other in (*changed, make_table(INVERSIONS, example(INVERSIONS))):
        buffer = io.BytesIO()
        pq.write_table(pa.table(other), buffer)
        with pytest.raises(CorruptArtifact, match=WHERE):
            decode(buffer.getvalue(), INVERSIONS, WHERE)


def test_a_checkpoint_is_read_only_as_its_key_promises(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    key = checkpoint_key("3" * 32, 7, bytes_digest([b"weights"]))
    with pytest.raises(FileNotFoundError):
        lake.read_checkpoint(key)
    assert lake.write_checkpoint(checkpoint_key, "3" * 32, 7, b"weights") == key
    assert lake.read_checkpoint(key) == b"weights"
    for damaged in (b"weight", b"", b"weights!", b"wreights"):
        lake.objects.put(key, damaged)
        with pytest.raises(CorruptArtifact, match=key):
            lake.read_checkpoint(key)
    for other in (artifact_key("images", "3" * 32), f"checkpoints/{'3' * 32}/7.safetensors"):
        with pytest.raises(ValueError, match=other):
            lake.read_checkpoint(other)
