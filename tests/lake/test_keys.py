"""Laws of keys: what is built is parsed, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
TEMPLATES = {
    keys.artifact_key: (TABLES, IDS),
    keys.checkpoint_key: (IDS, EPOCHS, IDS),
    keys.resume_key: (IDS, EPOCHS, IDS),
    keys.index_key: (NAMES,),
    keys.shard_key: (NAMES, st.sampled_from(["train", "test"]), EPOCHS, IDS),
    keys.result_key: (NAMES, TABLES),
    keys.spec_key: (NAMES, IDS),
    keys.figure_key: (NAMES, FILES),
    keys.page_key: (NAMES,),
    keys.run_key: (NAMES, MOMENTS, EPOCHS),
}


@given(data=st.data())
def test_every_key_is_parsed_by_its_own_template_alone_into_what_it_was_built_from(
    data: st.DataObject,
) -> None:
    for template, fields in TEMPLATES.items():
        values = tuple(map(data.draw, fields))
        key = template(*values)
        assert template.parse(key) == values
        assert [other.parse(key) for other in TEMPLATES if other is not template] == [None] * 9
        for altered in (f"{key}\n", f"lake/{key}", f"/{key}", f"{key}.crc", key[:-1]):
            # The name of a figure may have any end.
            assert template.parse(altered) is None or template is keys.figure_key
        is_of_training = template in {keys.checkpoint_key, keys.resume_key}
        assert keys.training_of(key) == (values[0] if is_of_training else None)
        if template is keys.artifact_key:
            assert key.rsplit("/", 1)[0] in keys.table_folders(values[0])


@given(table=TABLES, id_=IDS, position=st.integers(0, 60), text=st.text(max_size=2))
def test_what_parses_is_what_builds_the_key(table: str, id_: str, position: int, text: str) -> None:
    key = keys.artifact_key(table, id_)
    altered = key[:position] + text + key[position + 1 :]
    parsed = keys.artifact_key.parse(altered)
    assert parsed is None or keys.artifact_key(*parsed) == altered


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
        f"checkpoints/{ID}/07-{ID}.safetensors",
        f"checkpoints/{ID}/seven-{ID}.resume.safetensors",
        f"checkpoints/{ID}/7-{ID}xresume.safetensors",
        f"checkpoints/{ID}/7.safetensors",
        f"checkpoints/{ID}/.tmp-{ID}",
        "jobs/digits/runs/20261340T000000Z-00000000.json",
        "jobs/digits/runs/20261123T051500Z-xyz.json",
    ],
)
def test_other_keys_are_of_nothing(key: str) -> None:
    assert [template.parse(key) for template in TEMPLATES] == [None] * 10
    assert keys.training_of(key) is None


def test_large_objects_that_never_change_are_cacheable() -> None:
    large = (
        keys.artifact_key("images", ID),
        keys.checkpoint_key(ID, 7, ID),
        keys.shard_key("digits", "test", 3, ID),
    )
    other = (
        keys.artifact_key("comparisons", ID),
        keys.resume_key(ID, 7, ID),
        keys.page_key("images"),
    )
    assert all(keys.is_cacheable(key) for key in large)
    assert not any(keys.is_cacheable(key) for key in other)
