"""Laws of architectures: what is said of a model before it exists is true of it afterwards."""

from __future__ import annotations

import pytest
import torch

from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.architectures import build, describe, intermediates, normalization
from tests.models.tiny import DEPTH, PATCHES, SHAPE, UNITS, VIT, images, vit

SWIN = Architecture(
    timm="swin_tiny_patch4_window7_224",
    arguments={"img_size": 32, "window_size": 2, "in_chans": 1, "embed_dim": 24},
)
RESNET = Architecture(timm="resnet18", arguments={"in_chans": 1})


@pytest.mark.parametrize(
    "architecture",
    [VIT, vit(in_chans=3, depth=2), vit(class_token=False, global_pool="avg"), SWIN],
    ids=["vit", "colour", "no class token", "swin"],
)
def test_a_card_says_what_a_forward_pass_does(architecture: Architecture) -> None:
    card = describe(architecture)
    model = build(architecture, classes=0).eval()
    with torch.no_grad():
        blocks = intermediates(model, images(2, card.input_shape), up_to=None)
    assert len(blocks) == card.depth == len(card.flops)
    assert all((prefix is not None) == card.has_class_token for _, prefix in blocks)
    assert card.parameters == sum(weight.numel() for weight in model.parameters())


def test_a_register_is_no_class_token() -> None:
    assert describe(vit(reg_tokens=2)).has_class_token
    registers = vit(reg_tokens=2, class_token=False, global_pool="avg")
    assert not describe(registers).has_class_token


def test_the_card_of_a_transformer_is_what_arithmetic_says() -> None:
    card = describe(VIT)
    assert (card.depth, card.input_shape) == (DEPTH, SHAPE)
    # A product of (a, b) and (b, c) is 2 a b c operations.
    embedding = 2 * PATCHES * 8 * 8 * UNITS
    tokens = PATCHES + 1
    attention = 2 * tokens * UNITS * 3 * UNITS + 2 * 2 * tokens * tokens * UNITS
    projection = 2 * tokens * UNITS * UNITS
    perceptron = 2 * 2 * tokens * UNITS * 4 * UNITS
    block = attention + projection + perceptron
    expected = tuple(embedding + number * block for number in (1, 2, 3))
    assert card.flops == expected


@pytest.mark.parametrize("architecture", [VIT, SWIN, RESNET], ids=["vit", "swin", "resnet"])
def test_operations_grow_from_block_to_block(architecture: Architecture) -> None:
    flops = describe(architecture).flops
    assert list(flops) == sorted(set(flops))
    assert flops[0] > 0


def test_a_classifier_is_no_part_of_the_card() -> None:
    backbone = sum(weight.numel() for weight in build(VIT, classes=0).parameters())
    with_classifier = sum(weight.numel() for weight in build(VIT, classes=7).parameters())
    assert describe(VIT).parameters == backbone == with_classifier - 7 * (UNITS + 1)


def test_describing_and_building_leave_the_random_state_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    build(VIT, classes=3, seed=5)
    describe(VIT)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(11)
    one = build(VIT, classes=3, seed=5).state_dict()
    torch.manual_seed(13)
    same = build(VIT, classes=3, seed=5).state_dict()
    other = build(VIT, classes=3, seed=7).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = ["patch_embed.proj.weight", "blocks.2.mlp.fc1.weight", "pos_embed"]
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


@pytest.mark.parametrize(
    ("architecture", "parts"),
    [
        (Architecture(timm="vit_of_another_planet"), ["vit_of_another_planet", "Unknown model"]),
        (Architecture(timm="vit_tiny_patch16_224.no_such_tag"), ["no_such_tag"]),
        (vit(colour="blue"), ["vit_tiny_patch16_224", "colour"]),
        (vit(depth="three"), ["vit_tiny_patch16_224", "three"]),
        (vit(num_heads=3), ["num_heads"]),
        (vit(patch_size=0), ["vit_tiny_patch16_224", "zero"]),
        (vit(patch_size=32), ["vit_tiny_patch16_224", "32"]),
        (vit(in_chans=3).model_copy(update={"mean": (0.1, 0.2)}), ["mean", "2 values", "3"]),
        (vit(in_chans=3).model_copy(update={"std": (1.0,) * 5}), ["std", "5 values", "3"]),
    ],
    ids=["name", "tag", "argument", "type", "heads", "no patch", "large patch", "mean", "std"],
)
def test_what_timm_cannot_build_is_told_in_one_line(
    architecture: Architecture, parts: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        describe(architecture)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_mean_and_std_of_the_job_go_before_those_of_timm() -> None:
    grey = VIT.model_copy(update={"mean": (0.3,), "std": (0.7,)})
    assert normalization(grey, build(grey, classes=0)) == ((0.3,), (0.7,))
    colour = vit(in_chans=3)
    # The weights that go with this name were trained with 0.5.
    assert normalization(colour, build(colour, classes=0)) == ((0.5,) * 3, (0.5,) * 3)
    assert normalization(VIT, build(VIT, classes=0)) == ((0.5,), (0.5,))


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("vit_base_patch32_224.augreg_in1k", (0.5, 0.5, 0.5)),
        ("vit_base_patch32_224.augreg_in21k_ft_in1k", (0.5, 0.5, 0.5)),
        ("vit_base_patch16_224.dino", (0.485, 0.456, 0.406)),
    ],
)
def test_mean_is_that_of_the_weights_that_are_named(name: str, mean: tuple[float, ...]) -> None:
    architecture = Architecture(timm=name)
    with torch.device("meta"):
        model = build(architecture, classes=0)
    assert normalization(architecture, model)[0] == mean


@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_forward_pass_stops_at_the_block(block: int) -> None:
    model = build(VIT, classes=0).eval()
    reached: list[int] = []
    for number, module in enumerate(model.get_submodule("blocks").children(), start=1):
        module.register_forward_hook(lambda *_, number=number: reached.append(number))
    with torch.no_grad():
        found = intermediates(model, images(2), up_to=block)
    assert len(found) == 1
    assert reached == list(range(1, block + 1))
