"""Laws of keys: what is built is parsed, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.identity import bytes_digest
from stir_ray.lake import keys

TABLES = st.from_regex(r"[a-z_]+", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._=-]*", fullmatch=True)
IDS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")
FILES = st.from_regex(r"[a-z0-9-]+\.(png|svg)", fullmatch=True)
EPOCHS = st.integers(0, 10**6)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2900, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
ID = "0123456789abcdef" * 2
PARSERS: tuple[Callable[[str], Any], ...] = (
    keys.parse_artifact_key, keys.parse_checkpoint_key, keys.parse_resume_key,
    keys.parse_index_key, keys.parse_shard_key, keys.parse_result_key, keys.parse_spec_key,
    keys.parse_figure_key, keys.parse_page_key, keys.parse_run_key,
)  # fmt: skip


@given(data=st.data())
def test_every_key_is_parsed_by_its_own_parser_alone_into_what_it_was_built_from(
    data: st.DataObject,
) -> None:
    id_, name, table = data.draw(IDS), data.draw(NAMES), data.draw(TABLES)
    epoch = data.draw(EPOCHS)
    file, moment, content = data.draw(FILES), data.draw(MOMENTS), data.draw(st.binary(max_size=7))
    digest, split = bytes_digest([content]), data.draw(st.sampled_from(["train", "test"]))
    built = (
        (keys.artifact_key(table, id_), (table, id_)),
        (keys.checkpoint_key(id_, epoch, content), digest),
        (keys.resume_key(id_, epoch, content), (epoch, digest)),
        (keys.index_key(name), name),
        (keys.shard_key(name, split, epoch, id_), (name, split, epoch, id_)),
        (keys.result_key(name, table), (name, table)),
        (keys.spec_key(name, id_), (name, id_)),
        (keys.figure_key(name, file), (name, file)),
        (keys.page_key(name), name),
        (keys.run_key(name, moment, epoch), (name, moment, epoch)),
    )
    for parse, (key, expected) in zip(PARSERS, built, strict=True):
        assert parse(key) == expected
        assert [other(key) for other in PARSERS if other is not parse] == [None] * 9
        for altered in (f"{key}\n", f"lake/{key}", f"/{key}", f"{key}.crc", key[:-1]):
            assert parse(altered) in (None, (name, file[:-1]), (name, f"{file}.crc"))
    assert built[0][0].rsplit("/", 1)[0] in keys.table_folders(table)
    assert {keys.training_of(key) for key, _ in built} == {id_, None}
    assert [keys.training_of(key) for key, _ in built[1:3]] == [id_, id_]


@given(table=TABLES, id_=IDS, position=st.integers(0, 60), text=st.text(max_size=2))
def test_what_parses_is_what_builds_the_key(table: str, id_: str, position: int, text: str) -> None:
    key = keys.artifact_key(table, id_)
    altered = key[:position] + text + key[position + 1 :]
    parsed = keys.parse_artifact_key(altered)
    assert parsed is None or keys.artifact_key(*parsed) == altered


@given(training=IDS, epoch=EPOCHS, content=st.binary(max_size=7))
def test_other_weights_of_the_same_epoch_have_another_key(
    training: str, epoch: int, content: bytes
) -> None:
    # Weights trained again may round differently, and must not replace recorded ones.
    for build in (keys.checkpoint_key, keys.resume_key):
        assert build(training, epoch, content + b"!") != build(training, epoch, content)


@pytest.mark.parametrize(
    "key",
    [
        "",
        f"artifacts/{ID}.parquet",
        f"artifacts/images/{ID}.parquet",
        f"artifacts/images/{ID[0]}/.tmp-{ID}",
        f"artifacts/images/{ID[0]}/{ID}.PARQUET",
        f"artifacts/images/{ID[0]}/{ID.upper()}.parquet",
        f"artifacts/images/{ID[1]}/{ID[1:]}.parquet",
        f"artifacts/images/{ID[0]}/{ID}0.parquet",
        f"artifacts/Images/{ID[0]}/{ID}.parquet",
        f"artifacts/images/1/{ID}.parquet",
        f"checkpoints/{ID}/7-{ID}.resume",
        f"checkpoints/{ID}/seven-{ID}.resume.safetensors",
        f"checkpoints/{ID}/7-{ID}xresume.safetensors",
        f"checkpoints/{ID}/7.safetensors",
        f"checkpoints/{ID}/.tmp-{ID}",
        "jobs/digits/runs/20261340T000000Z-00000000.json",
        "jobs/digits/runs/20261123T051500Z-xyz.json",
    ],
)
def test_other_keys_are_of_nothing(key: str) -> None:
    assert [parse(key) for parse in PARSERS] == [None] * 10
    assert keys.training_of(key) is None


def test_large_objects_that_never_change_are_cacheable() -> None:
    large = (
        keys.artifact_key("images", ID),
        keys.checkpoint_key(ID, 7, b"weights"),
        keys.shard_key("digits", "test", 3, ID),
    )
    other = (
        keys.artifact_key("comparisons", ID),
        keys.resume_key(ID, 7, b"state"),
        keys.page_key("images"),
    )
    assert all(keys.is_cacheable(key) for key in large)
    assert not any(keys.is_cacheable(key) for key in other)
