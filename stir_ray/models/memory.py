"""How much memory work on images takes, found on two and three of them, and how much there is.

All that a model makes of images is linear in their number, so two small trials tell the peak of any
number exactly. They run the work itself, on the device itself: which attention kernel is chosen,
what it saves for the backward pass and what is freed in between is seen, not modelled.
"""

import gc
import os
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

FEWEST = 2
"""Images of the first of two trials; the second is of one more. One alone is not as many are: in it
products of attention need no copies, and batch normalisation may refuse to learn."""
_USABLE = 0.9
"""Of what is free: allocators waste some, and libraries take workspaces that nobody counts."""
PROCESS_PER_TENSOR = 1.35
"""Bytes by which a process on a CPU grows for each byte of its tensors: what the C library was
given back lies between what it has given out. `tests.benchmarks.memory` measured 1.56 at most; a
process that can take again what it gave back grows by far less. `_USABLE` leaves room for 1.5."""
_LEAST = 2 * 2**30
"""Bytes of a machine's memory that every process of ours may take, however many cores it has: a
machine is not given more workers than it has room for."""
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Footprint:
    """Bytes that work on `count` images takes when `at_once` of them go through the model.

    Attributes:
        fixed: whatever the number of images; without what was there before.
        per_image: of those that go through at once, at the peak.
        kept: per image, of what was made of it, until all are made.
        after: per image, on top of that, of what is done with all of them then.
    """

    fixed: int
    per_image: int
    kept: int
    after: int = 0

    def beside(self, held: int) -> "Footprint":
        """The same work while so many bytes more are there."""
        return replace(self, fixed=self.fixed + held)

    def of(self, at_once: int, count: int) -> int:
        """Bytes at the peak."""
        through = self.fixed + at_once * self.per_image + (count - at_once) * self.kept
        return max(through, count * (self.kept + self.after))

    def most(self, count: int, room: float) -> int:
        """Images at once for which `room` bytes suffice; 0 if they do not for one."""
        if self.of(count, count) <= room:
            return count
        if self.of(1, count) > room:
            return 0
        transient = max(1, self.per_image - self.kept)
        return int(room - self.fixed - count * self.kept) // transient


@dataclass(frozen=True)
class Successive:
    """Bytes that works on the same images take, one after the other."""

    works: tuple[Footprint, ...]

    def of(self, at_once: int, count: int) -> int:
        """Bytes at the peak."""
        return max(work.of(at_once, count) for work in self.works)

    def most(self, count: int, room: float) -> int:
        """Images at once for which `room` bytes suffice; 0 if they do not for one."""
        return min(work.most(count, room) for work in self.works)


def footprint(
    make: Callable[[int], object], *, after: int = 0, smallest: int = FEWEST
) -> Footprint:
    """The footprint of a function of a number of images, which is called with two small ones.

    Args:
        make: does the work; what it returns is what is kept of the images.
        after: as in `Footprint`.
        smallest: number of images that it can be called with.
    """
    few, more = _trial(make, smallest), _trial(make, smallest + 1)
    per_image = more.peak - few.peak
    return Footprint(
        fixed=max(0, few.peak - smallest * per_image),
        per_image=per_image,
        kept=more.left - few.left,
        after=after,
    )


def free_bytes(device: torch.device, share: float) -> float:
    """Bytes that new tensors may take on a device.

    Args:
        device: a GPU, or the CPU for the memory of this machine.
        share: of it that is this process's, in (0, 1]; others are thought to take theirs.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds and does not use is free to it alone.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return _USABLE * (free * share + held)
    free = min([_machine_bytes(), *cgroup_bytes()])
    return _USABLE * min(free, max(share * free, _LEAST)) / PROCESS_PER_TENSOR


@dataclass(frozen=True)
class _Trial:
    """Bytes of tensors at the peak of some work, and at its end while its result is held."""

    peak: int
    left: int


def _trial(make: Callable[[int], object], images: int) -> _Trial:
    # Within so small a trial no automatic collection comes then. The oldest generation is left
    # alone: with torch loaded, it takes longer than the trial.
    gc.collect(1)
    with LiveBytes() as live:
        made = make(images)
        left = live.now
        del made
    return _Trial(live.peak, left)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that were made since it was entered and are still there.

    Memory that a kernel takes and gives back within one operation is not seen.

    Attributes:
        now: bytes that are there now.
        peak: the most there were.
    """

    def __init__(self) -> None:
        """Nothing is counted yet."""
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Do the operation and count what it makes."""
        # What comes in uncounted was there before, and views of it are no new memory.
        for tensor in _tensors((args, kwargs)):
            self._note(tensor, counts=False)
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            self._note(tensor, counts=True)
        return made

    def _note(self, tensor: Tensor, *, counts: bool) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata  # noqa: SLF001 - the one name by which storages are told apart
        if address in self._known:
            return
        size = storage.nbytes() if counts else 0
        self.now += size
        self.peak = max(self.peak, self.now)
        self._known[address] = weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self.now -= size
        del self._known[address]

    def __exit__(self, *raised: object) -> None:
        """Count no more."""
        super().__exit__(*raised)
        for end in self._known.values():
            end.detach()


def _tensors(values: object) -> Iterator[Tensor]:
    return (value for value in tree_iter(values) if isinstance(value, Tensor))


def _machine_bytes() -> int:
    with suppress(OSError):
        found = _number(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo"))
        if found is not None:
            return found * 1024
    # Not Linux: nobody says what is free, and half of it mostly is.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def cgroup_bytes(root: Path = _CGROUPS) -> Iterator[int]:
    """What each limit on this process and on the groups that it is in leaves to it."""
    own = ""
    with suppress(OSError):
        found = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        own = found[1] if found else ""
    folder = root / own
    for group in (folder, *folder.parents):
        if group.is_relative_to(root):
            # A container sees its own group as the root; version 1 has other names for it.
            yield from _left(group, "memory.max", "memory.current", "inactive_file")
    memory = root / "memory"
    yield from _left(
        memory, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    )


def _left(group: Path, limit: str, used: str, reclaimed: str) -> Iterator[int]:
    with suppress(OSError, ValueError):  # No such group, or its limit is `max`.
        most, now = int((group / limit).read_text()), int((group / used).read_text())
        # Files that are only cached make room.
        files = _number(rf"{reclaimed} (\d+)", group / "memory.stat") or 0
        yield max(0, most - now + files)


def _number(line: str, path: Path) -> int | None:
    found = re.search(rf"^{line}$", path.read_text(), re.MULTILINE)
    return int(found[1]) if found else None
