"""State dicts: read and written as files, loaded into models, and identified by digests."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from stir_ray.errors import ModelError
from stir_ray.identity import bytes_digest, canonical_json
from stir_ray.models.architectures import build, normalization
from stir_ray.models.features import FrozenModel

if TYPE_CHECKING:
    from stir_ray.job import Architecture

DECODER = "reconstruction_decoder"
"""Prefix of the names of a reconstruction's decoder, which `load` leaves out."""
_TORCH_HEADERS = (b"PK\x03\x04", b"\x80\x02\x8a\n")
"""Of `torch.save`: a zip archive, or a pickle before torch 1.6. A safetensors file that began so
would have a header of 67 MB and more."""
_NESTED = ("state_dict", "model_state_dict", "model")
"""Under which training scripts save the weights, next to those of their optimizer."""


def freeze(module: nn.Module, architecture: Architecture, device: torch.device) -> FrozenModel:
    """Return the module on `device`, in evaluation mode and without gradients of its weights."""
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
        for values in normalization(architecture, module)
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
    if content.startswith(_TORCH_HEADERS):
        state = _decode_torch(content, where)
    else:
        try:
            state = safetensors.torch.load(content)
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"{where}: not a whole safetensors file ({error})") from None
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{where}: tensor `{name}` holds NaN or infinity")
    return state


def _decode_torch(content: bytes, where: str) -> dict[str, Tensor]:
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
    state = saved
    if isinstance(saved, dict):
        state = next((saved[name] for name in _NESTED if name in saved), saved)
    if not isinstance(state, dict) or not all(isinstance(item, Tensor) for item in state.values()):
        raise ModelError(
            f"{where}: no state dict of tensors, neither whole nor under "
            f"{', '.join(f'`{name}`' for name in _NESTED)}; save `model.state_dict()`"
        )
    # DistributedDataParallel puts `module.` before every name.
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def load(state: Mapping[str, Tensor], architecture: Architecture, where: str) -> nn.Module:
    """Return the architecture with these weights, its classifier as wide as theirs.

    Raises:
        ModelError: naming the tensors that are missing, unknown or of another shape.
    """
    state = {name: tensor for name, tensor in state.items() if not _is_in(DECODER, name)}
    model = build(architecture, classes=count_classes(state, architecture))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is unknown" for name in state if name not in expected]
    problems += [
        f"{name} is {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if shapes.get(name, shape) != shape
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"{where}: does not fit `{architecture.timm}`: {'; '.join(problems[:3])}{more}"
        )
    model.load_state_dict(state)
    return model


def weights_digest(state: Mapping[str, Tensor], architecture: Architecture) -> str:
    """Return the digest of architecture and block weights.

    Classifier and decoder are left out: they come after every block, so a pretrained model with a
    new classifier is still that model, and shares its inversions.
    """
    ends = (_classifier(architecture), DECODER)
    blocks = {
        name: tensor for name, tensor in state.items() if not any(_is_in(end, name) for end in ends)
    }
    return checkpoint_digest(blocks, architecture)


def checkpoint_digest(state: Mapping[str, Tensor], architecture: Architecture) -> str:
    """Return the digest of architecture and all weights, classifier and decoder included."""

    def pieces() -> Iterator[bytes]:
        yield canonical_json(architecture.model_dump(mode="json")).encode()
        for name in sorted(state):
            tensor = state[name].detach().cpu().contiguous()
            yield canonical_json([name, str(tensor.dtype), list(tensor.shape)]).encode()
            yield tensor.flatten().view(torch.uint8).numpy().tobytes()

    return bytes_digest(pieces())


def count_classes(state: Mapping[str, Tensor], architecture: Architecture) -> int:
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


def _is_in(submodule: str, name: str) -> bool:
    return name.startswith(f"{submodule}.")


def _classifier(architecture: Architecture) -> str:
    name = architecture.timm.split(":")[-1]
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    classifier = getattr(config, "classifier", None) or "head"
    return classifier if isinstance(classifier, str) else classifier[0]
