"""Laws of identity: the same content has the same id everywhere, and nothing else has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray import identity
from stir_ray.identity import bytes_digest, canonical_json, content_id, derive_seed

ROOT = Path(identity.__file__).parents[1]
WORDS = st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
CONTENT = st.dictionaries(WORDS, NESTED, min_size=2, max_size=5)
PIECES = st.lists(st.binary(max_size=11), max_size=7)


class Colour(StrEnum):
    """A word that is also a value."""

    RED = "red"


@dataclass(frozen=True)
class Sized:
    """A value of two fields."""

    size: float
    colour: Colour = Colour.RED


@given(content=CONTENT)
def test_the_text_of_a_content_holds_all_of_it(content: dict[str, Any]) -> None:
    assert json.loads(canonical_json(content)) == content


def test_kind_recipe_and_every_piece_of_content_are_part_of_an_id() -> None:
    ids = [
        content_id("invert", recipe=1, layer=5, seed=7),
        content_id("compare", recipe=1, layer=5, seed=7),
        content_id("invert", recipe=2, layer=5, seed=7),
        content_id("invert", recipe=1, layer=7, seed=5),
        content_id("invert", recipe=1, layer=5),
        content_id("invert", recipe=1, layer="5", seed=7),
        content_id("invert", recipe=1, layer=[5], seed=7),
        content_id("invert", recipe=1, layer=5, seed={"seed": 7}),
    ]
    assert len(set(ids)) == len(ids)


def test_ids_seeds_and_digests_are_the_same_in_every_process_and_version() -> None:
    """A change here orphans everything that lakes hold."""
    expression = (
        "content_id('invert', recipe=3, layer=12, name='Zürich', settings={'b': 0.1, 'a': None}), "
        "derive_seed('shuffle', 'abc', 3), "
        "bytes_digest([b'ab', memoryview(b'c')])"
    )
    pinned = (
        "eba5a7ca814c5e4a4dcf4a0c32f352c1",
        192920106771663053,
        "43ee655579de01ca739b3f95c1c2d3f4",
    )
    for hash_seed in ("1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", f"from stir_ray.identity import *; print(({expression}))"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == repr(pinned)


def test_values_that_mean_the_same_are_written_the_same() -> None:
    plain = canonical_json({"size": 0.5, "colour": "red"})
    assert canonical_json(Sized(size=0.5)) == plain
    assert canonical_json({"colour": Colour.RED, "size": 0.5}) == plain
    assert canonical_json((1, [2, ()])) == canonical_json([1, (2, [])])


@pytest.mark.parametrize(
    "nameless",
    [len, object(), {1, 2}, b"bytes", Sized, {"inside": [object()]}, 1j, Path("weights")],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_content_of_its_own_is_refused(nameless: object) -> None:
    with pytest.raises(TypeError, match="has no content"):
        canonical_json(nameless)
    with pytest.raises(TypeError, match="has no content"):
        derive_seed("shuffle", nameless)


@given(parts=st.lists(SCALARS, min_size=1, max_size=5))
def test_a_derived_seed_suits_every_generator_and_depends_on_every_part(parts: list[Any]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert derive_seed(*parts) == seed
    assert derive_seed(*parts, None) != seed
    assert derive_seed(parts) != seed


@given(one=PIECES, other=PIECES)
def test_where_one_piece_ends_and_the_next_begins_counts(
    one: list[bytes], other: list[bytes]
) -> None:
    assert (bytes_digest(one) == bytes_digest(other)) == (one == other)


def test_bytes_count_and_not_how_they_are_viewed() -> None:
    whole = b"0123456789ab"
    assert bytes_digest([memoryview(whole).cast("i")]) == bytes_digest([whole])
    assert bytes_digest(iter([whole])) == bytes_digest([whole])
