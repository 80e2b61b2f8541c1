"""Random numbers by a seed of their own, where a library draws from torch's global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CPU = torch.device("cpu")


@contextmanager
def seeded_rng(seed: int, device: torch.device = _CPU) -> Iterator[None]:
    """Whatever is drawn meanwhile, on the CPU and on `device`, comes from `seed`.

    Afterwards the global generators are as if nothing had been drawn.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        reseed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def reseed(seed: int) -> None:
    """Draw from `seed` on, on the CPU; within `seeded_rng` alone."""
    torch.default_generator.manual_seed(seed)
