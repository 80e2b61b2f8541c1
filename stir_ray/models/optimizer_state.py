"""An optimiser's own tensors by the names of the weights that they belong to."""

from typing import Any

import torch
from torch import Tensor, nn

TIMM_NAMES = {"sgd": "momentum", "nesterov": "nesterov", "adam": "adam", "adamw": "adamw"}
"""timm's `sgd` has Nesterov momentum; the plain one goes by `momentum` there."""


def state_of(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Copies of its tensors on the CPU, by `<weight>.<what it is>`, e.g. `head.bias.exp_avg`.

    Rates are left out: they follow from the settings and the step.
    """
    names = _names(optimizer, module)
    return {
        f"{names[number]}.{slot}": value.detach().cpu().clone()
        for number, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Give a fresh optimiser of the same module the tensors that `state_of` found."""
    state: dict[int, dict[str, Any]] = {}
    numbers = {name: number for number, name in enumerate(_names(optimizer, module))}
    for key, value in tensors.items():
        name, _, slot = key.rpartition(".")
        state.setdefault(numbers[name], {})[slot] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def fit(tensors: dict[str, Tensor], module: nn.Module) -> bool:
    """Whether the tensors belong to weights of the module."""
    shapes = {name: weights.shape for name, weights in module.named_parameters()}
    owners = ((key.rpartition(".")[0], value) for key, value in tensors.items())
    return all(
        name in shapes and (value.ndim == 0 or value.shape == shapes[name])
        for name, value in owners
    )


def _names(optimizer: torch.optim.Optimizer, module: nn.Module) -> list[str]:
    """Of its weights, in the order in which it numbers them."""
    names = {weights: name for name, weights in module.named_parameters()}
    return [names[weights] for group in optimizer.param_groups for weights in group["params"]]
