"""What tasks cost before they run: floating-point operations, and bytes of images and weights."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

CPU = "cpu"
"""In place of the name of a GPU."""
STORED_PIXEL_BYTES = 2
"""Of an inverted image: float16."""
WEIGHT_BYTES = 4


@dataclass(frozen=True)
class WorkloadSize:
    """The sizes that costs depend on.

    Attributes:
        flops: of one image's forward pass up to each block, from block 1.
        gradient_flops: the same with the gradient of the image: one step of an inversion.
        units: of the representation after each block.
        images: that are inverted.
        pixels: of one image, all channels.
        parameters: of the model.
        training_images: by the training's id; a training that is not there costs no operations.
        test_images: the same of those that every epoch is tested on.
        others: the same of models of another architecture, by their kind.
    """

    flops: Sequence[float]
    gradient_flops: Sequence[float]
    units: Sequence[int]
    images: int
    pixels: int
    parameters: int
    training_images: Mapping[str, int] = field(default_factory=dict)
    test_images: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, "WorkloadSize"] = field(default_factory=dict)

    def of(self, kind: str) -> "WorkloadSize":
        """Return the sizes of models of an architecture."""
        return self.others.get(kind, self)


@dataclass(frozen=True)
class Cost:
    """What tasks cost.

    Attributes:
        flops: floating-point operations; a multiply-add counts as 2.
        images: that are inverted.
        image_bytes: of the inverted images that are kept.
        checkpoint_bytes: of the weights that trainings store.
    """

    flops: float = 0.0
    images: int = 0
    image_bytes: float = 0.0
    checkpoint_bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Add two costs."""
        return Cost(
            self.flops + other.flops,
            self.images + other.images,
            self.image_bytes + other.image_bytes,
            self.checkpoint_bytes + other.checkpoint_bytes,
        )

    def __mul__(self, times: int) -> "Cost":
        """Multiply a cost."""
        return Cost(
            self.flops * times,
            self.images * times,
            self.image_bytes * times,
            self.checkpoint_bytes * times,
        )


class Priced(Protocol):
    """A task, as far as its cost is concerned."""

    @property
    def cost_key(self) -> Hashable:
        """Equal for tasks of equal cost."""
        ...

    def cost(self, size: WorkloadSize, steps: float | None = None) -> Cost:
        """Return the cost of the task; see `Task.cost`."""
        ...


class CostSum:
    """The cost of many tasks: of tasks of equal cost one is kept, and how many there are.

    A million tasks of a study have a few dozen different costs, so a plan of them takes seconds.
    """

    def __init__(self) -> None:
        self._examples: dict[tuple[Hashable, float | None], Priced] = {}
        self._counts: Counter[tuple[Hashable, float | None]] = Counter()

    def add(self, task: Priced, steps: float | None = None) -> None:
        """Add a task; an inversion that took so many steps, or all of them for None."""
        key = task.cost_key, steps
        self._examples.setdefault(key, task)
        self._counts[key] += 1

    def total(self, size: WorkloadSize, steps: float | None = None) -> Cost:
        """Return the total cost, with `steps` for inversions whose steps are not known."""
        costs = (
            self._examples[key].cost(size, steps if key[1] is None else key[1]) * count
            for key, count in self._counts.items()
        )
        return sum(costs, Cost())


@dataclass(frozen=True)
class Throughput:
    """Floating-point operations per second of one device.

    Attributes:
        flops_per_s: of the device.
        device: that it was measured on; empty if it was given, for a GPU.
    """

    flops_per_s: float
    device: str = ""

    @property
    def is_of_gpu(self) -> bool:
        """Whether hours at this rate are GPU-hours."""
        return self.device != CPU

    def hours(self, flops: float) -> float:
        """Return the hours of one device that does nothing else."""
        return flops / self.flops_per_s / 3600
