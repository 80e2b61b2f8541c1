"""Laws of checkpoints: whole files only, and a digest that is the model as its blocks see."""

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
from tests.models.tiny import CPU, UNITS, VIT, images, vit

State = dict[str, Tensor]
WHERE = "s3://bucket/epoch=3.safetensors"
RESNET = Architecture(timm="resnet18", arguments={"in_chans": 1})


def weights(architecture: Architecture = VIT, *, classes: int = 3, seed: int = 5) -> State:
    """The random weights of a seed."""
    return dict(build(architecture, classes=classes, seed=seed).state_dict())


@pytest.mark.parametrize("architecture", [VIT, RESNET], ids=["vit", "resnet"])
def test_weights_are_read_as_they_were_written(architecture: Architecture) -> None:
    state = weights(architecture)
    found = decode(encode(state), WHERE)
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert all(found[name].dtype == state[name].dtype for name in state)
    assert weights_digest(found, architecture) == weights_digest(state, architecture)


def test_a_transposed_tensor_is_written_as_it_is_seen() -> None:
    state = {"weight": torch.arange(15.0).reshape(3, 5).T}
    assert torch.equal(decode(encode(state), WHERE)["weight"], state["weight"])


@pytest.mark.parametrize("classes", [0, 3, 7])
def test_a_loaded_model_computes_what_the_saved_one_did(classes: int) -> None:
    model = build(VIT, classes=classes, seed=5).eval()
    loaded = load(decode(encode(model.state_dict()), WHERE), VIT, WHERE).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images(5)), model(images(5)))


NAMES = sorted(weights())
CLASSIFIER = {"head.weight", "head.bias"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - CLASSIFIER))
def test_every_tensor_of_the_backbone_is_part_of_the_digest(name: str) -> None:
    state = weights()
    # The last bit of the last number, and nothing else.
    changed = state[name].clone()
    last = changed.view(torch.int32).flatten()[-1:]
    last ^= 1
    assert (changed != state[name]).sum() == 1
    assert weights_digest(state | {name: changed}, VIT) != weights_digest(state, VIT)


@pytest.mark.parametrize(
    ("architecture", "classifier"),
    [(VIT, "head"), (RESNET, "fc")],
    ids=["vit", "resnet"],
)
def test_the_classifier_is_no_part_of_the_digest(
    architecture: Architecture, classifier: str
) -> None:
    state = weights(architecture)
    backbone = {name: value for name, value in state.items() if classifier not in name}
    assert len(backbone) == len(state) - 2
    wider = {f"{classifier}.weight": torch.ones(7, 5), f"{classifier}.bias": torch.ones(7)}
    assert weights_digest(backbone, architecture) == weights_digest(state, architecture)
    assert weights_digest(backbone | wider, architecture) == weights_digest(state, architecture)


def without(state: State, name: str) -> State:
    """The state without one tensor."""
    return {key: value for key, value in state.items() if key != name}


NORM = "blocks.1.norm1.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda state: without(state, NORM),
        lambda state: without(state, NORM) | {"blocks.9.norm1.weight": state[NORM]},
        lambda state: state | {NORM: state[NORM].double()},
        lambda state: state | {NORM: state[NORM].reshape(4, 4)},
        lambda state: state | {NORM: torch.zeros(UNITS)},
    ],
    ids=["absence", "name", "type", "shape", "value"],
)
def test_names_types_shapes_and_values_are_part_of_the_digest(
    change: Callable[[State], State],
) -> None:
    state = weights()
    assert weights_digest(change(state), VIT) != weights_digest(state, VIT)


def test_the_architecture_is_part_of_the_digest_and_the_order_of_names_is_not() -> None:
    state = weights()
    backwards = dict(reversed(state.items()))
    assert weights_digest(backwards, VIT) == weights_digest(state, VIT)
    # One head more sees another image with the same weights.
    others = [vit(num_heads=4), VIT.model_copy(update={"mean": (0.3,)})]
    assert (
        len({weights_digest(state, VIT), *(weights_digest(state, other) for other in others)}) == 3
    )


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda state: without(state, NORM), [f"{NORM} is missing"]),
        (lambda state: state | {"extra": torch.ones(3)}, ["extra is unknown"]),
        (lambda state: state | {NORM: torch.ones(5)}, [NORM, "(5,)", "expected (16,)"]),
        (lambda state: without(state, "head.bias"), ["head.bias is missing"]),
        (lambda state: without(state, "head.weight"), ["head.bias is unknown"]),
        (lambda _: {}, ["cls_token is missing", "more"]),
    ],
    ids=["missing", "unknown", "shape", "no bias", "no weight", "empty"],
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


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(ModelError, match="does not fit"):
        load(weights(vit(depth=2)), VIT, WHERE)
    with pytest.raises(ModelError, match="does not fit"):
        load(weights(), vit(depth=2), WHERE)


def test_a_truncated_file_is_refused() -> None:
    content = encode(weights())
    for length in [*range(0, len(content), 997), *range(len(content) - 5, len(content))]:
        with pytest.raises(ModelError, match=WHERE) as caught:
            decode(content[:length], WHERE)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle", b"<Error/>" * 13, b"\0" * 64])
def test_what_is_no_file_of_weights_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match=f"{WHERE}: not a whole (safetensors file|file of torch)"):
        decode(content, WHERE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
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
    state = build(VIT, classes=3, seed=5).state_dict()
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    for saved in (state, parallel):
        content = io.BytesIO()
        whole = {under: saved, "epoch": 7, "optimizer": {"lr": 0.1}} if under else saved
        torch.save(whole, content, _use_new_zipfile_serialization=is_zip)
        found = decode(content.getvalue(), "file.pt")
        assert weights_digest(found, VIT) == weights_digest(decode(encode(state), "file"), VIT)
        assert all(torch.equal(found[name], state[name]) for name in state)


class Harmful:
    """What a pickle can do to who reads it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_file_of_torch_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_zip: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    content = io.BytesIO()
    torch.save({"model": Harmful()}, content, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(
        ModelError, match=r"^file\.pt: .*could run code; save its weights"
    ) as caught:
        decode(content.getvalue(), "file.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("saved", [7, [torch.ones(2)], {"state_dict": {"weight": 3}}])
def test_a_file_of_torch_without_a_state_dict_is_refused(saved: Any) -> None:
    content = io.BytesIO()
    torch.save(saved, content)
    with pytest.raises(ModelError, match=r"file\.pt: no state dict"):
        decode(content.getvalue(), "file.pt")


def test_a_file_of_torch_that_was_cut_short_is_refused_in_one_line() -> None:
    content = io.BytesIO()
    torch.save(build(VIT, classes=3, seed=5).state_dict(), content)
    for length in (5, 100, len(content.getvalue()) // 2):
        with pytest.raises(ModelError, match=r"^file\.pt: ") as caught:
            decode(content.getvalue()[:length], "file.pt")
        assert "\n" not in str(caught.value)
