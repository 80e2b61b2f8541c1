"""In which precision images are searched for, and that nothing else is in it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from stir_ray.numerics.inversion import invert, relative_residual
from stir_ray.numerics.precision import fastest, products_in, resolved
from stir_ray.numerics.settings import DEFAULT, Precision
from stir_ray.numerics.similarity import cka_biased, linear_gram
from tests.tiny_models import representation

if TYPE_CHECKING:
    from timm.models import VisionTransformer
    from torch import Tensor

CPU = torch.device("cpu")


@pytest.mark.parametrize("layer", [1, 6, 12])
def test_bfloat16_and_float32_inversions_fool_alike(
    pretrained: VisionTransformer,
    finetuned: VisionTransformer,
    images: Tensor,
    start: Tensor,
    layer: int,
) -> None:
    inverted_by = representation(pretrained, layer=layer)
    seen_by = representation(finetuned, layer=layer)

    def stir(precision: Precision) -> float:
        settings = replace(DEFAULT, precision=precision)
        found = invert(inverted_by, images=images, start=start, settings=settings)
        return cka_biased(linear_gram(seen_by(images)), linear_gram(seen_by(found.images)))

    # The limit within which `auto` may choose.
    assert stir(Precision.BFLOAT16) == pytest.approx(stir(Precision.FLOAT32), abs=5e-3)


def test_bfloat16_reaches_the_models_products(
    pretrained: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    seen: set[torch.dtype] = set()
    watched = copy.deepcopy(pretrained)
    first = watched.get_submodule("blocks.0.mlp.fc1")
    first.register_forward_hook(lambda *given: seen.add(given[2].dtype))
    settings = replace(DEFAULT, iterations=1, precision=Precision.BFLOAT16)
    represent = representation(watched, layer=2)
    found = invert(represent, images=images, start=start, settings=settings)
    assert seen == {torch.bfloat16}
    assert found.images.dtype == found.residual.dtype == torch.float32
    seen.clear()
    # What is measured of the images is of float32 again.
    relative_residual(represent, images=images, inverted=found.images)
    assert seen == {torch.float32}


def test_float64_images_are_searched_for_in_float64(images: Tensor) -> None:
    assert resolved(Precision.BFLOAT16, images.double()) is Precision.FLOAT32
    assert resolved(Precision.AUTO, images.double()) is Precision.FLOAT32


def test_a_precision_that_is_named_is_taken(images: Tensor) -> None:
    for precision in set(Precision) - {Precision.AUTO}:
        assert resolved(precision, images) is precision


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16", "avx512_f"])
def test_auto_is_float32_on_any_cpu(
    monkeypatch: pytest.MonkeyPatch, images: Tensor, unit: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True})
    assert fastest(CPU) is resolved(Precision.AUTO, images) is Precision.FLOAT32


@pytest.mark.parametrize(
    ("has_units", "expected"), [(True, Precision.BFLOAT16), (False, Precision.FLOAT32)]
)
def test_auto_is_bfloat16_on_a_gpu_that_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, *, has_units: bool, expected: Precision
) -> None:
    def supported(*, including_emulation: bool) -> bool:
        return has_units or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert fastest(torch.device("cuda")) is expected


def test_tf32_is_allowed_only_meanwhile() -> None:
    def allowed() -> tuple[object, object]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = allowed()
    with products_in(Precision.TF32):
        assert allowed() == (True, True)
        with products_in(Precision.FLOAT32):
            assert allowed() == (False, False)
        assert allowed() == (True, True)
    assert allowed() == before


def test_no_product_is_in_auto() -> None:
    with pytest.raises(ValueError, match="`auto` is no precision"), products_in(Precision.AUTO):
        pass
