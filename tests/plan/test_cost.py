"""What tasks cost, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stir_ray.job import Architecture, Selection
from stir_ray.plan.cost import Bundle, Cost, Scale, cost
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.preparation import CollectImages, InspectModel
from stir_ray.plan.tasks import Task
from tests.plan.examples import ARCHITECTURE, DATA, FINETUNED, PRETRAINED, QUESTION, STUDY, TRAIN

# Of the same role, as in another job of a grid over datasets.
OTHER_TRAIN = replace(TRAIN, data=DATA.model_copy(update={"classes": (0, 2)}))
SCALE = Scale(
    flops=(3.0, 10.0, 24.0, 41.0, 60.0),
    gradient_flops=(7.0, 23.0, 53.0, 90.0, 130.0),
    units=(2, 5, 11, 17, 23),
    images=7,
    pixels=11,
    parameters=13,
    training_images={TRAIN.id: 5, OTHER_TRAIN.id: 17},
    test_images={TRAIN.id: 2, OTHER_TRAIN.id: 3},
)
INVERT = Invert(QUESTION, PRETRAINED, 2, 7, (FINETUNED[0], PRETRAINED), keep=0)
COMPARE = Compare(QUESTION, PRETRAINED, FINETUNED[0], 7)
# 7 images through all blocks, and five Gram matrices of 7 x 7 products of all units.
VIEW = 7 * 60 + 2 * 7 * 7 * (2 + 5 + 11 + 17 + 23)


def test_an_inversion_is_its_steps_to_its_layer_and_a_view_per_target() -> None:
    # 7 images x (17 steps of 23, and of 10 one forward pass and 4 at each of the looks after 8 and
    # 17 steps), and 2 targets that look twice.
    assert cost(INVERT, SCALE).flops == 7 * (17 * 23 + 9 * 10) + 4 * VIEW
    # No look is after 5 steps but the last.
    assert cost(INVERT, SCALE, 8).flops == 7 * (8 * 23 + 5 * 10) + 4 * VIEW
    assert cost(INVERT, SCALE, 99) == cost(INVERT, SCALE)


def test_a_step_costs_the_gradient_of_every_image() -> None:
    def with_iterations(iterations: int) -> float:
        settings = replace(QUESTION.settings, iterations=iterations)
        return cost(replace(INVERT, question=replace(QUESTION, settings=settings)), SCALE).flops

    assert with_iterations(29) - with_iterations(17) == (29 - 17) * 7 * 23


def test_a_deeper_layer_costs_more() -> None:
    flops = [cost(replace(INVERT, layer=layer), SCALE).flops for layer in range(1, 6)]
    assert flops == sorted(set(flops))


def test_a_kept_image_takes_two_bytes_per_pixel() -> None:
    stored = {k: cost(replace(INVERT, keep=k), SCALE).stored_bytes for k in (0, 2, 5, 7, None)}
    assert stored[5] - stored[2] == (5 - 2) * 11 * 2
    # All of them are kept as they were after half of the steps, too.
    assert stored[None] - stored[0] == 2 * (stored[7] - stored[0])
    # One part more, which is not free.
    assert stored[2] - stored[0] > 2 * 11 * 2


def test_a_comparison_views_every_inverted_layer_noise_and_real_images() -> None:
    # Inverted images after all steps and after half of them.
    assert cost(COMPARE, SCALE).flops == (2 * 5 + 2) * VIEW
    assert cost(COMPARE, SCALE).read == 2 * 5 * 7 * 11 * 2


def test_a_training_is_three_passes_per_image_and_epoch_a_test_and_a_checkpoint_each() -> None:
    # 3 epochs of 5 images, and 4 tests of 2.
    assert cost(TRAIN, SCALE).flops == (3 * 3 * 5 + 4 * 2) * 60
    longer = replace(TRAIN, training=TRAIN.training.model_copy(update={"epochs": 5}))
    more = cost(longer, SCALE).stored["checkpoints"] - cost(TRAIN, SCALE).stored["checkpoints"]
    assert more == 2 * 13 * 4
    assert cost(OTHER_TRAIN, SCALE).flops == (3 * 3 * 17 + 4 * 3) * 60


def test_inspections_store_what_they_find_and_compute_next_to_nothing() -> None:
    gather = CollectImages(DATA, Selection(count=7))
    inspect = InspectModel("pretrained", ARCHITECTURE)
    assert cost(gather, SCALE).flops == cost(inspect, SCALE).flops == 0
    larger = cost(gather, replace(SCALE, images=10)).stored_bytes
    assert larger - cost(gather, SCALE).stored_bytes == 3 * 11 * 4


def test_costs_add_up_by_table() -> None:
    one, other = Cost(3, {"images": 5}, 2), Cost(7, {"images": 11, "models": 13}, 17)
    assert one + other == Cost(10, {"images": 16, "models": 13}, 19)
    assert one * 3 == one + one + one == Cost(9, {"images": 15}, 6)
    assert (one + other).stored_bytes == 16 + 13


def test_a_bundle_costs_what_its_tasks_cost_one_by_one() -> None:
    study = replace(STUDY, seeds=(3, 5, 7))
    tasks: list[Task] = [*study.inversions(), *study.comparisons(), TRAIN, replace(INVERT, keep=3)]
    bundle = Bundle()
    for task in tasks:
        bundle.add(task)
    each = sum((cost(task, SCALE) for task in tasks), Cost())
    together = bundle.cost(SCALE)
    assert together.flops == pytest.approx(each.flops)
    assert together.stored == pytest.approx(each.stored)
    assert together.read == pytest.approx(each.read)


def test_each_model_costs_what_its_own_blocks_do() -> None:
    narrow = Architecture(timm="vit_tiny_patch16_224", arguments={"depth": 2})
    other = replace(FINETUNED[0], architecture=narrow, depth=2)
    scale = replace(SCALE, flops=(5.0, 19.0), gradient_flops=(8.0, 29.0), units=(3, 7))
    both = replace(SCALE, others={other.kind: scale})
    view = 7 * 19 + 2 * 7 * 7 * (3 + 7)
    # Five inverted layers, noise and real images, seen by two blocks.
    assert cost(replace(COMPARE, target=other), both).flops == (2 * 5 + 2) * view
    inverted = replace(INVERT, reference=other, targets=(other, PRETRAINED))
    assert cost(inverted, both).flops == 7 * (17 * 29 + 9 * 19) + 2 * (view + VIEW)
    back = Compare(QUESTION, other, PRETRAINED, 7)
    assert cost(back, both).flops == (2 * 2 + 2) * VIEW
    assert cost(back, both).read == cost(COMPARE, SCALE).read * 2 / 5
