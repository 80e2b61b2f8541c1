"""Decide how many workers run at once, and how much of the machines each gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_MEMORY_PER_WORKER = 2 * 2**30
"""Bytes of host memory that a worker on a CPU needs for torch, a small model and its images."""

Node = Mapping[str, float]
"""Resources of a node: `CPU`, `GPU`, `memory` in bytes."""


class Allocation(NamedTuple):
    """The number of workers, and the CPU threads and GPUs of each."""

    workers: int
    threads: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.threads} CPU threads and {self.gpus:g} GPUs"

    def capacity(self, nodes: Sequence[Node]) -> int:
        """Return how many workers of this size fit on the nodes."""
        return sum(self._capacity_of(node) for node in nodes)

    def _capacity_of(self, node: Node) -> int:
        by_cores = int(node.get("CPU", 0.0) // self.threads)
        if not self.gpus:
            return by_cores
        gpus = node.get("GPU", 0.0)
        if self.gpus >= 1:
            return min(by_cores, int(gpus // self.gpus))
        # No worker has its fraction on two GPUs; the sum is for floats, in which 1 // 0.1 is 9.
        return min(by_cores, int(gpus) * int(1 / self.gpus + 1e-9))


@dataclass(frozen=True)
class PoolSpec:
    """The number and size of workers, as far as the user sets them.

    Attributes:
        workers: processes; None for one per GPU share, or else one per core.
        threads: CPU threads of each; None for the cores divided among the workers.
        gpus: GPUs of each, on nodes with GPUs.
    """

    workers: int | None = None
    threads: int | None = None
    gpus: float = 1.0

    def allocate(self, nodes: Sequence[Node], *, on_cluster: bool = False) -> Allocation:
        """Return the allocation on these nodes; a given number of workers may not fit.

        Args:
            nodes: that are alive.
            on_cluster: whether nodes may be added later. Then workers request GPUs as long as no
                node can run anything.
        """
        is_empty = on_cluster and not any(node.get("CPU") for node in nodes)
        gpus = self.gpus if is_empty or any(node.get("GPU") for node in nodes) else 0.0
        smallest = Allocation(1, self.threads or 1, gpus)
        workers = self.workers or max(1, sum(_capacity_by_memory(n, smallest) for n in nodes))
        # As many threads as leave room for all workers: cores of a node without GPU do not help.
        cores = int(sum(node.get("CPU", 0.0) for node in nodes))
        candidates = (Allocation(workers, n, gpus) for n in range(cores // workers, 1, -1))
        fitting = (c.threads for c in candidates if c.capacity(nodes) >= workers)
        return Allocation(workers, self.threads or next(fitting, 1), gpus)


def _capacity_by_memory(node: Node, allocation: Allocation) -> int:
    capacity = allocation.capacity([node])
    if allocation.gpus or "memory" not in node:
        return capacity
    return min(capacity, int(node["memory"] // _MEMORY_PER_WORKER))
