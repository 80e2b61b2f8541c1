"""Laws of training: it learns, it repeats itself bit by bit, and it starts where it was told."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from stir_ray.job import Training
from stir_ray.models.architectures import build
from stir_ray.models.state_dicts import freeze, weights_digest
from stir_ray.models.training import AUGMENTATIONS, Epoch, augment
from tests.models.tiny import CPU, TEST_SET, TRAIN_SET, VIT, images, same, trained, vit

ADAM: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 0.01}
SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1}


def run(*, weights_seed: int = 5, at_once: int | None = None, **settings: Any) -> list[Epoch]:
    """Every epoch of a short training of the tiny transformer."""
    model = freeze(build(VIT, classes=3, seed=weights_seed), VIT, CPU)
    return trained(model, at_once=at_once, **settings)


def moved(epochs: list[Epoch]) -> Tensor:
    """How far every weight moved from the first epoch to the last, as one vector."""
    first, last = epochs[0].state, epochs[-1].state
    return torch.cat([(last[name] - first[name]).flatten() for name in first])


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", 0.1), ("nesterov", 0.1), ("adam", 0.01), ("adamw", 0.01)]
)
def test_training_learns_and_an_epoch_has_what_it_takes_to_resume(
    optimizer: str, rate: float
) -> None:
    epochs = run(optimizer=optimizer, learning_rate=rate, epochs=7)
    first, last = epochs[0], epochs[-1]
    # Guessing is a loss of log 3 = 1.1 and a third of the images.
    assert 1 < first.test_loss == first.train_loss < 1.2
    assert last.train_loss < 0.6 * first.train_loss
    assert last.test_loss < 0.6 * first.test_loss
    assert (last.test_accuracy or 0) > 0.6
    assert [epoch.number for epoch in epochs] == list(range(8))
    # The weights that it starts from come first; nothing resumes there, or from the end.
    assert same(first.state, dict(build(VIT, classes=3, seed=5).state_dict()))
    assert len({weights_digest(epoch.state, VIT) for epoch in epochs}) == 8
    assert [bool(epoch.optimizer) for epoch in epochs] == [False, *[True] * 6, False]


def test_a_training_repeats_itself_bit_by_bit_and_seeds_matter() -> None:
    torch.manual_seed(11)
    epochs = run(**ADAM, epochs=2)
    torch.manual_seed(13)
    again = run(**ADAM, epochs=2)
    assert all(same(old.state, new.state) for old, new in zip(epochs, again, strict=True))
    assert [epoch.test_loss for epoch in epochs] == [epoch.test_loss for epoch in again]
    for seeds in ({"seed": 11}, {"weights_seed": 7}):
        assert not same(run(**ADAM, epochs=2, **seeds)[-1].state, epochs[-1].state)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    model = freeze(build(VIT, classes=3), VIT, CPU)
    means = TRAIN_SET.images.mean(dim=(1, 2, 3))
    rows: list[int] = []

    def note(_: object, inputs: tuple[Tensor]) -> None:
        if model.module.training:
            brightness = (inputs[0] * model.std + model.mean).mean(dim=(1, 2, 3))
            rows.extend((brightness[:, None] - means).abs().argmin(dim=1).tolist())

    model.module.register_forward_pre_hook(note)
    trained(model, epochs=2)
    first, second = rows[:31], rows[31:]
    assert sorted(first) == sorted(second) == list(range(31))
    assert first not in (second, list(range(31)))


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(FloatingPointError, match=r"epoch 1 .*learning rate"):
        run(optimizer="sgd", learning_rate=1e30)
    model = freeze(build(VIT, classes=3), VIT, CPU)
    with torch.no_grad():
        next(model.module.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"epoch 0 is nan; .*weights"):
        trained(model)


def steps(**settings: Any) -> list[float]:
    """How far the classifier's weights move in every epoch."""
    epochs = run(optimizer="sgd", momentum=0.1, learning_rate=0.01, epochs=5, **settings)
    weights = [epoch.state["head.weight"] for epoch in epochs]
    return [float((new - old).norm()) for old, new in itertools.pairwise(weights)]


def test_steps_get_smaller_towards_the_end_and_warming_up_starts_with_small_ones() -> None:
    cold, warm = steps(), steps(warmup_epochs=2)
    assert cold == sorted(cold, reverse=True)
    assert cold[-1] < 0.2 * cold[0]
    assert warm[0] < 0.7 * cold[0]
    assert warm[0] < warm[1]


@pytest.mark.parametrize("momentum", [0.3, 0.9])
def test_nesterov_looks_ahead_by_the_momentum_and_sgd_does_not(momentum: float) -> None:
    # One step from rest: g, or g and the momentum that it leaves.
    plain, ahead = (
        moved(run(optimizer=name, momentum=momentum, batch_size=31, weight_decay=0))
        for name in ("sgd", "nesterov")
    )
    torch.testing.assert_close(ahead, (1 + momentum) * plain, rtol=1e-3, atol=1e-6)


def test_sgd_is_the_papers() -> None:
    settings = Training()
    assert (settings.optimizer, settings.learning_rate, settings.momentum) == ("sgd", 1e-3, 0.9)
    assert (settings.weight_decay, settings.epochs) == (1e-4, 100)


def test_a_gradient_is_scaled_down_to_the_clip_and_never_up() -> None:
    changes = {
        clip: moved(run(**SGD, batch_size=31, weight_decay=0, gradient_clip=clip))
        for clip in (None, 1e-3, 1e6)
    }
    assert float(changes[1e-3].norm()) == pytest.approx(0.1 * 1e-3, rel=1e-2)
    assert float(changes[None].norm()) > 10 * 0.1 * 1e-3
    assert torch.equal(changes[None], changes[1e6])
    direction = torch.cosine_similarity(changes[None], changes[1e-3], dim=0)
    assert float(direction) == pytest.approx(1, abs=1e-3)


def test_half_precision_rounds_the_step_and_neither_weights_nor_tests() -> None:
    whole, half = (run(**SGD, mixed_precision=kind) for kind in ("none", "bf16"))
    assert {value.dtype for value in half[-1].state.values()} == {torch.float32}
    assert half[0].test_loss == whole[0].test_loss
    exact, rounded = moved(whole), moved(half)
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).norm()) < 0.1 * float(exact.norm())


def test_dropout_is_drawn_by_the_seed_of_the_training_alone() -> None:
    architecture = vit(proj_drop_rate=0.3, attn_drop_rate=0.2, drop_path_rate=0.3)

    def last(global_seed: int, **settings: Any) -> Tensor:
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        model = freeze(build(architecture, classes=3), architecture, CPU)
        # One batch: the same order of the images for all seeds.
        epochs = trained(model, batch_size=31, epochs=2, **settings)
        assert torch.equal(torch.get_rng_state(), before)
        return epochs[-1].state["blocks.2.mlp.fc2.weight"]

    assert torch.equal(last(11), last(13))
    assert not torch.equal(last(11, seed=1), last(11, seed=2))


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_fewer_images_at_once_change_weights_by_rounding_alone(at_once: int) -> None:
    # SGD: Adam's first steps are signs, in which rounding of a gradient near 0 is a whole step.
    whole, parts = run(**SGD), run(**SGD, at_once=at_once)
    for name, weights in whole[-1].state.items():
        torch.testing.assert_close(parts[-1].state[name], weights, rtol=1e-4, atol=1e-5)
    assert parts[-1].train_loss == pytest.approx(whole[-1].train_loss, rel=1e-4)
    assert parts[-1].test_loss == pytest.approx(whole[-1].test_loss, rel=1e-4)
    assert not same(whole[-1].state, run(**SGD, batch_size=at_once)[-1].state)


def test_memory_that_ends_within_a_step_leaves_no_half_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(**SGD)
    backward, calls = torch.Tensor.backward, []

    def without_memory(loss: Tensor) -> None:
        backward(loss)
        calls.append(loss)
        if len(calls) in (3, 5):
            raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.Tensor, "backward", without_memory)
    parts = run(**SGD)
    # The third batch of 7 is tried whole and in halves before its quarters fit; so are the others.
    assert len(calls) == 2 + (1 + 2 + 4) + 4 + 3
    for name, weights in whole[-1].state.items():
        torch.testing.assert_close(parts[-1].state[name], weights, rtol=1e-4, atol=1e-5)


SOME = images(97, (2, 16, 24))
ROWS = list(range(97))
every_kind = pytest.mark.parametrize("how", list(AUGMENTATIONS))


def drawn(image: Tensor, changed: Tensor) -> tuple[int, int, bool]:
    """Rows and columns that an image was shifted by, and whether it was mirrored: by trying all."""
    matches = []
    wide = pad(image, (4, 4, 3, 3))
    for down, right in itertools.product(range(-3, 4), range(-4, 5)):
        shifted = wide[:, 3 - down : 19 - down, 4 - right : 28 - right]
        matches += [(down, right, False)] * torch.equal(shifted, changed)
        matches += [(down, right, True)] * torch.equal(shifted.flip(-1), changed)
    (match,) = matches
    return match


def test_images_are_shifted_by_up_to_an_eighth_of_their_side_and_half_are_mirrored() -> None:
    changed = augment(SOME, ROWS, how="standard", seed=3, epoch=5)
    draws = [drawn(*pair) for pair in zip(SOME, changed, strict=True)]
    assert {down for down, _, _ in draws} == set(range(-2, 3))
    assert {right for _, right, _ in draws} == set(range(-3, 4))
    assert 30 < sum(mirrored for _, _, mirrored in draws) < 67


def test_a_resized_crop_shows_8_to_100_percent_of_the_area_and_half_are_mirrored() -> None:
    down, right = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 48), indexing="ij")
    where = torch.stack([down, right]).expand(97, 2, 32, 48)
    changed = augment(where, ROWS, how="resized_crop", seed=3, epoch=5)
    assert changed.shape == where.shape
    rows, columns = changed[:, 0, :, 24], changed[:, 1, 16]
    areas = (rows[:, -1] - rows[:, 0]) * (columns[:, -1] - columns[:, 0]).abs()
    # A row and a column of pixels less than the area: from the middle of one to that of another.
    assert 0.06 < areas.min() < 0.2
    assert 0.8 < areas.max() < 1.001
    assert 30 < int((columns[:, -1] < columns[:, 0]).sum()) < 67


@every_kind
def test_seed_epoch_and_row_alone_decide_what_becomes_of_an_image(how: str) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    together = augment(SOME, ROWS, how=how, seed=3, epoch=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(13)
    some = [83, 2, 47]
    assert torch.equal(augment(SOME[some], some, how=how, seed=3, epoch=5), together[some])
    for draws in ({"seed": 4, "epoch": 5}, {"seed": 3, "epoch": 6}):
        other = augment(SOME, ROWS, how=how, **draws)
        # Of 5 x 7 x 2 draws of the shift a few agree by chance.
        assert sum(torch.equal(*pair) for pair in zip(together, other, strict=True)) < 15


@every_kind
def test_a_training_sees_changed_images_and_is_tested_on_the_real_ones(how: Any) -> None:
    model = freeze(build(VIT, classes=3), VIT, CPU)
    seen: dict[bool, list[Tensor]] = {True: [], False: []}

    def note(_: object, inputs: tuple[Tensor]) -> None:
        seen[model.module.training].append(inputs[0] * model.std + model.mean)

    model.module.register_forward_pre_hook(note)
    trained(model, batch_size=31, augmentation=how, seed=3)
    for tested in seen[False]:
        torch.testing.assert_close(tested, TEST_SET.images)
    (changed,) = seen[True]
    expected = augment(TRAIN_SET.images, range(31), how=how, seed=3, epoch=1)
    for image in changed:
        assert min(float((image - each).abs().max()) for each in expected) < 1e-6


def test_a_job_can_ask_for_every_kind() -> None:
    kinds = get_args(Training.model_fields["augmentation"].annotation)
    assert set(kinds) == {"none", *AUGMENTATIONS}
