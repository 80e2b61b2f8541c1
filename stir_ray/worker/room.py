"""How many images go through a model at once, by what is free before they do."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from stir_ray.models.memory import free_bytes
from stir_ray.models.microbatches import ran_out_of_memory


class Needs(Protocol):
    """Bytes that work on images takes."""

    def of(self, at_once: int, count: int) -> int:
        """At the peak, when so many of the images go through the model at once."""
        ...

    def most(self, count: int, room: float) -> int:
        """Images at once for which the room suffices; 0 if it does not for one."""
        ...


class Room:
    """The memory of a device that is a worker's, and what it has learnt of its work's needs."""

    def __init__(self, device: torch.device, name: str, share: float) -> None:
        """Nothing is known of any work.

        Args:
            device: that computes.
            name: of the device, for people.
            share: of its memory that is this worker's, in (0, 1].
        """
        self._device, self._name, self._share = device, name, share
        self._known: dict[str, Needs] = {}

    def for_images(
        self, task: str, work: Sequence[object], count: int, needs: Callable[[], Needs]
    ) -> int:
        """Images that may go through the model at once: all of them, or else a power of two.

        Args:
            task: in words.
            work: what the needs depend on, besides the size of an image.
            count: images of the work.
            needs: finds them, if no task before has.

        Raises:
            MemoryError: if one image at once is already too much.
        """
        described = str(work)
        free = free_bytes(self._device, self._share)
        if described not in self._known:
            self._known[described] = self._tried(task, count, needs, free)
        known = self._known[described]
        most = known.most(count, free)
        if not most:
            raise self._too_little(task, count, _size(known.of(1, count)), free)
        # What is free differs a little from task to task; the rounding of sums had better not.
        return most if most == count else 2 ** (most.bit_length() - 1)

    def _tried(self, task: str, count: int, needs: Callable[[], Needs], free: float) -> Needs:
        try:
            return needs()
        except (MemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
        # Not in the handler: there the error still holds the tensors.
        raise self._too_little(task, count, "more than there is", free)

    def _too_little(self, task: str, count: int, needed: str, free: float) -> MemoryError:
        return MemoryError(
            f"{task}: {count} images, one at once, need {needed} on {self._name}, "
            f"where {_size(free)} are free for this worker; "
            "take fewer images or workers, or a device with more memory"
        )


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB"
