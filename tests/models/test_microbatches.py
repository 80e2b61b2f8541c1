"""Slices of images: all of them, once each, and small enough for the memory there is."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.models import microbatches
from stir_ray.models.features import FrozenModel
from stir_ray.models.microbatches import Microbatches, default_batch_size, device_bytes
from tests.models.tiny import CPU, frozen, images, vit

ERRORS = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
)


class Memory:
    """Room for some images at once; notes what was made of which."""

    def __init__(self, room: int, error: Exception = ERRORS[0]) -> None:
        self.room, self.error = room, error
        self.made: list[int] = []

    def make(self, part: slice) -> list[int]:
        """The numbers of the images of a slice, if they fit."""
        numbers = list(range(part.start, part.stop))
        if len(numbers) > self.room:
            raise self.error
        self.made += numbers
        return numbers


@given(
    count=st.integers(1, 97),
    room=st.integers(1, 101),
    largest=st.none() | st.integers(1, 53),
    halvings=st.integers(0, 9),
)
def test_every_image_is_made_once_in_order_whatever_fits(
    count: int, room: int, largest: int | None, halvings: int
) -> None:
    memory = Memory(room)
    made = Microbatches(largest, halvings=halvings).map_slices(count, memory.make)
    assert [number for part in made for number in part] == list(range(count)) == memory.made
    assert max(len(part) for part in made) <= min(count, largest or count)


@given(count=st.integers(1, 97), room=st.integers(1, 101))
def test_work_that_adds_up_begins_again_with_slices_that_fit(count: int, room: int) -> None:
    added: list[int] = []

    def make(slices: list[slice]) -> int:
        added.clear()
        memory = Memory(room)
        for part in slices:
            added.extend(memory.make(part))
        return sum(added)

    assert Microbatches().accumulate(count, make) == count * (count - 1) // 2
    assert added == list(range(count))


@pytest.mark.parametrize("error", ERRORS, ids=["host", "device", "allocator", "cublas"])
def test_slices_shrink_no_more_than_they_must_and_stay_so(error: Exception) -> None:
    micro = Microbatches()
    sizes = [len(part) for part in micro.map_slices(23, Memory(11, error).make)]
    assert sizes == [6, 6, 6, 5]
    assert micro.halvings == 2
    assert [len(part) for part in micro.map_slices(23, Memory(23).make)] == sizes


@pytest.mark.parametrize(
    ("room", "error", "tries"),
    [(0, ERRORS[1], 4), (3, ValueError("no"), 1), (3, RuntimeError("other"), 1)],
)
def test_what_fewer_images_do_not_mend_is_raised(room: int, error: Exception, tries: int) -> None:
    tried: list[slice] = []

    def make(part: slice) -> list[int]:
        tried.append(part)
        return Memory(room, error).make(part)

    for verb in _verbs(make):
        tried.clear()
        with pytest.raises(type(error), match=str(error)):
            verb(Microbatches())
        # 7, 4, 2 and 1 images.
        assert len(tried) == tries


def _verbs(make: Callable[[slice], list[int]]) -> list[Callable[[Microbatches], object]]:
    return [
        lambda micro: micro.map_slices(7, make),
        lambda micro: micro.accumulate(7, lambda slices: make(slices[0])),
    ]


def test_the_default_batch_size_is_a_power_of_two_that_follows_memory_and_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, wide = frozen(), frozen(vit(embed_dim=64))
    state = torch.get_rng_state()

    def size(model: FrozenModel, memory: int, share: float = 1.0) -> int:
        monkeypatch.setattr(microbatches, "device_bytes", lambda _: memory)
        return default_batch_size(model, images(1), share=share)

    largest = size(small, 2**30)
    assert largest.bit_count() == 1
    assert size(small, 2**31) == 2 * largest
    assert size(small, 2**31, share=0.25) == largest // 2
    # Four times as many units.
    assert size(wide, 2**30) == largest // 4
    assert size(wide, 1) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_a_machine_has_memory() -> None:
    assert device_bytes(CPU) > 2**28
