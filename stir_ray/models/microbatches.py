"""The number of images that go through a model at once: by memory, and halved when it runs out."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from stir_ray.models.features import FrozenModel, intermediates

_Result = TypeVar("_Result")
_BYTES_PER_VALUE = {"cuda": 72, "cpu": 200}
"""Memory for each value that a block outputs: an estimate for the gradient of the image, with a
tenth to spare on a GPU, where a batch that is too large is halved, and half to spare on a CPU,
where the operating system kills the process."""
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Texts of the plain RuntimeErrors that torch raises for host memory, and for that of cuBLAS."""
_log = logging.getLogger(__name__)


class Microbatches:
    """Slices of images, halved whenever the device or the machine has no memory for one.

    The result for an image must not depend on the images beside it; then halving changes no result
    beyond the rounding of products of another size.
    """

    def __init__(self, batch_size: int | None = None, *, halvings: int = 0) -> None:
        """Start with slices of at most `batch_size` images, None for all, halved so many times."""
        self.batch_size, self.halvings = batch_size, halvings

    def size(self, count: int) -> int:
        """Return the number of images in a slice of `count` images, at least 1."""
        return max(1, -(-min(self.batch_size or count, count) // 2**self.halvings))

    def map_slices(self, count: int, compute: Callable[[slice], _Result]) -> list[_Result]:
        """Return the results of `compute` for consecutive slices of `count` images.

        A slice that does not fit is divided; the slices before it are not computed again. If one
        image alone does not fit, or the error is another, it is raised.
        """
        results: list[_Result] = []
        first = 0
        while first < count:
            rows = slice(first, min(first + self.size(count), count))
            try:
                results.append(compute(rows))
                first = rows.stop
                continue
            except (MemoryError, RuntimeError) as error:
                self._raise_unless_halvable(error, count)
            # Not in the handler: there the error still holds the frames, and they hold the tensors.
            self._halve(count)
        return results

    def accumulate(self, count: int, compute: Callable[[list[slice]], _Result]) -> _Result:
        """Return the result of `compute` for all slices of `count` images together.

        For sums, such as the gradient of a batch: if one slice does not fit, `compute` starts again
        with smaller ones. Raises as `map_slices`.
        """
        while True:
            size = self.size(count)
            slices = [slice(first, min(first + size, count)) for first in range(0, count, size)]
            try:
                return compute(slices)
            except (MemoryError, RuntimeError) as error:
                self._raise_unless_halvable(error, count)
            self._halve(count)

    def _raise_unless_halvable(self, error: Exception, count: int) -> None:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
            words in str(error) for words in _OUT_OF_MEMORY
        )
        if not is_memory or self.size(count) == 1:
            raise error

    def _halve(self, count: int) -> None:
        self.halvings += 1
        _log.warning("out of memory: %d images at once from now on", self.size(count))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def default_batch_size(model: FrozenModel, images: Tensor, *, share: float = 1.0) -> int:
    """Return how many images should fit through a model at once: a power of two.

    It depends on the model, the size of an image and the memory that the device has, and not on
    the memory that is free: sums are rounded alike from task to task. `share`, in (0, 1], is that
    of the device's memory that this process may use.
    """
    device = model.mean.device
    with torch.no_grad():
        image = model.normalized(images[:1].to(device))
        blocks = intermediates(model.module, image, up_to=None)
    values = sum(tokens.numel() for block in blocks for tokens in block if tokens is not None)
    fitting = share * device_bytes(device) / (values * _BYTES_PER_VALUE[device.type])
    return 2 ** (max(1, int(fitting)).bit_length() - 1)


def device_bytes(device: torch.device) -> int:
    """Return the memory of a GPU, or of this machine or container for the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # Absent, or `max`.
            sizes.append(int(Path(path).read_text()))
    return min(sizes)
