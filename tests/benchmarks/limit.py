"""How close inversions come to the rate at which the device multiplies matrices.

`python -m tests.benchmarks.limit [--images 16] [--layers 1 6 12] [--precisions bfloat16]`

The products that an inversion cannot do without: forward passes up to the layer, and for every step
the gradient of the image. Over its seconds, and over what the device sustains in products of a
transformer's shapes, in the same precision, measured just before and just after.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from stir_ray.numerics.settings import DEFAULT
from tests.benchmarks import models, options
from tests.benchmarks.clock import table, timed
from tests.benchmarks.precisions import PRECISIONS, invert_in, tf32

Shape = tuple[int, int, int]
_SHAPES: dict[str, list[Shape]] = {
    "cpu": [(1600, 768, 3072), (1600, 3072, 768), (2048, 2048, 2048)],
    "cuda": [(25600, 768, 3072), (25600, 3072, 768), (8192, 8192, 8192)],
}
_SUSTAINED_S = 0.3


@dataclass(frozen=True)
class Layer:
    """How inversions of one layer went.

    Attributes:
        layer: from 1.
        flops: of one inversion of all images, a multiply-add counting as 2.
        seconds: of each round.
        rates: FLOP/s of matrix products around each round.
    """

    layer: int
    flops: float
    seconds: list[float]
    rates: list[float]

    @property
    def reached(self) -> float:
        """The share of the rate, median over rounds."""
        pairs = zip(self.seconds, self.rates, strict=True)
        return statistics.median(self.flops / (seconds * rate) for seconds, rate in pairs)

    @property
    def possible(self) -> float:
        """FLOPs of products that the device could have done in a round's seconds, as a median."""
        pairs = zip(self.seconds, self.rates, strict=True)
        return statistics.median(seconds * rate for seconds, rate in pairs)


def weighted(layers: Sequence[Layer]) -> float:
    """The share of the rate over all layers together, each by the time that it takes."""
    return sum(one.flops for one in layers) / sum(one.possible for one in layers)


def flops(module: nn.Module, *, layer: int, iterations: int, images: int) -> float:
    """Of an inversion; that no product is done for gradients of weights is presupposed."""
    model = models.frozen(module, torch.device("meta"))
    represent = models.representation(model, layer=layer, pooling="tokens")
    image = torch.zeros(1, *models.image_shape(module), requires_grad=True, device="meta")
    with FlopCounterMode(display=False) as counter:
        seen = represent(image)
        forward = counter.get_total_flops()
        torch.autograd.grad(seen.sum(), image)
        step = counter.get_total_flops()
    # The real image and the last candidate are only looked at.
    return float(images * (iterations * step + 2 * forward))


@dataclass(frozen=True)
class _Product:
    """One matrix product, and the operations that it takes."""

    multiply: Callable[[], object]
    flops: float


class Products:
    """Matrix products back to back, of the shape that is fastest."""

    def __init__(self, device: torch.device, precision: str, shapes: Sequence[Shape]) -> None:
        self.device, self.precision = device, precision
        kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.fastest = max((_product(shape, device, kind) for shape in shapes), key=self._rate)

    def rate(self) -> float:
        """FLOP/s over about `_SUSTAINED_S`."""
        return self._rate(self.fastest)

    def _rate(self, product: _Product) -> float:
        self._seconds(product, 1)
        times = max(1, round(_SUSTAINED_S / self._seconds(product, 1)))
        return product.flops * times / self._seconds(product, times)

    def _seconds(self, product: _Product, times: int) -> float:
        def multiply() -> None:
            for _ in range(times):
                product.multiply()

        with tf32(self.precision == "tf32"), torch.no_grad():
            return timed(self.device, multiply)[1]


def _product(shape: Shape, device: torch.device, kind: torch.dtype) -> _Product:
    rows, inner, units = shape
    left = torch.randn(rows, inner).to(device, kind)
    right = torch.randn(units, inner).to(device, kind)
    return _Product(lambda: functional.linear(left, right), 2.0 * rows * inner * units)


def measure(
    module: nn.Module,
    *,
    images: Tensor,
    start: Tensor,
    layers: Sequence[int],
    precision: str = "float32",
    iterations: int = 50,
    rounds: int = 3,
    shapes: Sequence[Shape] | None = None,
) -> list[Layer]:
    """Invert each layer in rounds, between products.

    Args:
        module: on the CPU.
        images: in [0, 1], on the device that is measured.
        start: of the same shape.
        layers: from 1.
        precision: of inversions and products.
        iterations: of an inversion.
        rounds: of a layer, after one that warms up.
        shapes: of the products, (row, inner, unit); those for the kind of device if None.
    """
    model = models.frozen(module, images.device)
    products = Products(images.device, precision, shapes or _SHAPES[images.device.type])
    found = []
    for layer in layers:
        represent = models.representation(model, layer=layer, pooling="tokens")

        def invert(number: int, represent: Callable[[Tensor], Tensor] = represent) -> object:
            settings = replace(DEFAULT, iterations=number)
            return invert_in(precision, represent, images=images, start=start, settings=settings)

        needed = flops(module, layer=layer, iterations=iterations, images=len(images))
        invert(2)
        found.append(_rounds(lambda: invert(iterations), products, layer, needed, rounds))
    return found


def _rounds(
    invert: Callable[[], object], products: Products, layer: int, needed: float, rounds: int
) -> Layer:
    seconds, rates = [], []
    before = products.rate()
    for _ in range(rounds):
        seconds.append(timed(products.device, invert)[1])
        after = products.rate()
        rates.append((before + after) / 2)
        before = after
    return Layer(layer, needed, seconds, rates)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and say so."""
    on_gpu = torch.cuda.is_available()
    asked = options.parser(__doc__, model="vit_base_patch32_224", images=500 if on_gpu else 16)
    asked.add_argument("--layers", nargs="+", type=int, help="all of them")
    asked.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    asked.add_argument("--iterations", type=int, default=50 if on_gpu else 3)
    asked.add_argument("--rounds", type=int, default=3)
    chosen = options.read(asked, words)
    module = options.module_of(chosen)
    images, start = options.images_of(chosen, module)
    for precision in chosen.precisions:
        layers = measure(
            module,
            images=images,
            start=start,
            layers=chosen.layers or range(1, models.depth(module) + 1),
            precision=precision,
            iterations=chosen.iterations,
            rounds=chosen.rounds,
        )
        print(told(layers, precision))


def told(layers: Sequence[Layer], precision: str) -> str:
    """As a table."""
    rows = [
        (
            one.layer,
            f"{one.flops / 1e9:.3g}",
            f"{statistics.median(one.seconds):.3g}",
            f"{statistics.median(one.rates) / 1e9:.0f}",
            f"{one.reached:.1%}",
        )
        for one in layers
    ]
    names = ("layer", "GFLOP", "seconds", "GFLOP/s of products", "reached")
    return f"{precision}: {weighted(layers):.1%} over all\n{table(names, *rows)}"


if __name__ == "__main__":
    main(sys.argv[1:])
