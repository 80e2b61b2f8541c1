"""Laws of augmentation: what becomes of an image depends on its place, the epoch and the seed."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from stir_ray.job import Training
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.objectives import LabeledImages
from stir_ray.models.training import AUGMENTATIONS, augment, train
from tests.models.tiny import frozen, images

SHAPE = (2, 16, 24)
SOME = images(97, SHAPE)
PLACES = list(range(97))
every_kind = pytest.mark.parametrize("how", list(AUGMENTATIONS))


def drawn(image: Tensor, changed: Tensor) -> tuple[int, int, bool]:
    """Rows and columns that an image was shifted by, and whether it was mirrored: by trying all."""
    found = []
    for down in range(-3, 4):
        for right in range(-4, 5):
            wide = pad(image, (4, 4, 3, 3))
            rows, columns = (slice(s - d, s - d + n) for s, d, n in ((3, down, 16), (4, right, 24)))
            shifted = wide[:, rows, columns]
            found += [(down, right, False)] * torch.equal(shifted, changed)
            found += [(down, right, True)] * torch.equal(shifted.flip(-1), changed)
    (only,) = found
    return only


def test_images_are_shifted_by_up_to_an_eighth_of_their_side_and_half_are_mirrored() -> None:
    changed = augment(SOME, PLACES, how="standard", seed=3, epoch=5)
    assert changed.shape == SOME.shape
    draws = [drawn(*pair) for pair in zip(SOME, changed, strict=True)]
    assert {down for down, _, _ in draws} == set(range(-2, 3))
    assert {right for _, right, _ in draws} == set(range(-3, 4))
    assert 30 < sum(mirrored for _, _, mirrored in draws) < 67


def test_a_resized_crop_shows_8_to_100_percent_of_the_area_and_half_are_mirrored() -> None:
    down, right = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 48), indexing="ij")
    where = torch.stack([down, right]).expand(97, 2, 32, 48)
    changed = augment(where, PLACES, how="resized_crop", seed=3, epoch=5)
    assert changed.shape == where.shape
    rows, columns = changed[:, 0, :, 24], changed[:, 1, 16]
    areas = (rows[:, -1] - rows[:, 0]) * (columns[:, -1] - columns[:, 0]).abs()
    # A row and a column of pixels less than the area: from the middle of one to that of another.
    assert (areas > 0.06).all()
    assert (areas < 1.001).all()
    assert areas.min() < 0.2
    assert areas.max() > 0.8
    assert 30 < int((columns[:, -1] < columns[:, 0]).sum()) < 67


@every_kind
def test_neither_batch_nor_order_change_what_becomes_of_an_image(how: str) -> None:
    together = augment(SOME, PLACES, how=how, seed=3, epoch=5)
    some = [83, 2, 47]
    assert torch.equal(augment(SOME[some], some, how=how, seed=3, epoch=5), together[some])
    assert torch.equal(augment(SOME[[2]], [2], how=how, seed=3, epoch=5), together[[2]])


@pytest.mark.parametrize("changed", [{"seed": 4}, {"epoch": 6}])
@every_kind
def test_another_epoch_and_another_seed_draw_anew(how: str, changed: dict[str, int]) -> None:
    said = {"seed": 3, "epoch": 5}
    one, other = (augment(SOME, PLACES, how=how, **s) for s in (said, said | changed))
    same = sum(torch.equal(*pair) for pair in zip(one, other, strict=True))
    # Of 5 x 7 x 2 draws of the shift a few agree by chance.
    assert same < 15


@every_kind
def test_global_generators_are_neither_asked_nor_moved(how: str) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one = augment(SOME, PLACES, how=how, seed=3, epoch=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(13)
    assert torch.equal(augment(SOME, PLACES, how=how, seed=3, epoch=5), one)


@every_kind
def test_a_training_sees_changed_images_and_is_tested_on_the_real_ones(how: Any) -> None:
    real, model, seen = images(11), frozen(), {True: [], False: []}

    def note(_: object, inputs: tuple[Tensor]) -> None:
        seen[model.module.training].append(inputs[0] * model.std + model.mean)

    model.module.register_forward_pre_hook(note)
    both = LabeledImages(real, torch.arange(11) % 3)
    settings = Training(epochs=1, batch_size=11, augmentation=how, seed=3)
    list(train(model, settings, train_set=both, test_set=both, micro=Microbatches()))
    for tested in seen[False]:
        torch.testing.assert_close(tested, real)
    (trained,) = seen[True]
    expected = augment(real, range(11), how=how, seed=3, epoch=1)
    for image in trained:
        assert min(float((image - one).abs().max()) for one in expected) < 1e-6


def test_a_job_can_ask_for_every_kind() -> None:
    asked = get_args(Training.model_fields["augmentation"].annotation)
    assert set(asked) == {"none", *AUGMENTATIONS}
