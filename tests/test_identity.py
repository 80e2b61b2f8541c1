"""Laws of identity: the same content has the same id everywhere, and nothing else has it."""

from __future__ import annotations

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

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
PIECES = st.lists(st.binary(max_size=11), max_size=7)


class Color(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Sized:
    size: float
    color: Color = Color.RED


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
    done = subprocess.run(
        [sys.executable, "-c", f"from stir_ray.identity import *; print(({expression}))"],
        cwd=Path(identity.__file__).parents[1],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == repr(
        (
            "eba5a7ca814c5e4a4dcf4a0c32f352c1",
            192920106771663053,
            "43ee655579de01ca739b3f95c1c2d3f4",
        )
    )


def test_values_that_mean_the_same_are_written_the_same() -> None:
    plain = canonical_json({"size": 0.5, "color": "red"})
    assert canonical_json(Sized(size=0.5)) == plain
    assert canonical_json({"color": Color.RED, "size": 0.5}) == plain
    assert canonical_json((1, [2, ()])) == canonical_json([1, (2, [])])


@pytest.mark.parametrize(
    "nameless",
    [len, {1, 2}, b"bytes", Sized, {"inside": [object()]}, Path("weights")],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_content_is_refused(nameless: object) -> None:
    with pytest.raises(TypeError, match="has no content"):
        canonical_json(nameless)
    with pytest.raises(ValueError, match="JSON"):
        content_id("invert", recipe=1, step_size=float("nan"))


@given(parts=st.lists(SCALARS, min_size=1, max_size=5))
def test_a_derived_seed_suits_every_generator_and_depends_on_every_part(parts: list[Any]) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert derive_seed(*parts) == seed
    assert derive_seed(*parts, None) != seed
    assert derive_seed(parts) != seed


@given(first=PIECES, second=PIECES)
def test_bytes_and_the_borders_between_pieces_count(
    first: list[bytes], second: list[bytes]
) -> None:
    assert (bytes_digest(first) == bytes_digest(second)) == (first == second)
    assert bytes_digest([b"ab", b"c"]) != bytes_digest([b"a", b"bc"])
    # And not how the bytes are viewed.
    whole = b"0123456789ab"
    assert bytes_digest(iter([memoryview(whole).cast("i")])) == bytes_digest([whole])
