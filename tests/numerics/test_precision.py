"""The precision of an inversion, and that no other product is computed in it."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.models import VisionTransformer
from torch import Tensor

from stir_ray.numerics.inversion import invert
from stir_ray.numerics.precision import fastest, matmul_precision, resolve_precision
from stir_ray.numerics.settings import DEFAULT, Precision
from stir_ray.numerics.similarity import cka_biased, linear_gram
from tests.tiny_models import representation

CPU = torch.device("cpu")


def test_stir_is_the_same_in_bfloat16_and_float32(
    pretrained: VisionTransformer, finetuned: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    inverted_by = representation(pretrained, layer=6)
    seen_by = representation(finetuned, layer=6)

    def stir(precision: Precision) -> float:
        settings = replace(DEFAULT, precision=precision, iterations=200)
        inverted = invert(inverted_by, images=images, start=start, settings=settings).images
        return cka_biased(linear_gram(seen_by(images)), linear_gram(seen_by(inverted)))

    # The limit within which `auto` may choose.
    assert stir(Precision.BFLOAT16) == pytest.approx(stir(Precision.FLOAT32), abs=5e-3)


def test_bfloat16_reaches_the_models_products_during_inversion_alone(
    pretrained: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    dtypes: set[torch.dtype] = set()
    model = copy.deepcopy(pretrained)
    model.get_submodule("blocks.0.mlp.fc1").register_forward_hook(
        lambda *arguments: dtypes.add(arguments[2].dtype)
    )
    settings = replace(DEFAULT, iterations=2, precision=Precision.BFLOAT16)
    represent = representation(model, layer=2)
    result = invert(represent, images=images, start=start, settings=settings)
    assert dtypes == {torch.bfloat16}
    assert result.images.dtype == result.residual.dtype == torch.float32
    dtypes.clear()
    represent(result.images)
    assert dtypes == {torch.float32}


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
KINDS = {
    "cuda products": BACKENDS.cuda.matmul,
    "cuda convolutions": BACKENDS.cudnn.conv,
    "cpu products": BACKENDS.mkldnn.matmul,
    "cpu convolutions": BACKENDS.mkldnn.conv,
}
EXACT = dict.fromkeys(KINDS, "ieee")
# No CPU has units of TF32.
TF32 = EXACT | {"cuda products": "tf32", "cuda convolutions": "tf32"}


def in_force() -> dict[str, str]:
    """The precision of each kind of products."""
    return {name: backend.fp32_precision for name, backend in KINDS.items()}


@pytest.fixture(autouse=True)
def torch_defaults() -> Iterator[None]:
    """All precisions are torch's own again when a test ends."""
    yield
    for backend in (BACKENDS, *KINDS.values()):
        backend.fp32_precision = "none"
    BACKENDS.cuda.matmul.allow_tf32 = False
    BACKENDS.cudnn.allow_tf32 = True


def check_restored() -> None:
    """Both precisions are in force inside, nested too, and gone after, also after an error."""
    before = in_force()
    with matmul_precision(Precision.TF32):
        assert in_force() == TF32
        with matmul_precision(Precision.FLOAT32):
            assert in_force() == EXACT
        assert in_force() == TF32
    assert in_force() == before
    with pytest.raises(ZeroDivisionError), matmul_precision(Precision.FLOAT32):
        raise ZeroDivisionError
    assert in_force() == before


@pytest.mark.parametrize("name", [None, *KINDS])
def test_a_precision_is_in_force_inside_and_the_former_one_after(name: str | None) -> None:
    if name:
        KINDS[name].fp32_precision = "tf32"
        assert in_force()[name] == "tf32"
    check_restored()


@pytest.mark.parametrize("precision", ["tf32", "bf16", "ieee"])
def test_a_precision_of_all_backends_holds_again_after(precision: str) -> None:
    BACKENDS.fp32_precision = precision
    check_restored()
    # Products of CPUs have got no value of their own: they follow the next one of all too.
    BACKENDS.fp32_precision = "tf32"
    assert in_force()["cpu products"] == in_force()["cpu convolutions"] == "tf32"


def test_products_of_a_cpu_are_bitwise_those_of_float32() -> None:
    left, right = torch.randn(307, 401), torch.randn(401, 503)
    expected = left @ right
    BACKENDS.mkldnn.matmul.fp32_precision = "bf16"
    with matmul_precision(Precision.FLOAT32):
        assert torch.equal(left @ right, expected)
