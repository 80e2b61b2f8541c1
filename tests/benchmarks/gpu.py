"""Everything that is measured of inversions, in one go, on a GPU or in small on a CPU.

`python -m tests.benchmarks.gpu [--parts limit peer]`

Needs torch, timm and this repository: parity of the GPU with the CPU, precisions on the same noise,
the share of the device's rate, the public code's seconds over ours, and bytes.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stir_ray.numerics.settings import DEFAULT, InversionSettings
from tests.benchmarks import limit, models, options, peer
from tests.benchmarks.matrix import Matrix, StirMatrix
from tests.benchmarks.options import PRECISIONS, invert_in, table, timed


@dataclass(frozen=True)
class Comparison:
    """A matrix compared with one of float32, of the same images and noise."""

    name: str  # what differs
    delta: Tensor  # |STIR - STIR of float32|, (reference layer, target layer)
    residual: float  # mean over layers and images, in float32 whatever the inversion was in
    ratio: float  # seconds of the one of float32 over its


def compare(
    first: StirMatrix,
    *,
    others: Sequence[tuple[str, StirMatrix, str]],
    settings: InversionSettings,
) -> list[Comparison]:
    """Compare matrices with one in float32.

    `others` are a name, the same matrix perhaps on another device, and a precision.
    """
    whole, seconds = _run(first, settings, "float32")
    unchanged = torch.zeros_like(whole.stir)
    compared = [Comparison("float32", unchanged, float(whole.residual.mean()), 1.0)]
    for name, other, precision in others:
        second, taken = _run(other, settings, precision)
        delta = (second.stir - whole.stir).abs()
        compared.append(Comparison(name, delta, float(second.residual.mean()), seconds / taken))
    return compared


def _run(matrix: StirMatrix, settings: InversionSettings, precision: str) -> tuple[Matrix, float]:
    # A first run chooses kernels.
    matrix.whole(settings=replace(settings, iterations=2), precision=precision)
    return timed(matrix.images.device, lambda: matrix.whole(settings=settings, precision=precision))


def text(compared: Sequence[Comparison]) -> str:
    rows = [
        (
            row.name,
            f"{row.delta.max():.1e}",
            f"{row.delta.mean():.1e}",
            f"{row.residual:.4f}",
            f"{row.ratio:.2f} x",
        )
        for row in compared
    ]
    return table(("", "max |dSTIR|", "mean", "residual", "speed"), *rows)


def main(words: Sequence[str] | None = None) -> None:
    chosen = options.read(parser(), words)
    precisions = PRECISIONS
    if chosen.device.type == "cuda":
        print(f"{torch.cuda.get_device_name(chosen.device)}, torch {torch.__version__}")
    else:
        print("No GPU here: what needs none, on the CPU.")
        # Bfloat16 only where the CPU has units for it: emulated it is a hundred times slower. By
        # name: what torch says to support includes what it emulates.
        has = torch.cpu.get_capabilities()
        has_units = has.get("amx_bf16") or has.get("avx512_bf16")
        precisions = ("float32", "bfloat16") if has_units else ("float32",)
    for part in chosen.parts:
        print(f"\n== {part}")
        _PARTS[part](chosen, precisions)


def _parity(chosen: argparse.Namespace, _: Sequence[str]) -> None:
    chosen = argparse.Namespace(**vars(chosen) | {"images": min(chosen.images, 8)})
    here, there = (
        StirMatrix.of_finetuned(*options.subject(chosen), seed=chosen.seed + 1, device=device)
        for device in (torch.device("cpu"), chosen.device)
    )
    settings = replace(DEFAULT, iterations=chosen.iterations)
    others = [(f"float32 on {chosen.device}", there, "float32")]
    compared = compare(here, others=others, settings=settings)
    print("Beside float32 on the CPU:", text(compared), sep="\n")


def _precision(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    matrix = StirMatrix.of_finetuned(
        *options.subject(chosen), seed=chosen.seed + 1, device=chosen.device
    )
    others = [(precision, matrix, precision) for precision in precisions[1:]]
    settings = replace(DEFAULT, iterations=chosen.iterations)
    compared = compare(matrix, others=others, settings=settings)
    print("Beside float32, same noise:", text(compared), sep="\n")


def _limit(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    module, images, start = options.subject(chosen)
    for precision in precisions:
        layers = limit.measure(
            module,
            images=images,
            start=start,
            layers=range(1, models.depth(module) + 1),
            precision=precision,
            iterations=chosen.iterations,
        )
        print(limit.text(layers, precision))


def _peer(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    if importlib.util.find_spec("stir") is None:
        print("not installed: `pip install stir-invariance==0.0`")
        return
    module, images, start = options.subject(chosen)
    print(
        peer.text(
            peer.measure(
                module,
                models.finetuned(module, seed=chosen.seed + 1),
                images=images,
                start=start,
                precisions=precisions,
                iterations=chosen.iterations,
            )
        )
    )


def _memory(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    # Bytes at the peak of two steps in the last layer.
    if chosen.device.type != "cuda":
        print("Bytes are counted on a GPU alone.")
        return
    module, images, start = options.subject(chosen)
    model = models.frozen(module, chosen.device)
    represent = models.representation(model, layer=models.depth(module), pooling="tokens")
    total = torch.cuda.get_device_properties(chosen.device).total_memory
    settings = replace(DEFAULT, iterations=2)
    for precision in precisions:
        for count in sorted({1, min(8, len(images)), len(images)}):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(chosen.device)
            few = {"images": images[:count], "start": start[:count]}
            invert_in(precision, represent, **few, settings=settings)
            peak = torch.cuda.max_memory_allocated(chosen.device)
            print(
                f"{precision}, {count} images: {peak / 1e9:.2f} GB at the peak, "
                f"{peak / count / 1e6:.1f} MB per image, {peak / total:.1%} of the GPU"
            )


_PARTS: dict[str, Callable[[argparse.Namespace, Sequence[str]], None]] = {
    "parity": _parity,
    "precision": _precision,
    "limit": _limit,
    "peer": _peer,
    "memory": _memory,
}


def parser() -> argparse.ArgumentParser:
    on_gpu = torch.cuda.is_available()
    asked = options.parser(
        __doc__,
        model="vit_base_patch32_224" if on_gpu else "vit_tiny_patch16_224",
        arguments="{}" if on_gpu else '{"img_size": 32, "patch_size": 8}',
        images=500 if on_gpu else 8,
        gain=1.0 if on_gpu else 2.0,
    )
    asked.add_argument("--iterations", type=int, default=50 if on_gpu else 5)
    asked.add_argument("--parts", nargs="+", choices=list(_PARTS), default=list(_PARTS))
    return asked


if __name__ == "__main__":
    main(sys.argv[1:])
