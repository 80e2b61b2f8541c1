"""Laws of state dicts: whole files only, and a digest that is the model as its blocks see."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.architectures import build
from stir_ray.models.state_dicts import decode, encode, freeze, load, weights_digest
from tests.models.tiny import CPU, RESNET, UNITS, VIT, images, same, vit

State = dict[str, Tensor]
WHERE = "s3://bucket/epoch=3.safetensors"
NORM = "blocks.1.norm1.weight"


def weights(architecture: Architecture = VIT, *, classes: int = 3, seed: int = 5) -> State:
    """The random weights of a seed."""
    return dict(build(architecture, classes=classes, seed=seed).state_dict())


@pytest.mark.parametrize("architecture", [VIT, RESNET], ids=["vit", "resnet"])
def test_weights_are_read_as_they_were_written(architecture: Architecture) -> None:
    state = weights(architecture) | {"transposed": torch.arange(15.0).reshape(3, 5).T}
    decoded = decode(encode(state), WHERE)
    assert same(decoded, state)
    assert all(decoded[name].dtype == state[name].dtype for name in state)
    assert weights_digest(decoded, architecture) == weights_digest(state, architecture)


@pytest.mark.parametrize("classes", [0, 3, 7])
def test_a_loaded_model_computes_what_the_saved_one_did(classes: int) -> None:
    model = build(VIT, classes=classes, seed=5).eval()
    loaded = load(decode(encode(model.state_dict()), WHERE), VIT, WHERE).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images(5)), model(images(5)))


def test_every_bit_of_the_backbone_is_part_of_the_digest() -> None:
    state = weights()
    digest = weights_digest(state, VIT)
    for name in set(state) - {"head.weight", "head.bias"}:
        # The last bit of the last number, and nothing else.
        changed = state[name].clone()
        last = changed.view(torch.int32).flatten()[-1:]
        last ^= 1
        assert weights_digest(state | {name: changed}, VIT) != digest, name


@pytest.mark.parametrize(("architecture", "classifier"), [(VIT, "head"), (RESNET, "fc")])
def test_the_classifier_is_no_part_of_the_digest(
    architecture: Architecture, classifier: str
) -> None:
    state = weights(architecture)
    backbone = {name: value for name, value in state.items() if classifier not in name}
    assert len(backbone) == len(state) - 2
    wider = {f"{classifier}.weight": torch.ones(7, 5), f"{classifier}.bias": torch.ones(7)}
    digests = {weights_digest(each, architecture) for each in (state, backbone, backbone | wider)}
    assert len(digests) == 1


def without(state: State, name: str) -> State:
    """The state without one tensor."""
    return {key: value for key, value in state.items() if key != name}


def test_names_types_shapes_and_architecture_are_part_of_the_digest_and_order_is_not() -> None:
    state = weights()
    changed = [
        without(state, NORM),
        without(state, NORM) | {"blocks.9.norm1.weight": state[NORM]},
        state | {NORM: state[NORM].double()},
        state | {NORM: state[NORM].reshape(4, 4)},
        state | {NORM: torch.zeros(UNITS)},
    ]
    # One head more sees another image with the same weights.
    others = [vit(num_heads=4), VIT.model_copy(update={"mean": (0.3,)})]
    digests = [weights_digest(each, VIT) for each in (state, *changed)]
    digests += [weights_digest(state, other) for other in others]
    assert len(set(digests)) == len(digests)
    assert weights_digest(dict(reversed(state.items())), VIT) == digests[0]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda state: without(state, NORM), [f"{NORM} is missing"]),
        (lambda state: state | {"extra": torch.ones(3)}, ["extra is unknown"]),
        (lambda state: state | {NORM: torch.ones(5)}, [NORM, "(5,)", "expected (16,)"]),
        (lambda state: without(state, "head.bias"), ["head.bias is missing"]),
        (lambda state: without(state, "head.weight"), ["head.bias is unknown"]),
        (lambda _: {}, ["cls_token is missing", "more"]),
        (lambda _: weights(vit(depth=2)), ["blocks.2", "is missing"]),
        (lambda _: weights(vit(depth=4)), ["blocks.3", "is unknown"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    change: Callable[[State], State], parts: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        load(change(weights()), VIT, WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: does not fit `vit_tiny_patch16_224`: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


def saved(content: Any, *, is_zip: bool = True) -> bytes:
    """A file of `torch.save`."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


@pytest.mark.parametrize("write", [encode, saved])
def test_a_truncated_file_is_refused(write: Callable[[Any], bytes]) -> None:
    content = write(weights())
    for length in (0, 5, 100, 997, len(content) // 2, *range(len(content) - 5, len(content))):
        with pytest.raises(ModelError, match=WHERE) as caught:
            decode(content[:length], WHERE)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle", b"<Error/>" * 13, b"\0" * 64])
def test_what_is_no_file_of_weights_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=f"{WHERE}: not a whole (safetensors file|file of torch)"):
        decode(content, WHERE)


@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_a_model_that_diverged_is_refused_by_the_name_of_its_tensor(value: float) -> None:
    state = weights()
    state[NORM] = state[NORM].clone()
    state[NORM][11] = value
    with pytest.raises(ModelError, match=rf"{WHERE}: tensor `{NORM}` holds NaN or infinity"):
        decode(encode(state), WHERE)


def test_a_frozen_model_neither_learns_nor_drops() -> None:
    model = freeze(build(vit(drop_rate=0.5), classes=3), VIT, CPU)
    assert not model.module.training
    assert not any(weight.requires_grad for weight in model.module.parameters())
    assert model.mean.shape == model.std.shape == (1, 1, 1, 1)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("under", ["", "state_dict", "model_state_dict", "model"])
def test_a_file_of_torch_is_the_model_that_its_safetensors_file_is(
    under: str, *, is_zip: bool
) -> None:
    state = weights()
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    for inner in (state, parallel):
        whole = {under: inner, "epoch": 7, "optimizer": {"lr": 0.1}} if under else inner
        assert same(decode(saved(whole, is_zip=is_zip), WHERE), state)


class Harmful:
    """What a pickle can do to who reads it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_file_of_torch_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_zip: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    content = saved({"model": Harmful()}, is_zip=is_zip)
    with pytest.raises(ModelError, match=r"^file: .*could run code; save its weights") as caught:
        decode(content, "file")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [7, [torch.ones(2)], {"state_dict": {"weight": 3}}])
def test_a_file_of_torch_without_a_state_dict_is_refused(content: Any) -> None:
    with pytest.raises(ModelError, match="file: no state dict"):
        decode(saved(content), "file")
