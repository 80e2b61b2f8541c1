"""Laws of keys: what is built is parsed, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.identity import bytes_digest, content_id
from stir_ray.lake.keys import (
    artifact_key,
    checkpoint_key,
    dataset_folder,
    figure_key,
    index_key,
    is_cacheable,
    page_key,
    parse_artifact_key,
    parse_checkpoint_key,
    parse_figure_key,
    parse_index_key,
    parse_page_key,
    parse_result_key,
    parse_resume_key,
    parse_run_key,
    parse_shard_key,
    parse_spec_key,
    result_key,
    resume_key,
    run_key,
    shard_key,
    spec_key,
    table_folders,
    training_folder,
    training_of,
)
from stir_ray.lake.schemas import ARTIFACT_TABLES

TABLES = st.from_regex(r"[a-z_]+", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._=-]*", fullmatch=True)
IDS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")


@given(table=TABLES, part_id=IDS)
def test_parsing_a_key_is_the_inverse_of_building_it(table: str, part_id: str) -> None:
    key = artifact_key(table, part_id)
    assert parse_artifact_key(key) == (table, part_id)
    assert key.rsplit("/", 1)[0] in table_folders(table)


@given(table=TABLES, part_id=IDS, place=st.integers(0, 60), text=st.text(max_size=2))
def test_what_parses_is_what_builds_the_key(
    table: str, part_id: str, place: int, text: str
) -> None:
    key = artifact_key(table, part_id)
    altered = key[:place] + text + key[place + 1 :]
    parsed = parse_artifact_key(altered)
    assert parsed is None or artifact_key(*parsed) == altered


@pytest.mark.parametrize("schema", ARTIFACT_TABLES, ids=lambda schema: schema.name)
def test_the_parts_of_every_table_have_keys(schema: object) -> None:
    name = getattr(schema, "name", "")
    part_id = content_id(name, recipe=1, seed=7)
    assert parse_artifact_key(artifact_key(name, part_id)) == (name, part_id)


@given(
    name=NAMES, split=st.sampled_from(["train", "test"]), number=st.integers(0, 10**7), digest=IDS
)
def test_parsing_the_key_of_a_shard_is_the_inverse_of_building_it(
    name: str, split: str, number: int, digest: str
) -> None:
    key = shard_key(name, split, number, digest)
    assert parse_shard_key(key) == (name, split, number, digest)
    assert key.startswith(dataset_folder(name))
    assert parse_index_key(key) is parse_artifact_key(key) is None
    assert parse_index_key(index_key(name)) == name
    assert parse_shard_key(index_key(name)) is None


ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "key",
    [
        "",
        checkpoint_key(ID, 7, b"weights"),
        result_key("digits", "results"),
        figure_key("digits", "learning.png"),
        f"/parts/images/{ID[0]}/{ID}.parquet",
        f"lake/artifacts/images/{ID[0]}/{ID}.parquet",
        f"artifacts/{ID}.parquet",
        f"artifacts/images/{ID}.parquet",
        f"artifacts/images/{ID[0]}/{ID}.parquet\n",
        f"artifacts/images/{ID[0]}/{ID}.parquet.crc",
        f"artifacts/images/{ID[0]}/.tmp-{ID}",
        f"artifacts/images/{ID[0]}/{ID}.PARQUET",
        f"artifacts/images/{ID[0]}/{ID.upper()}.parquet",
        f"artifacts/images/{ID[1]}/{ID[1:]}.parquet",
        f"artifacts/images/{ID[0]}/{ID}0.parquet",
        f"artifacts/images/{ID[0]}/{ID}",
        f"artifacts/Images/{ID[0]}/{ID}.parquet",
        f"artifacts/images/1/{ID}.parquet",
    ],
)
def test_other_keys_are_no_parts(key: str) -> None:
    assert parse_artifact_key(key) is None


@given(training=IDS, epoch=st.integers(0, 10**6), content=st.binary(max_size=7))
def test_the_key_of_a_checkpoint_promises_its_bytes(
    training: str, epoch: int, content: bytes
) -> None:
    # Weights trained again may round differently, and must not replace recorded ones.
    key = checkpoint_key(training, epoch, content)
    assert parse_checkpoint_key(key) == bytes_digest([content])
    assert training_of(key) == training
    assert checkpoint_key(training, epoch, content + b"!") != key
    assert parse_artifact_key(key) is parse_resume_key(key) is None
    assert key.startswith(f"{training_folder(training)}/")


@given(training=IDS, epoch=st.integers(0, 10**6), content=st.binary(max_size=7))
def test_the_key_of_a_resume_state_promises_its_bytes_and_tells_its_epoch(
    training: str, epoch: int, content: bytes
) -> None:
    key = resume_key(training, epoch, content)
    assert parse_resume_key(key) == (epoch, bytes_digest([content]))
    assert training_of(key) == training
    assert key.startswith(f"{training_folder(training)}/")
    assert resume_key(training, epoch, content + b"!") != key
    assert parse_artifact_key(key) is parse_checkpoint_key(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        artifact_key("trainings", ID),
        f"checkpoints/{ID}/7-{ID}.resume",
        f"checkpoints/{ID}/7-{ID}.resume.safetensors\n",
        f"checkpoints/{ID}/seven-{ID}.resume.safetensors",
        f"checkpoints/{ID}/7-{ID}xresume.safetensors",
        f"checkpoints/{ID}/7.safetensors",
        f"checkpoints/{ID}/7-{ID}",
        f"checkpoints/{ID}/7-{ID}.safetensors\n",
        f"checkpoints/{ID}/seven-{ID}.safetensors",
        f"checkpoints/{ID}/.tmp-{ID}",
    ],
)
def test_other_keys_are_no_checkpoints_and_no_resume_states(key: str) -> None:
    assert parse_checkpoint_key(key) is parse_resume_key(key) is None
    assert training_of(key) is None


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2900, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
NUMBERS = st.integers(0, 2**32 - 1)
JOBS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._=-]*", fullmatch=True)
FILES = st.from_regex(r"[a-z0-9-]+\.(png|svg)", fullmatch=True)


@given(job=JOBS, table=TABLES, asked=IDS, file=FILES, began=MOMENTS, number=NUMBERS)
def test_what_lies_in_the_folder_of_a_job_is_told_apart(
    job: str, table: str, asked: str, file: str, began: datetime, number: int
) -> None:
    keys = [
        result_key(job, table),
        spec_key(job, asked),
        figure_key(job, file),
        page_key(job),
        run_key(job, began, number),
    ]
    expected = [(job, table), (job, asked), (job, file), job, (job, began, number)]
    parsers = [parse_result_key, parse_spec_key, parse_figure_key, parse_page_key, parse_run_key]
    for parse, own, said in zip(parsers, keys, expected, strict=True):
        assert parse(own) == said
        assert [parse(key) for key in keys if key != own] == [None] * 4
        assert parse(f"{own}\n") is parse(f"lake/{own}") is None
        assert parse_artifact_key(own) is parse_checkpoint_key(own) is None


@pytest.mark.parametrize("name", ["20261340T000000Z-00000000", "20261123T051500Z-xyz", "a-b"])
def test_other_keys_are_no_runs(name: str) -> None:
    assert parse_run_key(f"jobs/digits/runs/{name}.json") is None


def test_large_objects_that_never_change_are_cacheable() -> None:
    for key in (
        artifact_key("images", ID),
        checkpoint_key(ID, 7, b"weights"),
        shard_key("digits", "test", 3, ID),
    ):
        assert is_cacheable(key)
    for key in (
        artifact_key("comparisons", ID),
        resume_key(ID, 7, b"x"),
        result_key("images", "x"),
    ):
        assert not is_cacheable(key)


@given(ids=st.lists(IDS, min_size=2, max_size=2, unique=True), epoch=st.integers(0, 10**6))
def test_no_two_things_share_a_key(ids: list[str], epoch: int) -> None:
    one, other = ids
    keys = [
        artifact_key("images", one),
        artifact_key("images", other),
        artifact_key("inversions", one),
        checkpoint_key(one, epoch, b"weights"),
        checkpoint_key(one, epoch, b"others"),
        checkpoint_key(one, epoch + 1, b"weights"),
        checkpoint_key(other, epoch, b"weights"),
        resume_key(one, epoch, b"weights"),
        resume_key(one, epoch + 1, b"weights"),
        result_key(one, "results"),
        result_key(one, "matrices"),
        spec_key(one, other),
        spec_key(other, one),
        result_key(other, "results"),
    ]
    assert len(set(keys)) == len(keys)
