"""Metrics of a task, measured where it runs and told to the driver."""

import os
import resource
import sys

import torch

from stir_ray.lake.store import ObjectStore


class TaskMetrics:
    """Metrics of one task after another.

    They are, where they apply:

    - `read_bytes`, `stored_bytes`: of objects of the lake, and of files from elsewhere;
    - `device_memory_bytes`: the most that the task held on the GPU; on a CPU the most that the
      process ever held, which the operating system tells of all its tasks together;
    - `device_memory_total_bytes`: of the GPU, or of the machine;
    - `halvings`: how often batches were halved for want of memory;
    - `waited_s`: for stores that did not answer;
    - `whole`: 1 if no artifact of the task was stored before, so that it did all of its work;
    - those that a task sets itself, such as `median_residual` of an inversion.
    """

    def __init__(self, device: torch.device, store: ObjectStore) -> None:
        self._device, self._store = device, store
        self.begin()

    def begin(self) -> None:
        """Start with a new task."""
        self._values: dict[str, float] = {}
        self._before = self._transferred()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def set(self, **values: float) -> None:
        """Set metrics of the current task."""
        self._values.update(values)

    def add(self, name: str, value: float) -> None:
        """Add to a metric of the current task."""
        self._values[name] = self._values.get(name, 0.0) + value

    def read(self) -> dict[str, float]:
        """Return all metrics of the current task so far."""
        moved = {name: now - self._before[name] for name, now in self._transferred().items()}
        return {
            **_memory(self._device),
            **self._values,
            **{name: self._values.get(name, 0.0) + value for name, value in moved.items()},
        }

    def _transferred(self) -> dict[str, float]:
        names = "read_bytes", "stored_bytes", "waited_s"
        return {name: getattr(self._store, name) for name in names}


def _memory(device: torch.device) -> dict[str, int]:
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        total = torch.cuda.get_device_properties(device).total_memory
    else:
        # In KiB, but on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"device_memory_bytes": peak, "device_memory_total_bytes": total}
