"""Laws of objectives: what a reconstruction is, what losses are, where new weights come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stir_ray.errors import ModelError
from stir_ray.job import Architecture
from stir_ray.models.architectures import build
from stir_ray.models.features import FrozenModel, all_representations
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.objectives import (
    OBJECTIVES,
    evaluate,
    reconstruct,
    with_new_classifier,
    with_new_decoder,
)
from stir_ray.models.state_dicts import DECODER, decode, encode, freeze, load, weights_digest
from tests.models.tiny import (
    CPU,
    PATCHES,
    SHAPE,
    TEST_SET,
    UNITS,
    VIT,
    frozen,
    same,
    trained,
    vivid,
)

IMAGES = TEST_SET.images
PATCH = 8


def autoencoder(architecture: Architecture = VIT, *, seed: int = 5) -> FrozenModel:
    """A tiny transformer with a decoder."""
    module = vivid(build(architecture, classes=3, seed=seed))
    return freeze(with_new_decoder(module, image_shape=SHAPE, seed=seed), architecture, CPU)


def test_a_reconstruction_is_one_linear_map_per_patch_of_the_normed_tokens() -> None:
    model = autoencoder()
    reconstructed = reconstruct(model, IMAGES)
    assert reconstructed.shape == IMAGES.shape
    weights = model.module.state_dict()
    matrix, bias = weights[f"{DECODER}.0.weight"].flatten(1), weights[f"{DECODER}.0.bias"]
    forward: Any = model.module
    # timm's own forward pass, class token first, ends with the final norm.
    tokens = forward.forward_features((IMAGES - 0.5) / 0.5)[:, 1:]
    assert tokens.shape == (17, PATCHES, UNITS)
    for number in range(PATCHES):
        row, column = divmod(number, SHAPE[2] // PATCH)
        expected = (tokens[:, number] @ matrix.T + bias).reshape(17, PATCH, PATCH)
        rows, columns = (slice(PATCH * n, PATCH * (n + 1)) for n in (row, column))
        actual = reconstructed[:, 0, rows, columns]
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_reconstruction_is_the_mean_distance_of_a_pixel() -> None:
    model, objective = autoencoder(), OBJECTIVES["reconstruction"]
    loss, accuracy = evaluate(model, objective, TEST_SET, Microbatches(), batch_size=5)
    expected = (reconstruct(model, IMAGES) - IMAGES).abs().sum() / IMAGES.numel()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert accuracy is None


def test_evaluating_a_classifier_is_the_mean_over_images_and_changes_nothing() -> None:
    model, objective = frozen(), OBJECTIVES["classification"]
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    # 17 images in batches of 5 leave a smaller last one.
    loss, accuracy = evaluate(model, objective, TEST_SET, Microbatches(2), batch_size=5)
    with torch.no_grad():
        chances = model.module((IMAGES - 0.5) / 0.5).softmax(dim=1)
    correct = chances[torch.arange(17), TEST_SET.labels]
    assert loss == pytest.approx(float(-correct.log().mean()), rel=1e-5)
    assert accuracy == pytest.approx(int((chances.argmax(dim=1) == TEST_SET.labels).sum()) / 17)
    assert same(model.module.state_dict(), before)


def test_a_reconstruction_learns_and_moves_decoder_and_blocks() -> None:
    settings = {"optimizer": "adamw", "learning_rate": 0.003, "epochs": 5}
    first, *_, last = trained(autoencoder(), task="reconstruction", **settings)
    assert last.test_loss < 0.6 * first.test_loss
    assert first.test_accuracy is last.test_accuracy is None
    for name in (f"{DECODER}.0.weight", "blocks.0.attn.qkv.weight", "patch_embed.proj.weight"):
        assert not torch.equal(first.state[name], last.state[name])


def test_a_checkpoint_of_a_reconstruction_is_the_model_without_its_decoder() -> None:
    whole = autoencoder()
    state = decode(encode(whole.module.state_dict()), "here")
    model = freeze(load(state, VIT, "here"), VIT, CPU)
    backbone = {name: value for name, value in state.items() if not name.startswith(DECODER)}
    assert same(dict(model.module.state_dict()), backbone)
    assert weights_digest(state, VIT) == weights_digest(backbone, VIT)
    for left, right in zip(
        *(
            all_representations(each, IMAGES, layers=[1, 3], pooling="tokens")
            for each in (model, whole)
        ),
        strict=True,
    ):
        assert torch.equal(left, right)


def test_an_image_that_is_no_whole_number_of_patches_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match=r"20 x 16 pixels .* patches of 8"):
        with_new_decoder(build(VIT, classes=3), image_shape=(1, 20, 16), seed=0)


def new_head(kind: str, seed: int) -> dict[str, torch.Tensor]:
    """The weights of a transformer whose classifier was replaced."""
    module = build(VIT, classes=3, seed=5)
    if kind == "decoder":
        return with_new_decoder(module, image_shape=SHAPE, seed=seed).state_dict()
    return with_new_classifier(module, classes=7, seed=seed).state_dict()


@pytest.mark.parametrize(
    ("kind", "name"), [("decoder", f"{DECODER}.0.weight"), ("classifier", "head.weight")]
)
def test_the_seed_alone_decides_a_new_head_and_the_backbone_stays(kind: str, name: str) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    new = new_head(kind, 5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(13)
    assert same(new_head(kind, 5), new)
    assert not torch.equal(new_head(kind, 7)[name], new[name])
    before = build(VIT, classes=3, seed=5).state_dict()
    backbone = [each for each in before if not each.startswith("head.")]
    assert all(torch.equal(new[each], before[each]) for each in backbone)
    assert weights_digest(new, VIT) == weights_digest(before, VIT)
