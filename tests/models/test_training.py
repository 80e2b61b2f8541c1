"""Laws of training: it learns, it repeats itself bit by bit, and it starts where it was told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from stir_ray.job import Training
from stir_ray.models.architectures import build
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.objectives import OBJECTIVES, LabeledImages, evaluate, with_new_classifier
from stir_ray.models.state_dicts import freeze, weights_digest
from stir_ray.models.training import Epoch, train
from tests.models.tiny import CPU, UNITS, VIT, images, vit


def labelled(count: int, *, seed: int) -> LabeledImages:
    """Noise, brighter in the upper, the middle or the lower part: three classes."""
    labels = torch.arange(count) % 3
    pixels = 0.5 * images(count, seed=seed)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 5 * label : 5 * label + 5] += 0.5
    return LabeledImages(pixels, labels)


TRAIN_SET, TEST_SET = labelled(31, seed=3), labelled(17, seed=5)


def run(*, weights_seed: int = 5, at_once: int | None = None, **changed: Any) -> list[Epoch]:
    """Every epoch of a short training; 31 images in batches of 7 leave a smaller last one."""
    adam = {"optimizer": "adamw", "learning_rate": 0.01}
    said = {"epochs": 3, "batch_size": 7, "seed": 7, **adam} | changed
    model = freeze(build(VIT, classes=3, seed=weights_seed), VIT, CPU)
    epochs = train(
        model,
        Training(**said),
        train_set=TRAIN_SET,
        test_set=TEST_SET,
        micro=Microbatches(at_once),
    )
    return list(epochs)


DROPPING = vit(proj_drop_rate=0.2, attn_drop_rate=0.1, drop_path_rate=0.3)


def same(one: Epoch, other: Epoch) -> bool:
    """Whether the weights are equal bit by bit."""
    return all(torch.equal(one.state[name], other.state[name]) for name in one.state)


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", 0.1), ("nesterov", 0.1), ("adam", 0.01), ("adamw", 0.01)]
)
def test_training_learns(optimizer: str, rate: float) -> None:
    first, *_, last = run(optimizer=optimizer, learning_rate=rate, epochs=7)
    # Guessing is a loss of log 3 = 1.1 and a third of the images.
    assert 1 < first.test_loss < 1.2
    assert last.train_loss < 0.6 * first.train_loss
    assert last.test_loss < 0.6 * first.test_loss
    assert (last.test_accuracy or 0) > 0.6


def test_the_epoch_before_training_comes_first_with_the_weights_it_starts_from() -> None:
    started = build(VIT, classes=3, seed=5).state_dict()
    epochs = run(epochs=3)
    assert [epoch.number for epoch in epochs] == [0, 1, 2, 3]
    assert all(torch.equal(epochs[0].state[name], started[name]) for name in started)
    assert epochs[0].train_loss == epochs[0].test_loss


def test_every_epoch_keeps_its_own_weights() -> None:
    epochs = run(epochs=3)
    assert len({weights_digest(epoch.state, VIT) for epoch in epochs}) == 4


def test_a_training_repeats_itself_bit_by_bit() -> None:
    torch.manual_seed(11)
    one = run()
    torch.manual_seed(13)
    other = run()
    assert all(same(*pair) for pair in zip(one, other, strict=True))
    assert [epoch.test_loss for epoch in one] == [epoch.test_loss for epoch in other]


def test_the_order_of_the_images_and_the_first_weights_matter() -> None:
    last = run()[-1]
    assert not same(run(seed=11)[-1], last)
    assert not same(run(weights_seed=7)[-1], last)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    model = freeze(build(VIT, classes=3), VIT, CPU)
    means = TRAIN_SET.images.mean(dim=(1, 2, 3))
    seen: list[int] = []

    def note(_: object, inputs: tuple[torch.Tensor]) -> None:
        if model.module.training:
            found = (inputs[0] * model.std + model.mean).mean(dim=(1, 2, 3))
            seen.extend((found[:, None] - means).abs().argmin(dim=1).tolist())

    model.module.register_forward_pre_hook(note)
    settings = Training(epochs=2, batch_size=7, seed=3)
    list(train(model, settings, train_set=TRAIN_SET, test_set=TEST_SET, micro=Microbatches()))
    first, second = seen[:31], seen[31:]
    assert sorted(first) == sorted(second) == list(range(31))
    assert first not in (second, list(range(31)))


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(FloatingPointError, match=r"epoch 1 .*learning rate"):
        run(optimizer="sgd", learning_rate=1e30)


def test_weights_that_give_no_number_end_the_training_before_its_first_step() -> None:
    model = freeze(build(VIT, classes=3), VIT, CPU)
    with torch.no_grad():
        next(model.module.parameters()).fill_(torch.nan)
    settings = Training(epochs=2, batch_size=7)
    epochs = train(model, settings, train_set=TRAIN_SET, test_set=TEST_SET, micro=Microbatches())
    with pytest.raises(FloatingPointError, match=r"epoch 0 is nan; .*weights"):
        next(epochs)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_optimiser_is_copied_only_where_a_training_may_go_on(optimizer: str) -> None:
    epochs = run(optimizer=optimizer, epochs=3)
    assert [epoch.optimizer is not None for epoch in epochs] == [False, True, True, False]
    assert all(epoch.optimizer for epoch in epochs[1:3])


def steps(**changed: Any) -> list[float]:
    """How far the classifier's weights move in every epoch."""
    weights = [
        epoch.state["head.weight"] for epoch in run(optimizer="sgd", momentum=0.1, **changed)
    ]
    return [float((one - other).norm()) for one, other in itertools.pairwise(weights)]


def test_the_steps_get_smaller_towards_the_end() -> None:
    moved = steps(epochs=5, learning_rate=0.01)
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.2 * moved[0]


def test_warming_up_starts_with_small_steps() -> None:
    cold = steps(epochs=5, learning_rate=0.01)
    warm = steps(epochs=5, learning_rate=0.01, warmup_epochs=2)
    assert warm[0] < 0.7 * cold[0]
    assert warm[0] < warm[1]


def test_evaluating_is_the_mean_over_images_and_changes_nothing() -> None:
    model = freeze(build(VIT, classes=3, seed=5), VIT, CPU)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    objective = OBJECTIVES["classification"]
    # 17 images in batches of 5 leave a smaller last one.
    loss, accuracy = evaluate(model, objective, TEST_SET, Microbatches(2), batch_size=5)
    with torch.no_grad():
        chances = model.module((TEST_SET.images - 0.5) / 0.5).softmax(dim=1)
    of_truth = chances[torch.arange(17), TEST_SET.labels]
    assert loss == pytest.approx(float(-of_truth.log().mean()), rel=1e-5)
    right = (chances.argmax(dim=1) == TEST_SET.labels).sum()
    assert accuracy == pytest.approx(int(right) / 17)
    after = model.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_new_classifier_keeps_the_backbone() -> None:
    old = build(VIT, classes=3, seed=5)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    after = with_new_classifier(old, classes=7, seed=11).state_dict()
    assert set(after) == set(before)
    kept = [name for name in before if not name.startswith("head.")]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    assert after["head.weight"].shape == (7, UNITS)
    assert weights_digest(after, VIT) == weights_digest(before, VIT)


def test_the_seed_alone_decides_a_new_classifier() -> None:
    def classifier(seed: int) -> torch.Tensor:
        return with_new_classifier(build(VIT, classes=3), classes=7, seed=seed).state_dict()[
            "head.weight"
        ]

    torch.manual_seed(11)
    before = torch.get_rng_state()
    one = classifier(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(13)
    assert torch.equal(classifier(5), one)
    assert not torch.equal(classifier(7), one)
    assert bool((one != 0).any())


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_fewer_images_at_once_change_weights_by_rounding_alone(at_once: int) -> None:
    # SGD: Adam's first steps are signs, in which rounding of a gradient near 0 is a whole step.
    sgd = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 2}
    whole, parts = run(**sgd), run(**sgd, at_once=at_once)
    for name, weights in whole[-1].state.items():
        torch.testing.assert_close(parts[-1].state[name], weights, rtol=1e-4, atol=1e-5)
    assert parts[-1].train_loss == pytest.approx(whole[-1].train_loss, rel=1e-4)
    assert parts[-1].test_loss == pytest.approx(whole[-1].test_loss, rel=1e-4)
    assert not same(whole[-1], run(**sgd, batch_size=at_once)[-1])


def test_memory_that_ends_within_a_step_leaves_no_half_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(epochs=1, optimizer="sgd", learning_rate=0.1)
    backward = torch.Tensor.backward
    steps = []

    def without_memory(loss: torch.Tensor) -> None:
        backward(loss)
        steps.append(loss)
        if len(steps) in (3, 5):
            raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.Tensor, "backward", without_memory)
    parts = run(epochs=1, optimizer="sgd", learning_rate=0.1)
    # The third batch of 7 is tried whole and in halves before its quarters fit; so are the others.
    assert len(steps) == 2 + (1 + 2 + 4) + 4 + 3
    for name, weights in whole[-1].state.items():
        torch.testing.assert_close(parts[-1].state[name], weights, rtol=1e-4, atol=1e-5)
