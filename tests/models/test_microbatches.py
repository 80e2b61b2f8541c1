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


def fitting(room: int, error: Exception = ERRORS[0]) -> Callable[[slice], list[int]]:
    """Return the numbers of the images of a slice, if so many fit."""

    def compute(rows: slice) -> list[int]:
        numbers = list(range(rows.start, rows.stop))
        if len(numbers) > room:
            raise error
        return numbers

    return compute


@given(
    count=st.integers(1, 97),
    room=st.integers(1, 101),
    largest=st.none() | st.integers(1, 53),
    halvings=st.integers(0, 9),
)
def test_every_image_is_computed_once_in_order_whatever_fits(
    count: int, room: int, largest: int | None, halvings: int
) -> None:
    results = Microbatches(largest, halvings=halvings).map_slices(count, fitting(room))
    assert [number for rows in results for number in rows] == list(range(count))
    assert max(len(rows) for rows in results) <= min(count, largest or count)
    compute = fitting(room)
    total = Microbatches().accumulate(
        count, lambda slices: [number for rows in slices for number in compute(rows)]
    )
    assert total == list(range(count))


@pytest.mark.parametrize("error", ERRORS, ids=["host", "device", "allocator", "cublas"])
def test_slices_shrink_no_more_than_they_must_and_stay_so(error: Exception) -> None:
    micro = Microbatches()
    sizes = [len(rows) for rows in micro.map_slices(23, fitting(11, error))]
    assert sizes == [6, 6, 6, 5]
    assert micro.halvings == 2
    assert [len(rows) for rows in micro.map_slices(23, fitting(23))] == sizes


@pytest.mark.parametrize(
    ("room", "error", "tries"),
    [(0, ERRORS[1], 4), (3, ValueError("no"), 1), (3, RuntimeError("other"), 1)],
)
def test_what_fewer_images_do_not_mend_is_raised(room: int, error: Exception, tries: int) -> None:
    sizes: list[int] = []

    def compute(rows: slice) -> list[int]:
        sizes.append(rows.stop - rows.start)
        return fitting(room, error)(rows)

    with pytest.raises(type(error), match=str(error)):
        Microbatches().map_slices(7, compute)
    with pytest.raises(type(error), match=str(error)):
        Microbatches().accumulate(7, lambda slices: compute(slices[0]))
    assert sizes == [7, 4, 2, 1][:tries] * 2


def test_the_default_batch_size_is_a_power_of_two_that_follows_memory_and_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, wide = frozen(), frozen(vit(embed_dim=64))

    def size(model: FrozenModel, memory: int, share: float = 1.0) -> int:
        monkeypatch.setattr(microbatches, "device_bytes", lambda _: memory)
        return default_batch_size(model, images(1), share=share)

    assert device_bytes(CPU) > 2**28
    largest = size(small, 2**30)
    assert largest.bit_count() == 1
    assert size(small, 2**31) == 2 * largest
    assert size(small, 2**31, share=0.25) == largest // 2
    # Four times as many units.
    assert size(wide, 2**30) == largest // 4
    assert size(wide, 1) == 1
