"""Seeds for libraries that draw from torch's global random generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CPU = torch.device("cpu")


@contextmanager
def seeded_rng(seed: int, device: torch.device = _CPU) -> Iterator[None]:
    """Seed the global generators of the CPU and of `device`, and restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        reseed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def reseed(seed: int) -> None:
    """Seed the CPU's global generator; to be used within `seeded_rng` alone."""
    torch.default_generator.manual_seed(seed)
