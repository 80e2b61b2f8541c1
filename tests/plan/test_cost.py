"""What tasks cost, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stir_ray.job import Selection
from stir_ray.plan.cost import Cost, Scale, cost
from stir_ray.plan.measurement import Compare, Invert
from stir_ray.plan.preparation import GatherImages, InspectModel
from tests.plan.examples import ARCHITECTURE, DATA, FINETUNED, PRETRAINED, QUESTION, TRAIN

SCALE = Scale(
    flops=(3.0, 10.0, 24.0, 41.0, 60.0),
    images=7,
    pixels=11,
    parameters=13,
    training_images={"finetuned": 5, "pretrained": 17},
)
INVERT = Invert(QUESTION, PRETRAINED, 2, 7, (FINETUNED[0], PRETRAINED), keep=0)
COMPARE = Compare(QUESTION, PRETRAINED, FINETUNED[0], 7)


def test_an_inversion_is_forward_and_backward_to_its_layer_and_a_view_per_target() -> None:
    # 7 images x (17 steps x 2 passes + 3 forward passes) x 10, and 2 targets x 7 images x 60.
    assert cost(INVERT, SCALE).flops == 7 * (17 * 2 + 3) * 10 + 2 * 7 * 60


def test_a_step_costs_two_passes_of_every_image() -> None:
    def with_iterations(iterations: int) -> float:
        settings = replace(QUESTION.settings, iterations=iterations)
        return cost(replace(INVERT, question=replace(QUESTION, settings=settings)), SCALE).flops

    assert with_iterations(29) - with_iterations(17) == (29 - 17) * 2 * 7 * 10


@pytest.mark.parametrize("task", [INVERT, COMPARE], ids=["invert", "compare"])
def test_the_operations_grow_with_the_images(task: Any) -> None:
    once, thrice = cost(task, SCALE), cost(task, replace(SCALE, images=21))
    assert thrice.flops == 3 * once.flops


def test_a_deeper_layer_costs_more() -> None:
    flops = [cost(replace(INVERT, layer=layer), SCALE).flops for layer in range(1, 6)]
    assert flops == sorted(set(flops))


def test_a_kept_image_takes_two_bytes_per_pixel() -> None:
    stored = {k: cost(replace(INVERT, keep=k), SCALE).stored_bytes for k in (0, 2, 5, 7, None)}
    assert stored[5] - stored[2] == (5 - 2) * 11 * 2
    assert stored[7] == stored[None]
    # One part more, which is not free.
    assert stored[2] - stored[0] > 2 * 11 * 2


def test_a_comparison_is_one_view_of_every_inverted_layer() -> None:
    assert cost(COMPARE, SCALE).flops == 5 * 7 * 60


def test_a_training_is_three_passes_per_image_and_epoch_and_a_checkpoint_each() -> None:
    assert cost(TRAIN, SCALE).flops == 3 * 3 * 5 * 60
    longer = replace(TRAIN, training=TRAIN.training.model_copy(update={"epochs": 5}))
    more = cost(longer, SCALE).stored_bytes - cost(TRAIN, SCALE).stored_bytes
    assert more == 2 * 13 * 4
    assert cost(replace(TRAIN, name="pretrained"), SCALE).flops == 3 * 3 * 17 * 60


def test_inspections_store_what_they_find_and_compute_next_to_nothing() -> None:
    gather = GatherImages(DATA, Selection(count=7))
    inspect = InspectModel("pretrained", ARCHITECTURE)
    assert cost(gather, SCALE).flops == cost(inspect, SCALE).flops == 0
    larger = cost(gather, replace(SCALE, images=10)).stored_bytes
    assert larger - cost(gather, SCALE).stored_bytes == 3 * 11 * 4


def test_costs_add_up() -> None:
    assert Cost(3, 5) + Cost(7, 11) == Cost(10, 16)
    assert sum([Cost(3, 5), Cost(7, 11)], Cost()) == Cost(10, 16)
