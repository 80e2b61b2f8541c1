"""What a training goes on from: encoded as safetensors, which cannot run code when it is read."""

import json
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from stir_ray.errors import CorruptPart

_METADATA = "resume"
"""One entry: safetensors writes several of them in any order, and bytes must not depend on it."""


@dataclass(frozen=True)
class ResumeState:
    """A training after an epoch; the weights are in that epoch's checkpoint.

    Order of the images, dropout and augmentation are drawn by seed and epoch, and the learning rate
    follows from the step: there is nothing else to know.

    Attributes:
        rows: of the training's record, of every epoch that is over, from epoch 0.
        halvings: of the images that go through the model at once, known to be needed.
        optimizer: its tensors by name.
        fitting: images that went through the model at once before any halving; None if all did.
    """

    rows: list[dict[str, Any]]
    halvings: int
    optimizer: dict[str, Tensor]
    fitting: int | None = None

    @property
    def epoch(self) -> int:
        """The last one that is over."""
        return int(self.rows[-1]["epoch"])


def encode(state: ResumeState) -> bytes:
    """Tensors and, as metadata, a JSON object."""
    described = {"fitting": state.fitting, "halvings": state.halvings, "rows": state.rows}
    said = json.dumps(described, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.contiguous() for name, tensor in state.optimizer.items()}
    return safetensors.torch.save(tensors, {_METADATA: said})


def decode(content: bytes, where: str) -> ResumeState:
    """The state of an encoded one.

    Raises:
        CorruptPart: if it is none.
    """
    try:
        tensors = safetensors.torch.load(content)
        said = json.loads(_header(content)["__metadata__"][_METADATA])
        # A training begun before slices were predicted took whole batches.
        return ResumeState(said["rows"], said["halvings"], tensors, said.get("fitting"))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptPart(f"{where}: not a resume state ({error})") from None


def _header(content: bytes) -> dict[str, Any]:
    """The JSON that begins a safetensors file, after its length in 8 bytes."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])
