"""What every benchmark of inversions can be asked, and how it prints: models, images, seconds."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stir_ray.numerics.inversion import Inversion, invert
from stir_ray.numerics.optimization import initial_noise
from stir_ray.numerics.settings import InversionSettings, Precision
from tests.benchmarks import models

PRECISIONS = tuple(kind.value for kind in Precision if kind is not Precision.AUTO)
Made = TypeVar("Made")


def parser(
    description: str | None, *, model: str, arguments: str = "{}", images: int, gain: float = 1.0
) -> argparse.ArgumentParser:
    """A parser of the options that all have, with a benchmark's own defaults."""
    asked = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    asked.add_argument("--model", default=model, help=f"timm name of a ViT ({model})")
    asked.add_argument("--arguments", type=json.loads, default=arguments, help="of it, as JSON")
    asked.add_argument("--gain", type=float, default=gain, help=f"of random weights ({gain})")
    asked.add_argument("--images", type=int, default=images, help=f"number ({images})")
    asked.add_argument("--seed", type=int, default=0, help="of weights, images and noise")
    asked.add_argument("--device", type=torch.device, default=device, help=f"({device})")
    asked.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    return asked


def read(asked: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for; from now on torch takes so many threads."""
    chosen = asked.parse_args(words)
    torch.set_num_threads(chosen.threads)
    return chosen


def subject(asked: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor]:
    """The model that was asked for, on the CPU, and images and noise for it, on the device."""
    module = models.create(asked.model, seed=asked.seed, gain=asked.gain, arguments=asked.arguments)
    shape = models.image_shape(module)
    images = models.photograph_like(asked.images, shape=shape, seed=asked.seed)
    noise = initial_noise(range(len(images)), seed=asked.seed, shape=shape)
    return module, images.to(asked.device), noise.to(asked.device)


def invert_in(
    precision: str,
    represent: Callable[[Tensor], Tensor],
    *,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> Inversion:
    """As `invert`, in one of `PRECISIONS`: `auto` would be another on another device."""
    settings = replace(settings, precision=Precision(precision))
    return invert(represent, images=images, start=start, settings=settings)


def timed(device: torch.device, make: Callable[[], Made]) -> tuple[Made, float]:
    """What is made, and the seconds until the device has finished it."""
    _finish(device)
    start = time.perf_counter()
    made = make()
    _finish(device)
    return made, time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(*rows: Sequence[Any]) -> str:
    """Rows as aligned columns; the first holds their names."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(value.rjust(width) for value, width in zip(row, widths, strict=True))
        for row in cells
    )
