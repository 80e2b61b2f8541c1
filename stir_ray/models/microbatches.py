"""How many images go through a model at once: as many as asked for, and fewer where memory ends."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")
_SHORT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
_log = logging.getLogger(__name__)


class Microbatches:
    """Slices of images, halved whenever the device or the machine has no memory for one.

    What is made of an image must not depend on the images beside it; then halving changes no
    result beyond the rounding of products of another size.
    """

    def __init__(self, largest: int | None = None, *, halvings: int = 0) -> None:
        """Nothing is tried yet.

        Args:
            largest: images of one forward pass; all of them if None.
            halvings: of that number, known to be needed.
        """
        self._largest, self.halvings = largest, halvings
        self.fitting: int | None = None
        """Images of one slice that are predicted to fit, of the work that is next."""

    def size(self, count: int) -> int:
        """Images of one slice of `count` images; at least 1."""
        whole = min(self._largest or count, self.fitting or count, count)
        return max(1, -(-whole // 2**self.halvings))

    def go_on(self, fitting: int | None, halvings: int) -> None:
        """Take no more images at once than an attempt before, of which these are known."""
        self.halvings = max(self.halvings, halvings)
        if fitting is not None:
            self.fitting = min(self.fitting or fitting, fitting)

    def each(self, count: int, make: Callable[[slice], Made]) -> list[Made]:
        """What `make` makes of every slice of `count` images, in order.

        A slice that does not fit is divided; those before it are not made again.

        Raises:
            MemoryError, RuntimeError: as `make` does, if one image alone does not fit or the
                trouble is another.
        """
        made: list[Made] = []
        first = 0
        while first < count:
            part = slice(first, min(first + self.size(count), count))
            if self._fits(count, lambda part=part: made.append(make(part))):
                first = part.stop
        return made

    def all_or_none(self, count: int, make: Callable[[list[slice]], Made]) -> Made:
        """What `make` makes of all slices of `count` images, from the first one where one fails.

        For work that adds up, such as the gradient of a batch; errors as `each`.
        """
        made: list[Made] = []
        while not self._fits(count, lambda: made.append(make(self._slices(count)))):
            pass
        return made[0]

    def _slices(self, count: int) -> list[slice]:
        size = self.size(count)
        return [slice(first, min(first + size, count)) for first in range(0, count, size)]

    def _fits(self, count: int, attempt: Callable[[], None]) -> bool:
        """Attempt it; False if memory ran out, and half as many may fit."""
        try:
            attempt()
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error) or self.size(count) == 1:
                raise
        else:
            return True
        # Not in the handler: there the error still holds the frames, and they hold the tensors.
        self.halvings += 1
        _log.warning("out of memory: %d images at once from now on", self.size(count))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the machine, has no memory left."""
    # torch has no class of its own for the memory of the machine, nor for that which cuBLAS takes.
    is_told = any(words in str(error) for words in _SHORT_OF_MEMORY)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or is_told
