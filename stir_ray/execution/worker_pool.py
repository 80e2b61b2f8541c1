"""How many workers run at once, and what share of the machines each gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_MEMORY_PER_WORKER = 2 * 2**30
"""Bytes of host memory that a worker on a CPU needs for torch, a small model and its images."""

Node = Mapping[str, float]
"""What a node has: `CPU`, `GPU`, `memory` in bytes."""


class Allocation(NamedTuple):
    """Workers, and the CPU threads and GPUs of each."""

    workers: int
    threads: int
    gpus: float

    def __str__(self) -> str:
        """Of one worker, for people."""
        return f"{self.threads} CPU threads and {self.gpus:g} GPUs"

    def room(self, nodes: Sequence[Node]) -> int:
        """Workers of this share that the nodes can hold."""
        return sum(self._on(node) for node in nodes)

    def _on(self, node: Node) -> int:
        by_cores = int(node.get("CPU", 0.0) // self.threads)
        return min(by_cores, self._by_gpus(node.get("GPU", 0.0))) if self.gpus else by_cores

    def _by_gpus(self, gpus: float) -> int:
        if self.gpus >= 1:
            return int(gpus // self.gpus)
        # No worker has its fraction on two GPUs; 1 // 0.1 is 9.
        return int(gpus) * int(1 / self.gpus + 1e-9)


@dataclass(frozen=True)
class Pool:
    """How many workers, and what each gets, as far as a person wants to say.

    Attributes:
        workers: processes; None for one per GPU share, or else one per core.
        threads: CPU threads of each; None for the cores divided among the workers.
        gpus: GPUs of each, where there are GPUs.
    """

    workers: int | None = None
    threads: int | None = None
    gpus: float = 1.0

    def shares(self, nodes: Sequence[Node], *, grows: bool = False) -> Allocation:
        """What it comes to on these nodes. Not all workers may fit if their number is given.

        Args:
            nodes: that are there.
            grows: whether nodes come when they are asked for; then GPUs are asked for as long as
                there is no node that could do anything at all.
        """
        none_yet = grows and not any(node.get("CPU") for node in nodes)
        gpus = self.gpus if none_yet or any(node.get("GPU") for node in nodes) else 0.0
        least = Allocation(1, self.threads or 1, gpus)
        workers = self.workers or max(1, sum(_at_ease(node, least) for node in nodes))
        # As many threads as leave room for all workers: cores of a node without GPU help nobody.
        cores = int(sum(node.get("CPU", 0.0) for node in nodes))
        candidates = (Allocation(workers, n, gpus) for n in range(cores // workers, 1, -1))
        threads = next((one.threads for one in candidates if one.room(nodes) >= workers), 1)
        return Allocation(workers, self.threads or threads, gpus)


def _at_ease(node: Node, shares: Allocation) -> int:
    """Workers that a node can hold, with memory enough; a GPU brings its own."""
    fitting = shares.room([node])
    if shares.gpus or "memory" not in node:
        return fitting
    return min(fitting, int(node["memory"] // _MEMORY_PER_WORKER))
