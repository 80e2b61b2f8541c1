"""What a task takes and moves: measured where it runs, and told to the driver."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stir_ray.lake.store import ObjectStore
from stir_ray.worker.phases import Phase


class TaskMetrics:
    """The measures of one task after another.

    They are, where they apply:

    - `read_bytes`, `stored_bytes`: of objects of the lake, and of files from elsewhere;
    - `device_memory_bytes`: the most that the task held on the GPU; on a CPU the most that the
      process ever held, which the operating system tells of all its tasks together;
    - `device_memory_total_bytes`: that the GPU, or the machine, has;
    - `halvings`: how often the images of a forward pass were halved for want of memory;
    - `waited_s`: for stores in trouble;
    - `found`: 1 if every part of the task was stored when it began, so that it did nothing;
    - `whole`: 1 if none of it was, so that it did all that is planned of it; what took up where
      another attempt or run had left off has neither;
    - what the task itself notes: `median_residual` of an inversion;
    - `search_s` and so on: seconds of each `Phase` that it went through. What none of them holds
      is what lies between.
    """

    def __init__(self, device: torch.device, *connections: ObjectStore) -> None:
        """Of what is computed on a device and moved by these connections."""
        self._device, self._connections = device, connections
        self._total = _total_bytes(device)
        self.begin()

    def begin(self) -> None:
        """A task begins."""
        self._noted: dict[str, float] = {}
        self._phase: Phase | None = None
        self._since = time.monotonic()
        self._before = self._moved()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def note(self, **measures: float) -> None:
        """Something of the task in hand; the last value of a name counts."""
        self._noted.update(measures)

    def add(self, name: str, value: float) -> None:
        """The same of what adds up."""
        self._noted[name] = self._noted.get(name, 0.0) + value

    @contextmanager
    def spending(self, phase: Phase) -> Iterator[None]:
        """Time goes to this phase; while another one is within it, to that."""
        outer = self._turn_to(phase)
        try:
            yield
        finally:
            self._turn_to(outer)

    def _turn_to(self, phase: Phase | None) -> Phase | None:
        now, before = time.monotonic(), self._phase
        if before is not None:
            self.add(before.measure, now - self._since)
        self._phase, self._since = phase, now
        return before

    def read(self) -> dict[str, float]:
        """All measures of the task in hand so far."""
        measures = {
            "device_memory_bytes": self._peak_bytes(),
            "device_memory_total_bytes": self._total,
            **self._noted,
        }
        for name, now in self._moved().items():
            measures[name] = measures.get(name, 0.0) + now - self._before[name]
        return measures

    def _moved(self) -> dict[str, float]:
        return {
            "read_bytes": sum(one.read_bytes for one in self._connections),
            "stored_bytes": sum(one.stored_bytes for one in self._connections),
            # They share what they wait for.
            "waited_s": max((one.waited_s for one in self._connections), default=0.0),
        }

    def _peak_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # In KiB, but on macOS.
        return peak if sys.platform == "darwin" else peak * 1024


def _total_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
