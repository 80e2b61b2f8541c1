"""Checkpoints: files of weights, frozen models, and the digests that identify them."""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from stir_ray.errors import ModelError
from stir_ray.identity import bytes_digest, canonical_json
from stir_ray.job import Architecture
from stir_ray.models.architectures import build, normalisation

DECODER = "reconstruction_decoder"
"""Prefix of the names of a reconstruction's decoder, which `load` leaves out."""

_OF_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\n")
"""Begin the files of `torch.save`: a zip archive, or a pickle before torch 1.6. A safetensors file
that began so would have a header of 67 MB and more."""
_STATES = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """A model in evaluation mode, without gradients of its weights.

    Attributes:
        module: the timm model.
        mean: shape (1, channel, 1, 1), subtracted from images in [0, 1].
        std: of the same shape, divided by afterwards.
    """

    module: nn.Module
    mean: Tensor
    std: Tensor

    def normalised(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] as the module takes them."""
        return (images - self.mean) / self.std


def freeze(module: nn.Module, architecture: Architecture, device: torch.device) -> FrozenModel:
    """Return the module on `device`, in evaluation mode and without gradients of its weights."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
        for values in normalisation(architecture, module)
    )
    return FrozenModel(module.to(device).eval().requires_grad_(False), mean, std)


def encode(state: Mapping[str, Tensor]) -> bytes:
    """Return a state dict as a safetensors file."""
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in state.items()})


def decode(content: bytes, where: str) -> dict[str, Tensor]:
    """Return the state dict of a safetensors file, or of a file that `torch.save` wrote.

    Raises:
        ModelError: if it is truncated, of another format or no state dict, can only be read by
            running code that it holds, or holds NaN or infinity.
    """
    if content.startswith(_OF_TORCH):
        state = _of_torch(content, where)
    else:
        state = _of_safetensors(content, where)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{where}: tensor `{name}` holds NaN or infinity")
    return state


def _of_safetensors(content: bytes, where: str) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{where}: not a whole safetensors file ({error})") from None


def _of_torch(content: bytes, where: str) -> dict[str, Tensor]:
    try:
        # Tensors and plain containers alone: other pickled objects could run code.
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{where}: holds more than tensors, and reading it could run code; save its weights "
            "alone: `torch.save(model.state_dict(), ...)`, or as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{where}: not a whole file of torch ({reason[:80]})") from None
    # Training scripts save the weights next to their optimizer, under one of these names.
    nested = (saved[name] for name in _STATES if isinstance(saved, dict) and name in saved)
    state = next(nested, saved)
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise ModelError(
            f"{where}: no state dict of tensors, neither whole nor under "
            f"{', '.join(f'`{name}`' for name in _STATES)}; save `model.state_dict()`"
        )
    # DistributedDataParallel puts `module.` before every name.
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def load(state: Mapping[str, Tensor], architecture: Architecture, where: str) -> nn.Module:
    """Return the architecture with these weights, its classifier as wide as theirs.

    Raises:
        ModelError: naming the tensors that are missing, unknown or of another shape.
    """
    state = {name: tensor for name, tensor in state.items() if not _is_of(DECODER, name)}
    model = build(architecture, classes=classes(state, architecture))
    expected = model.state_dict()
    problems = [
        *(f"{name} is missing" for name in expected if name not in state),
        *(f"{name} is unknown" for name in state if name not in expected),
        *(
            f"{name} is {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ),
    ]
    if problems:
        shown = "; ".join(problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(f"{where}: does not fit `{architecture.timm}`: {shown}{more}")
    model.load_state_dict(state)
    return model


def weights_digest(state: Mapping[str, Tensor], architecture: Architecture) -> str:
    """Return the digest of architecture and block weights.

    Classifier and decoder are left out: they come after every block, so a pretrained model with a
    new classifier is still that model, and shares its inversions.
    """
    ends = (_classifier(architecture), DECODER)
    blocks = {
        name: tensor for name, tensor in state.items() if not any(_is_of(end, name) for end in ends)
    }
    return checkpoint_digest(blocks, architecture)


def checkpoint_digest(state: Mapping[str, Tensor], architecture: Architecture) -> str:
    """Return the digest of architecture and all weights, classifier and decoder included."""
    described = canonical_json(architecture.model_dump(mode="json")).encode()

    def pieces(name: str) -> tuple[bytes, bytes]:
        tensor = state[name].detach().cpu().contiguous()
        shape = canonical_json([name, str(tensor.dtype), list(tensor.shape)]).encode()
        return shape, tensor.flatten().view(torch.uint8).numpy().tobytes()

    return bytes_digest([described, *(piece for name in sorted(state) for piece in pieces(name))])


def classes(state: Mapping[str, Tensor], architecture: Architecture) -> int:
    """Return the number of classes of a state dict's classifier; 0 if it has none."""
    head = f"{_classifier(architecture)}.weight"
    return len(state[head]) if head in state else 0


def download(name: str) -> dict[str, Tensor]:
    """Return the weights that timm's hub has under `name`.

    Raises:
        ModelError: if timm knows no such weights or they cannot be fetched.
    """
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"timm weights `{name}`: cannot be downloaded: {reason[:300]}") from None


def _is_of(submodule: str, name: str) -> bool:
    return name.startswith(f"{submodule}.")


def _classifier(architecture: Architecture) -> str:
    name = timm.get_pretrained_cfg(architecture.timm.split(":")[-1], allow_unregistered=True)
    classifier = getattr(name, "classifier", None) or "head"
    return classifier if isinstance(classifier, str) else classifier[0]
