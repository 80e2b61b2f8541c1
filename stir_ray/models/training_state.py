"""The state from which a training resumes, as safetensors, which cannot run code when read."""

import json
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from stir_ray.errors import CorruptArtifact

TIMM_NAMES = {"sgd": "momentum", "nesterov": "nesterov", "adam": "adam", "adamw": "adamw"}
"""timm's `sgd` has Nesterov momentum; the plain optimizer goes by `momentum` there."""
_METADATA = "resume"
"""One entry: safetensors writes several of them in any order, and bytes must not depend on it."""


@dataclass(frozen=True)
class ResumeState:
    """A training after an epoch; the weights are in that epoch's checkpoint.

    Order of the images, dropout and augmentation are drawn by seed and epoch, and the learning rate
    follows from the step: nothing else is needed.

    Attributes:
        rows: the record of every epoch so far, from epoch 0.
        batch_size: images that went through the model at once before any halving.
        halvings: of that number, for want of memory.
        optimizer: tensors by name.
    """

    rows: list[dict[str, Any]]
    batch_size: int | None
    halvings: int
    optimizer: dict[str, Tensor]

    @property
    def epoch(self) -> int:
        """The last epoch of the record."""
        return int(self.rows[-1]["epoch"])


def encode(state: ResumeState) -> bytes:
    """Return the state as a safetensors file whose metadata hold a JSON object."""
    described = {"batch_size": state.batch_size, "halvings": state.halvings, "rows": state.rows}
    metadata = json.dumps(described, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.contiguous() for name, tensor in state.optimizer.items()}
    return safetensors.torch.save(tensors, {_METADATA: metadata})


def decode(content: bytes, where: str) -> ResumeState:
    """Return the state in such a file.

    Raises:
        CorruptArtifact: if there is none.
    """
    try:
        tensors = safetensors.torch.load(content)
        # The JSON that begins a safetensors file, after its length in 8 bytes.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        described = json.loads(header["__metadata__"][_METADATA])
        return ResumeState(optimizer=tensors, **described)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(f"{where}: not a resume state ({error})") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return copies on the CPU of an optimizer's tensors, by `<weight>.<slot>`.

    For example `head.bias.exp_avg`. Rates are left out: they follow from the settings and the step.
    """
    names = _names(optimizer, module)
    return {
        f"{names[number]}.{slot}": value.detach().cpu().clone()
        for number, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Give a fresh optimizer of the same module the tensors of `optimizer_tensors`."""
    state: dict[int, dict[str, Any]] = {}
    numbers = {name: number for number, name in enumerate(_names(optimizer, module))}
    for key, value in tensors.items():
        name, _, slot = key.rpartition(".")
        state.setdefault(numbers[name], {})[slot] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def fits(tensors: dict[str, Tensor], module: nn.Module) -> bool:
    """Return whether an optimizer's tensors belong to weights of the module."""
    shapes = {name: weights.shape for name, weights in module.named_parameters()}
    owners = ((key.rpartition(".")[0], value) for key, value in tensors.items())
    return all(
        name in shapes and (value.ndim == 0 or value.shape == shapes[name])
        for name, value in owners
    )


def _names(optimizer: torch.optim.Optimizer, module: nn.Module) -> list[str]:
    """Return the names of the weights, in the order in which the optimizer numbers them."""
    names = {weights: name for name, weights in module.named_parameters()}
    return [names[weights] for group in optimizer.param_groups for weights in group["params"]]
