"""What tasks cost, against sums done by hand."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from stir_ray.job import Architecture
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.tasks import Cost, CostSum, Task, WorkloadSize
from tests.plan.examples import DATA, FINETUNED, PRETRAINED, SPEC, STUDY, TRAIN

# Of the same role, as in another job of a grid over datasets.
OTHER_TRAIN = replace(TRAIN, data=DATA.model_copy(update={"classes": (0, 2)}))
SCALE = WorkloadSize(
    flops=(3.0, 10.0, 24.0, 41.0, 60.0),
    gradient_flops=(7.0, 23.0, 53.0, 90.0, 130.0),
    units=(2, 5, 11, 17, 23),
    images=7,
    pixels=11,
    parameters=13,
    training_images={TRAIN.id: 5, OTHER_TRAIN.id: 17},
    test_images={TRAIN.id: 2, OTHER_TRAIN.id: 3},
)
INVERT = Invert(SPEC, PRETRAINED, 2, 7, (FINETUNED[0], PRETRAINED), keep=0)
COMPARE = Compare(SPEC, PRETRAINED, FINETUNED[0], 7)
# 7 images through all blocks, and five Gram matrices of 7 x 7 products of all units.
VIEW = 7 * 60 + 2 * 7 * 7 * (2 + 5 + 11 + 17 + 23)


def test_an_inversion_is_its_steps_to_its_layer_and_a_view_per_target() -> None:
    # 7 images x (17 steps of 23, and of 10 one forward pass and 4 at each of the looks after 8 and
    # 17 steps), and 2 targets that look twice.
    assert INVERT.cost(SCALE).flops == 7 * (17 * 23 + 9 * 10) + 4 * VIEW
    # No look is after 5 steps but the last.
    assert INVERT.cost(SCALE, 8).flops == 7 * (8 * 23 + 5 * 10) + 4 * VIEW
    assert INVERT.cost(SCALE, 99) == INVERT.cost(SCALE)


def test_a_kept_image_takes_two_bytes_per_pixel() -> None:
    stored = {k: replace(INVERT, keep=k).cost(SCALE).image_bytes for k in (0, 2, 7, None)}
    # Where all are kept, also those after half of the steps.
    assert stored == {0: 0, 2: 2 * 11 * 2, 7: 7 * 11 * 2, None: 2 * 7 * 11 * 2}
    assert INVERT.cost(SCALE).images == 7


def test_a_comparison_views_every_inverted_layer_noise_and_real_images() -> None:
    # Inverted images after all steps and after half of them.
    assert COMPARE.cost(SCALE).flops == (2 * 5 + 2) * VIEW


def test_a_training_is_three_passes_per_image_and_epoch_a_test_and_a_checkpoint_each() -> None:
    # 3 epochs of 5 images, and 4 tests of 2.
    assert TRAIN.cost(SCALE).flops == (3 * 3 * 5 + 4 * 2) * 60
    longer = replace(TRAIN, training=TRAIN.training.model_copy(update={"epochs": 5}))
    more = longer.cost(SCALE).checkpoint_bytes - TRAIN.cost(SCALE).checkpoint_bytes
    assert more == 2 * 13 * 4
    assert OTHER_TRAIN.cost(SCALE).flops == (3 * 3 * 17 + 4 * 3) * 60


def test_the_sum_of_many_tasks_is_that_of_each() -> None:
    study = replace(STUDY, seeds=(3, 5, 7))
    tasks: list[Task] = [*study.inversions(), *study.comparisons(), TRAIN, replace(INVERT, keep=3)]
    costs = CostSum()
    for task in tasks:
        costs.add(task)
    each = sum((task.cost(SCALE) for task in tasks), Cost())
    assert asdict(costs.total(SCALE)) == pytest.approx(asdict(each))
    assert asdict(each * 3) == pytest.approx(asdict(each + each + each))


def test_each_model_costs_what_its_own_blocks_do() -> None:
    narrow = Architecture(timm="vit_tiny_patch16_224", arguments={"depth": 2})
    other = replace(FINETUNED[0], architecture=narrow, depth=2)
    scale = replace(SCALE, flops=(5.0, 19.0), gradient_flops=(8.0, 29.0), units=(3, 7))
    both = replace(SCALE, others={other.kind: scale})
    view = 7 * 19 + 2 * 7 * 7 * (3 + 7)
    # Five inverted layers, noise and real images, seen by two blocks.
    assert replace(COMPARE, target=other).cost(both).flops == (2 * 5 + 2) * view
    inverted = replace(INVERT, reference=other, targets=(other, PRETRAINED))
    assert inverted.cost(both).flops == 7 * (17 * 29 + 9 * 19) + 2 * (view + VIEW)
    back = Compare(SPEC, other, PRETRAINED, 7)
    assert back.cost(both).flops == (2 * 2 + 2) * VIEW
