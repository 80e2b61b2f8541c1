"""Seconds for all layers by all layers of STIR(ft | pt): the public code's over ours.

`python -m tests.benchmarks.peer [--model vit_base_patch32_224 --arguments {} --images 4]`

The public code is package `stir-invariance` 0.0, on two vision transformers as published: once for
every pair of layers, with a forward pass through the whole model, in float32. It is timed on one
pair of layers per layer, each once as reference and once as target, in turns with our rows; the
time of all its pairs is that times the number of layers. Ours takes its update and its number of
iterations.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple, cast
from unittest import mock

import torch
from torch import Tensor, nn

from stir_ray.numerics.settings import PAPER
from tests.benchmarks import models, options
from tests.benchmarks.matrix import Row, StirMatrix
from tests.benchmarks.options import PRECISIONS, table, timed


class Pair(NamedTuple):
    """What the public code makes of one pair of layers."""

    stir: float
    inverted: Tensor
    seconds: float


class Published(nn.Module):
    """A whole model with the public code's call; what one block says is its latent."""

    def __init__(self, module: nn.Module, *, layer: int) -> None:
        super().__init__()
        self.module = module
        self.latent = torch.empty(0)
        block = cast("Any", module).blocks[layer - 1]
        self.hook = block.register_forward_hook(self._keep)

    def _keep(self, _block: nn.Module, _given: object, made: Tensor) -> None:
        self.latent = made

    def forward(self, images: Tensor, **_: object) -> tuple[Tensor, Tensor]:
        logits = self.module(images)
        return logits, self.latent.flatten(1)


class Normaliser(nn.Module):
    """Shift and scale alone: with a clip in it, the public code's inversions stall."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) / 0.5


def public_code() -> tuple[Any, Any, Any]:
    """Its modules `stir`, `attacker` and `losses`."""
    with warnings.catch_warnings():
        # Its docstrings hold LaTeX, of whose backslashes Python complains.
        warnings.simplefilter("ignore")
        from stir import stir
        from stir.attack import attacker, losses
    return stir, attacker, losses


def papers_attack(losses: Any, iterations: int = PAPER.iterations) -> dict[str, Any]:
    """The settings of Merlin et al. 2023 in its words."""
    return {
        "custom_loss": losses.LPNormLossSingleModel(SimpleNamespace(lpnorm_type=2.0)),
        "constraint": "unconstrained",
        "eps": 1000,  # unused without a constraint
        "step_size": PAPER.step_size,
        "iterations": iterations,
        "targeted": True,
        "should_normalize": True,
        "use_best": True,
    }


@contextmanager
def staying() -> Iterator[None]:
    """The public code moves everything to `cuda:0`; here such a move goes nowhere."""
    move: Any = torch.Tensor.to

    def stay(tensor: Tensor, *where: Any, **how: Any) -> Tensor:
        kept = [torch.device("cpu") if is_cuda(place) else place for place in where]
        return move(tensor, *kept, **how)

    def is_cuda(place: object) -> bool:
        return isinstance(place, str | torch.device) and torch.device(place).type == "cuda"

    with mock.patch.object(torch.Tensor, "to", stay):
        yield


class Peer:
    """The public code on a pretrained and a finetuned model."""

    def __init__(self, pt: nn.Module, ft: nn.Module, images: Tensor, start: Tensor) -> None:
        self._stir, self._attacker, self._losses = public_code()
        self.pt, self.ft = (module.to(images.device) for module in (pt, ft))
        self.images, self.start = images, start

    def pair(self, reference: int, target: int, *, iterations: int) -> Pair:
        """STIR(ft's layer | pt's layer) by its settings, but for the number of iterations."""
        inverted: list[Tensor] = []

        def watch(_: nn.Module, _given: object, how: dict[str, Any], made: Any) -> None:
            if how.get("make_adv"):
                inverted.append(made[0][1])

        published = [Published(self.pt, layer=reference), Published(self.ft, layer=target)]
        looked, looking = (self._attacker.AttackerModel(model, Normaliser()) for model in published)
        looked.register_forward_hook(watch, with_kwargs=True)
        whole = [(self.images, torch.arange(len(self.images)))]
        on_cpu = staying() if self.images.device.type == "cpu" else nullcontext()
        same_start = mock.patch.object(self._stir, "get_seed_images", return_value=self.start)
        with on_cpu, same_start:
            (stir, _), seconds = timed(
                self.images.device,
                lambda: self._stir._stir(  # noqa: SLF001 - `STIR` inverts both models of a pair
                    looked,
                    looking,
                    whole,
                    len(self.images),
                    ve_kwargs=papers_attack(self._losses, iterations),
                    verbose=False,
                ),
            )
        for model in published:
            model.hook.remove()
        return Pair(stir, inverted[0], seconds)


@dataclass(frozen=True)
class Ours:
    """Our matrix in a precision compared with the public code's pairs."""

    precision: str
    ratio: float  # its seconds for all pairs over ours
    delta: Tensor  # |STIR - its STIR| of the pairs that it ran
    residual: Tensor  # mean over images, per reference layer


class Measured(NamedTuple):
    pairs: list[tuple[int, int]]  # that the public code ran, as (reference layer, target layer)
    residual: Tensor  # mean over its images, per reference layer
    ours: list[Ours]


def measure(
    pt: nn.Module,
    ft: nn.Module,
    *,
    images: Tensor,
    start: Tensor,
    precisions: Sequence[str] = ("float32",),
    iterations: int = 50,
) -> Measured:
    """Time the public code and ours on the same models, images and noise.

    In turns: the public code's pair of a layer, our row of it in each precision; then the next.
    """
    layers, device = range(1, models.depth(pt) + 1), images.device
    models_pair = (models.frozen(module, device) for module in (pt, ft))
    matrix = StirMatrix(*models_pair, images=images, start=start, layers=layers)
    peer, settings = Peer(pt, ft, images, start), replace(PAPER, iterations=iterations)
    # Each layer once as reference and once as target, neither always the deeper.
    count = len(layers)
    pairs = [(layer, (layer + count // 2 - 1) % count + 1) for layer in layers]
    peer.pair(*pairs[-1], iterations=2)
    real = matrix.grams(images)
    rows: dict[str, list[Row]] = {precision: [] for precision in precisions}
    seconds: dict[str, float] = {}
    for precision in precisions:
        matrix.row(1, settings=replace(settings, iterations=2), precision=precision, real=real)
        seconds[precision] = timed(device, lambda: matrix.grams(images))[1]
    theirs = []
    for reference, target in pairs:
        theirs.append(peer.pair(reference, target, iterations=iterations))
        for precision in precisions:
            row, taken = timed(
                device,
                lambda layer=reference, precision=precision: matrix.row(
                    layer, settings=settings, precision=precision, real=real
                ),
            )
            rows[precision].append(row)
            seconds[precision] += taken
    all_pairs_s = sum(pair.seconds for pair in theirs) * count
    ours = []
    for precision in precisions:
        delta = [
            abs(float(row.stir[target - 1]) - pair.stir)
            for row, pair, (_, target) in zip(rows[precision], theirs, pairs, strict=True)
        ]
        ratio = all_pairs_s / seconds[precision]
        residual = _mean_residual(matrix, rows[precision])
        ours.append(Ours(precision, ratio, torch.tensor(delta), residual))
    return Measured(pairs, _mean_residual(matrix, theirs), ours)


def _mean_residual(matrix: StirMatrix, rows: Sequence[Pair] | Sequence[Row]) -> Tensor:
    inverted = zip(matrix.layers, rows, strict=True)
    return torch.stack([matrix.residual(layer, row.inverted).mean() for layer, row in inverted])


def text(measured: Measured) -> str:
    ran = len(measured.pairs)
    head = (
        f"The public code's seconds for {ran**2} pairs, from {ran} of them, over ours; its mean "
        f"residual is {measured.residual.mean():.3f}:"
    )
    rows = [
        (
            ours.precision,
            f"{ours.ratio:.1f} x",
            f"{ours.delta.max():.1e}",
            f"{ours.delta.mean():.1e}",
            f"{ours.residual.mean():.3f}",
        )
        for ours in measured.ours
    ]
    return f"{head}\n{table(('precision', 'ratio', 'max |dSTIR|', 'mean', 'residual'), *rows)}"


def main(words: Sequence[str] | None = None) -> None:
    small = '{"img_size": 32, "patch_size": 8}'
    asked = options.parser(
        __doc__, model="vit_tiny_patch16_224", arguments=small, images=16, gain=2.0
    )
    asked.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["float32"])
    asked.add_argument("--iterations", type=int, default=50)
    chosen = options.read(asked, words)
    pt, images, start = options.subject(chosen)
    print(
        text(
            measure(
                pt,
                models.finetuned(pt, seed=chosen.seed + 1),
                images=images,
                start=start,
                precisions=chosen.precisions,
                iterations=chosen.iterations,
            )
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
