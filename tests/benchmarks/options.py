"""What every benchmark of inversions can be asked: which model, how many images, where."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stir_ray.numerics.optimization import initial_noise
from tests.benchmarks import models


def parser(
    description: str | None, *, model: str, arguments: str = "{}", images: int, gain: float = 1.0
) -> argparse.ArgumentParser:
    """A parser of the options that all have, with a benchmark's own defaults."""
    asked = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = "cuda" if torch.cuda.is_available() else "cpu"
    asked.add_argument("--model", default=model, help=f"timm name of a ViT ({model})")
    asked.add_argument("--arguments", type=_mapping, default=arguments, help="of it, as JSON")
    asked.add_argument("--weights", type=_file, help="safetensors file instead of random weights")
    asked.add_argument("--gain", type=float, default=gain, help=f"of random weights ({gain})")
    asked.add_argument("--images", type=int, default=images, help=f"number ({images})")
    asked.add_argument("--seed", type=int, default=0, help="of weights, images and noise")
    asked.add_argument("--device", type=torch.device, default=where, help=f"({where})")
    asked.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="of the CPU; fewer than it has cores if others compute on them too",
    )
    return asked


def read(asked: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for; from now on torch takes so many threads."""
    chosen = asked.parse_args(words)
    torch.set_num_threads(chosen.threads)
    return chosen


def module_of(asked: argparse.Namespace) -> nn.Module:
    """The model that was asked for, on the CPU."""
    if asked.weights:
        return models.load(asked.model, asked.weights, arguments=asked.arguments)
    return models.create(asked.model, seed=asked.seed, gain=asked.gain, arguments=asked.arguments)


def images_of(asked: argparse.Namespace, module: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and noise for a model, on the device; digits for a grey one."""
    shape = models.image_shape(module)
    grey = shape[0] == 1
    images = (
        models.digits(asked.images, size=shape[1])
        if grey
        else models.photograph_like(asked.images, shape=shape, seed=asked.seed)
    )
    noise = initial_noise(range(len(images)), seed=asked.seed, shape=shape)
    return images.to(asked.device), noise.to(asked.device)


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"`{text}` is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'`{text}` is no mapping; expected {{"img_size": 32}}')
    return found


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no file {path}")
    return path
