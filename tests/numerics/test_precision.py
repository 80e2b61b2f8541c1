"""In which precision images are searched for, and that nothing else is in it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from stir_ray.numerics.inversion import invert, relative_residual
from stir_ray.numerics.precision import fastest, matmul_precision, resolve_precision
from stir_ray.numerics.settings import DEFAULT, Precision
from stir_ray.numerics.similarity import cka_biased, linear_gram
from tests.tiny_models import representation

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    settings = replace(DEFAULT, iterations=2, precision=Precision.BFLOAT16)
    represent = representation(watched, layer=2)
    found = invert(represent, images=images, start=start, settings=settings)
    assert seen == {torch.bfloat16}
    assert found.images.dtype == found.residual.dtype == torch.float32
    seen.clear()
    # What is measured of the images is of float32 again.
    relative_residual(represent, images=images, inverted=found.images)
    assert seen == {torch.float32}


def test_float64_images_are_searched_for_in_float64(images: Tensor) -> None:
    assert resolve_precision(Precision.BFLOAT16, images.double()) is Precision.FLOAT32
    assert resolve_precision(Precision.AUTO, images.double()) is Precision.FLOAT32


def test_a_precision_that_is_named_is_taken(images: Tensor) -> None:
    for precision in set(Precision) - {Precision.AUTO}:
        assert resolve_precision(precision, images) is precision


@pytest.mark.parametrize("unit", ["amx_bf16", "avx512_bf16", "avx512_f"])
def test_auto_is_float32_on_any_cpu(
    monkeypatch: pytest.MonkeyPatch, images: Tensor, unit: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True})
    assert fastest(CPU) is resolve_precision(Precision.AUTO, images) is Precision.FLOAT32


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


BACKENDS: Any = torch.backends
SET = {
    "cuda products": BACKENDS.cuda.matmul,
    "cuda convolutions": BACKENDS.cudnn.conv,
    "cpu products": BACKENDS.mkldnn.matmul,
    "cpu convolutions": BACKENDS.mkldnn.conv,
}
"""What computes float32 products, and may do so less precisely."""


def told() -> dict[str, str]:
    """The precision that is in force for each."""
    return {name: backend.fp32_precision for name, backend in SET.items()}


@pytest.fixture(autouse=True)
def as_torch_has_them() -> Iterator[None]:
    """All precisions are torch's own again when a test ends."""
    yield
    for backend in (BACKENDS, *SET.values()):
        backend.fp32_precision = "none"
    BACKENDS.cuda.matmul.allow_tf32 = False
    BACKENDS.cudnn.allow_tf32 = True


EXACT = dict.fromkeys(SET, "ieee")
# No CPU has units of TF32.
TF32 = EXACT | {"cuda products": "tf32", "cuda convolutions": "tf32"}


def test_tf32_is_of_gpus_and_only_meanwhile() -> None:
    before = told()
    with matmul_precision(Precision.TF32):
        assert told() == TF32
        with matmul_precision(Precision.FLOAT32):
            assert told() == EXACT
        assert told() == TF32
    assert told() == before


@pytest.mark.parametrize("name", SET)
def test_products_that_somebody_made_less_precise_are_exact_meanwhile(
    name: str,
) -> None:
    SET[name].fp32_precision = "tf32"
    before = told()
    assert before[name] == "tf32"
    with matmul_precision(Precision.FLOAT32):
        assert told() == EXACT
    assert told() == before


@pytest.mark.parametrize("everywhere", ["tf32", "bf16", "ieee"])
def test_what_is_set_for_all_is_overruled_meanwhile_and_holds_again_after(
    everywhere: str,
) -> None:
    BACKENDS.fp32_precision = everywhere
    before = told()
    for precision, expected in ((Precision.FLOAT32, EXACT), (Precision.TF32, TF32)):
        with matmul_precision(precision):
            assert told() == expected
        assert told() == before
    # Products of CPUs were not given one of their own: they follow the next choice too.
    BACKENDS.fp32_precision = "tf32"
    assert told()["cpu products"] == told()["cpu convolutions"] == "tf32"


def test_precisions_are_as_before_when_work_fails() -> None:
    BACKENDS.cuda.matmul.fp32_precision = "tf32"
    before = told()
    with pytest.raises(ZeroDivisionError), matmul_precision(Precision.FLOAT32):
        raise ZeroDivisionError
    assert told() == before


@pytest.mark.parametrize("allowed", [True, False])
def test_the_older_flags_can_be_read_after(*, allowed: bool) -> None:
    BACKENDS.cuda.matmul.allow_tf32 = BACKENDS.cudnn.allow_tf32 = allowed
    with matmul_precision(Precision.FLOAT32):
        pass
    assert BACKENDS.cuda.matmul.allow_tf32 is allowed
    assert BACKENDS.cudnn.allow_tf32 is allowed


def test_products_of_a_cpu_are_bitwise_those_of_float32() -> None:
    left, right = torch.randn(307, 401), torch.randn(401, 503)
    expected = left @ right
    BACKENDS.mkldnn.matmul.fp32_precision = "bf16"
    with matmul_precision(Precision.FLOAT32):
        assert torch.equal(left @ right, expected)


def test_no_product_is_in_auto() -> None:
    with (
        pytest.raises(ValueError, match="`auto` is no precision"),
        matmul_precision(Precision.AUTO),
    ):
        pass
