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
from torch import Tensor, nn

from stir_ray.numerics.inversion import invert
from stir_ray.numerics.settings import DEFAULT, InversionSettings, Precision
from tests.benchmarks import limit, models, options, peer
from tests.benchmarks.clock import table, timed
from tests.benchmarks.matrix import Matrix, MeasurementSpec, matrix
from tests.benchmarks.precisions import PRECISIONS


@dataclass(frozen=True)
class Beside:
    """A matrix beside one of float32, of the same images and noise.

    Attributes:
        name: what differs.
        delta: |STIR - STIR of float32|, (reference layer, target layer).
        residual: mean over layers and images, in float32 whatever the inversion was in.
        ratio: seconds of the one of float32 over its.
    """

    name: str
    delta: Tensor
    residual: float
    ratio: float


def beside(
    question: MeasurementSpec,
    *,
    others: Sequence[tuple[str, MeasurementSpec, str]],
    settings: InversionSettings,
) -> list[Beside]:
    """Matrices beside that of a question in float32.

    Args:
        question: in float32.
        others: a name, the same question perhaps on another device, and a precision.
        settings: of all inversions.
    """
    first, seconds = _made(question, settings, "float32")
    found = [Beside("float32", torch.zeros_like(first.stir), float(first.residual.mean()), 1.0)]
    for name, other, precision in others:
        second, taken = _made(other, settings, precision)
        delta = (second.stir - first.stir).abs()
        found.append(Beside(name, delta, float(second.residual.mean()), seconds / taken))
    return found


def _made(
    question: MeasurementSpec, settings: InversionSettings, precision: str
) -> tuple[Matrix, float]:
    # A first run chooses kernels.
    matrix(question, settings=replace(settings, iterations=2), precision=precision)
    return timed(
        question.images.device, lambda: matrix(question, settings=settings, precision=precision)
    )


def asked_of(
    pt: nn.Module, images: Tensor, start: Tensor, *, seed: int, device: torch.device
) -> MeasurementSpec:
    """STIR of a finetuned copy, given the model, in all layers, on a device."""
    ft = models.finetuned(pt, seed=seed)
    return MeasurementSpec(
        models.frozen(pt, device),
        models.frozen(ft, device),
        images.to(device),
        start.to(device),
        range(1, models.depth(pt) + 1),
    )


def told(name: str, found: Sequence[Beside]) -> str:
    """As a table."""
    rows = [
        (
            one.name,
            f"{one.delta.max():.1e}",
            f"{one.delta.mean():.1e}",
            f"{one.residual:.4f}",
            f"{one.ratio:.2f} x",
        )
        for one in found
    ]
    return f"{name}\n{table(('', 'max |dSTIR|', 'mean', 'residual', 'speed'), *rows)}"


def main(words: Sequence[str] | None = None) -> None:
    """Measure everything and say so."""
    chosen = options.read(parser(), words)
    on_gpu = chosen.device.type == "cuda"
    if on_gpu:
        print(f"{torch.cuda.get_device_name(chosen.device)}, torch {torch.__version__}")
    else:
        print("No GPU here: what needs none, on the CPU.")
    precisions = PRECISIONS if on_gpu else _of_this_cpu()
    for part in chosen.parts:
        print(f"\n== {part}")
        _PARTS[part](chosen, precisions)


def _of_this_cpu() -> tuple[str, ...]:
    """Float32, and bfloat16 where it has units for it: emulated it is a hundred times slower."""
    # By name: what torch says to support includes what it emulates.
    has = torch.cpu.get_capabilities()
    has_units = has.get("amx_bf16") or has.get("avx512_bf16")
    return ("float32", "bfloat16") if has_units else ("float32",)


def _parity(chosen: argparse.Namespace, _precisions: Sequence[str]) -> None:
    few = argparse.Namespace(**vars(chosen) | {"images": min(chosen.images, 8)})
    pt = options.module_of(few)
    images, start = options.images_of(few, pt)
    here, there = (
        asked_of(pt, images, start, seed=few.seed + 1, device=device)
        for device in (torch.device("cpu"), chosen.device)
    )
    settings = replace(DEFAULT, iterations=chosen.iterations)
    others = [(f"float32 on {chosen.device}", there, "float32")]
    print(told("Beside float32 on the CPU:", beside(here, others=others, settings=settings)))


def _precision(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    pt = options.module_of(chosen)
    images, start = options.images_of(chosen, pt)
    question = asked_of(pt, images, start, seed=chosen.seed + 1, device=chosen.device)
    others = [(precision, question, precision) for precision in precisions[1:]]
    settings = replace(DEFAULT, iterations=chosen.iterations)
    print(told("Beside float32, same noise:", beside(question, others=others, settings=settings)))


def _limit(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    module = options.module_of(chosen)
    images, start = options.images_of(chosen, module)
    for precision in precisions:
        layers = limit.measure(
            module,
            images=images,
            start=start,
            layers=range(1, models.depth(module) + 1),
            precision=precision,
            iterations=chosen.iterations,
        )
        print(limit.told(layers, precision))


def _peer(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    if importlib.util.find_spec("stir") is None:
        print("not installed: `pip install stir-invariance==0.0`")
        return
    pt = options.module_of(chosen)
    images, start = options.images_of(chosen, pt)
    against = peer.measure(
        pt,
        models.finetuned(pt, seed=chosen.seed + 1),
        images=images,
        start=start,
        precisions=precisions,
        iterations=chosen.iterations,
    )
    print(peer.told(against))


def _memory(chosen: argparse.Namespace, precisions: Sequence[str]) -> None:
    """Bytes at the peak of two steps in the last layer."""
    if chosen.device.type != "cuda":
        print("Bytes are counted on a GPU alone.")
        return
    module = options.module_of(chosen)
    images, start = options.images_of(chosen, module)
    model = models.frozen(module, chosen.device)
    images, start = images.to(chosen.device), start.to(chosen.device)
    represent = models.representation(model, layer=models.depth(module), pooling="tokens")
    total = torch.cuda.get_device_properties(chosen.device).total_memory
    for precision in precisions:
        settings = replace(DEFAULT, iterations=2, precision=Precision(precision))
        for count in sorted({1, min(8, len(images)), len(images)}):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(chosen.device)
            invert(represent, images=images[:count], start=start[:count], settings=settings)
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
    """Of its options."""
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
