"""The published curves of Merlin et al. 2023 on CIFAR-10, digitised from its figures."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

HERE = Path(__file__).parent
PRINTED = HERE.parents[1] / "jobs" / "paper" / "reference.json"
LAYERS = range(1, 13)


@cache
def curves() -> dict[str, Float[NDArray, "epoch layer"]]:
    """Forgetting, learning and CKA divergence of 100 epochs and 12 layers."""
    table = HERE / "paper_cifar10_dynamics.csv"
    names = table.read_text().splitlines()[0].split(",")[2:]
    rows = np.loadtxt(table, delimiter=",", skiprows=1)
    ordered = rows[np.lexsort((rows[:, 1], rows[:, 0]))].reshape(100, 12, -1)
    return {name: ordered[:, :, 2 + column] for column, name in enumerate(names)}


@cache
def accuracy() -> Float[NDArray, "severity epoch"]:
    """Accuracy on CIFAR-10-C at severities 1 to 5; row 0 is the clean one."""
    rows = np.loadtxt(HERE / "paper_cifar10_accuracy.csv", delimiter=",", skiprows=1)
    return rows[np.lexsort((rows[:, 0], rows[:, 1])), 2].reshape(6, 100)


@cache
def printed() -> dict:
    """Figures 2 to 5 and 14, by name."""
    return json.loads(PRINTED.read_text())
