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

from stir_ray.numerics.precision import matmul_precision
from stir_ray.numerics.settings import DEFAULT, Precision
from tests.benchmarks import models, options
from tests.benchmarks.options import PRECISIONS, invert_in, table, timed

Shape = tuple[int, int, int]
_SHAPES: dict[str, list[Shape]] = {
    "cpu": [(1600, 768, 3072), (1600, 3072, 768), (2048, 2048, 2048)],
    "cuda": [(25600, 768, 3072), (25600, 3072, 768), (8192, 8192, 8192)],
}
_SUSTAINED_S = 0.3


@dataclass(frozen=True)
class LayerRate:
    """How fast inversions of a layer were."""

    layer: int
    flops: float  # of an inversion of all images, a multiply-add counting as 2
    seconds: list[float]  # of each round
    rates: list[float]  # FLOP/s of matrix products around each round

    @property
    def possible(self) -> float:
        """FLOPs of products that the device could have done in a round's seconds, as a median."""
        pairs = zip(self.seconds, self.rates, strict=True)
        return statistics.median(seconds * rate for seconds, rate in pairs)


def flops(module: nn.Module, *, layer: int, iterations: int, images: int) -> float:
    """Of an inversion; that no product is done for gradients of weights is presupposed."""
    model = models.frozen(module, torch.device("meta"))
    represent = models.representation(model, layer=layer, pooling="tokens")
    image = torch.zeros(1, *models.image_shape(module), requires_grad=True, device="meta")
    with FlopCounterMode(display=False) as counter:
        features = represent(image)
        forward = counter.get_total_flops()
        torch.autograd.grad(features.sum(), image)
        step = counter.get_total_flops()
    # The real image and the last candidate are only looked at.
    return float(images * (iterations * step + 2 * forward))


class Products:
    """Matrix products back to back, of the shape that is fastest."""

    def __init__(self, device: torch.device, precision: str, shapes: Sequence[Shape]) -> None:
        self.device = device
        self.precision = Precision.TF32 if precision == "tf32" else Precision.FLOAT32
        self.kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.fastest = max(map(self._factors, shapes), key=lambda factors: self.rate(*factors))

    def _factors(self, shape: Shape) -> tuple[Tensor, Tensor]:
        rows, inner, units = shape
        left, right = torch.randn(rows, inner), torch.randn(units, inner)
        return left.to(self.device, self.kind), right.to(self.device, self.kind)

    def rate(self, left: Tensor, right: Tensor) -> float:
        """FLOP/s over about `_SUSTAINED_S`."""

        def multiply(times: int) -> None:
            for _ in range(times):
                functional.linear(left, right)

        def seconds(times: int) -> float:
            with matmul_precision(self.precision), torch.no_grad():
                return timed(self.device, lambda: multiply(times))[1]

        seconds(1)
        times = max(1, round(_SUSTAINED_S / seconds(1)))
        return 2.0 * left.numel() * len(right) * times / seconds(times)


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
) -> list[LayerRate]:
    """Invert each layer in rounds, between products.

    The module is on the CPU, images on the device that is measured. `shapes` are of the products,
    (row, inner, unit); those for the kind of device if None.
    """
    model = models.frozen(module, images.device)
    products = Products(images.device, precision, shapes or _SHAPES[images.device.type])
    measured = []
    for layer in layers:
        represent = models.representation(model, layer=layer, pooling="tokens")

        def invert(steps: int, represent: Callable[[Tensor], Tensor] = represent) -> object:
            settings = replace(DEFAULT, iterations=steps)
            return invert_in(precision, represent, images=images, start=start, settings=settings)

        needed = flops(module, layer=layer, iterations=iterations, images=len(images))
        invert(2)
        seconds, rates = [], []
        before = products.rate(*products.fastest)
        for _ in range(rounds):
            seconds.append(timed(images.device, lambda: invert(iterations))[1])
            after = products.rate(*products.fastest)
            rates.append((before + after) / 2)
            before = after
        measured.append(LayerRate(layer, needed, seconds, rates))
    return measured


def text(layers: Sequence[LayerRate], precision: str) -> str:
    rows = [
        (
            row.layer,
            f"{row.flops / 1e9:.3g}",
            f"{statistics.median(row.seconds):.3g}",
            f"{statistics.median(row.rates) / 1e9:.0f}",
            f"{row.flops / row.possible:.1%}",
        )
        for row in layers
    ]
    names = ("layer", "GFLOP", "seconds", "GFLOP/s of products", "reached")
    # Each layer by the time that it takes.
    reached = sum(row.flops for row in layers) / sum(row.possible for row in layers)
    return f"{precision}: {reached:.1%} over all\n{table(names, *rows)}"


def main(words: Sequence[str] | None = None) -> None:
    on_gpu = torch.cuda.is_available()
    asked = options.parser(__doc__, model="vit_base_patch32_224", images=500 if on_gpu else 16)
    asked.add_argument("--layers", nargs="+", type=int, help="all of them")
    asked.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    asked.add_argument("--iterations", type=int, default=50 if on_gpu else 3)
    asked.add_argument("--rounds", type=int, default=3)
    chosen = options.read(asked, words)
    module, images, start = options.subject(chosen)
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
        print(text(layers, precision))


if __name__ == "__main__":
    main(sys.argv[1:])
