"""Laws of the plan: every question once, the longest first, nothing that is known already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import JobError
from stir_ray.plan.measurement import Invert
from stir_ray.plan.study import Study, kept_images, layers_of
from stir_ray.plan.tasks import UNTRAINED, Role, deduplicate, remaining
from tests.plan.examples import (
    EPOCHS,
    FINETUNED,
    LAYERS,
    PRETRAINED,
    SEEDS,
    SPEC,
    STUDY,
    checkpoint,
    job,
    stored_by,
    with_compared,
)

DIGESTS = st.sampled_from(["pt", "a", "b", "c"])


def inverted(study: Study) -> list[tuple[str, int, int]]:
    """Weights, seed and layer of every inversion, in order."""
    return [(task.reference.weights, task.seed, task.layer) for task in study.inversions()]


@given(weights=st.lists(DIGESTS, max_size=7))
def test_weights_are_inverted_once_per_seed_and_layer(weights: list[str]) -> None:
    study = with_compared(weights)
    distinct = {"pt", *weights}
    inversions = inverted(study)
    assert len(inversions) == len(set(inversions)) == len(distinct) * len(SEEDS) * len(LAYERS)
    assert {weight for weight, _, _ in inversions} == distinct
    assert len(list(study.comparisons())) == (len(distinct) - 1) * len(SEEDS)


@given(turn=st.integers(0, 99))
def test_a_turned_plan_has_the_same_tasks_and_the_pretrained_models_first(turn: int) -> None:
    turned = replace(STUDY, turn=turn)
    shared = len(SEEDS) * len(LAYERS)
    assert inverted(turned)[0] == inverted(STUDY)[turn % shared]
    assert sorted(inverted(turned)) == sorted(inverted(STUDY))
    assert {weights for weights, _, _ in inverted(turned)[:shared]} == {"pt"}
    assert list(deduplicate([turned.inversions()])) == list(turned.inversions())


@given(weights=st.lists(DIGESTS, max_size=7))
def test_every_view_that_a_matrix_needs_is_made_by_exactly_one_task(weights: list[str]) -> None:
    study = with_compared(weights)
    tasks = [*study.inversions(), *study.comparisons()]
    views = [
        (each.reference.weights, each.target.weights, each.layer, each.seed)
        for task in tasks
        for each in task.comparisons
    ]
    pairs = {("pt", "pt")}
    for weight in set(weights):
        pairs |= {("pt", weight), (weight, "pt"), (weight, weight)}
    expected = {(*pair, layer, seed) for pair in pairs for layer in LAYERS for seed in SEEDS}
    assert len(views) == len(expected)
    assert set(views) == expected


def test_equal_weights_of_two_roles_are_inverted_once() -> None:
    scratch = (checkpoint("ft 2", "from_scratch"), checkpoint("fs", "from_scratch"))
    both = replace(STUDY, compared={"finetuned": FINETUNED, "from_scratch": scratch})
    more = [*both.inversions(), *both.comparisons()]
    tasks = [*STUDY.inversions(), *STUDY.comparisons()]
    assert len(more) - len(tasks) == len(SEEDS) * len(LAYERS) + len(SEEDS)


def test_the_pretrained_model_comes_first_then_epochs_in_order_and_deep_layers_first() -> None:
    weights = [weight for weight, _, _ in inverted(STUDY)]
    expected = ["pt", *(f"ft {epoch}" for epoch in EPOCHS)]
    assert list(dict.fromkeys(weights)) == expected
    # A worker keeps its model: nothing of it comes back later.
    assert weights == sorted(weights, key=expected.index)
    # The longest tasks of a model and seed must not be its last.
    layers = [layer for _, _, layer in inverted(STUDY)]
    assert layers == sorted(LAYERS, reverse=True) * (len(SEEDS) * len(expected))


def test_all_images_of_the_pretrained_model_are_kept_and_a_sample_of_others() -> None:
    # Every later epoch looks at those of the pretrained model.
    kept = {(task.reference.weights, task.keep) for task in STUDY.inversions()}
    assert kept == {("pt", None), *((f"ft {epoch}", 2) for epoch in EPOCHS)}
    whole = {task.images_artifact for task in STUDY.inversions() if task.keep is None}
    assert {each.images() for task in STUDY.comparisons() for each in task.comparisons} == whole


@pytest.mark.parametrize(
    ("more", "inversions", "comparisons"),
    [
        ({"compared": {"finetuned": (*FINETUNED, checkpoint("ft 4", epoch=4))}}, 2 * 5, 2),
        ({"seeds": (*SEEDS, 11)}, 5 * 4, 3),
    ],
)
def test_an_epoch_or_a_seed_more_adds_only_its_tasks(
    more: dict[str, Any], inversions: int, comparisons: int
) -> None:
    done = stored_by([*STUDY.inversions(), *STUDY.comparisons()])
    larger = replace(STUDY, **more)
    assert len(list(remaining(larger.inversions(), done))) == inversions
    assert len(list(remaining(larger.comparisons(), done))) == comparisons


def test_a_model_whose_training_did_not_end_is_left_out_and_nothing_else_changes() -> None:
    planned = tuple(checkpoint(f"{UNTRAINED}x:{epoch}", "from_scratch") for epoch in (0, 1))
    both = replace(STUDY, compared={"finetuned": FINETUNED, "from_scratch": planned})
    assert both.without_untrained() == STUDY == STUDY.without_untrained()
    partly = replace(STUDY, compared={"finetuned": (*FINETUNED, *planned)})
    assert partly.without_untrained().compared == {}


def test_the_plan_is_the_same_every_time_and_starts_at_once() -> None:
    assert list(STUDY.inversions()) == list(STUDY.inversions())
    first = next(iter(replace(STUDY, seeds=tuple(range(10**6))).inversions()))
    assert first == Invert(SPEC, PRETRAINED, LAYERS[-1], 0, (PRETRAINED,), None)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("all", (1, 2, 3, 4, 5)), ("2-4", (2, 3, 4)), ([5, 1], (1, 5))],
)
def test_layers_are_counted_from_one_to_the_last_block(
    layers: Any, expected: tuple[int, ...]
) -> None:
    assert layers_of(job(layers=layers), {"pretrained": 5}) == expected


def test_all_layers_are_those_of_the_deepest_model_and_each_has_its_own() -> None:
    depths: dict[Role, int] = {"pretrained": 5, "finetuned": 3, "from_scratch": 7}
    assert layers_of(job(layers="all"), depths) == tuple(range(1, 8))
    assert [SPEC.layers_of(replace(PRETRAINED, depth=n)) for n in (2, 5, 7, None)] == [
        (1, 2), LAYERS, LAYERS, LAYERS,
    ]  # fmt: skip


def test_a_listed_layer_must_be_one_of_every_model() -> None:
    depths: dict[Role, int] = {"pretrained": 5, "finetuned": 3}
    assert layers_of(job(layers=[1, 3]), depths) == (1, 3)
    with pytest.raises(JobError, match=r"`layers: 4` .* the finetuned model \(3\); use 1 to 3, or"):
        layers_of(job(layers=[2, 4]), depths)
    with pytest.raises(JobError, match=r"`layers: 6` .* the model \(5\); use 1 to 5$"):
        layers_of(job(layers=[2, 7, 6]), {"pretrained": 5})


@pytest.mark.parametrize(
    ("keep_images", "kept"),
    [("none", 0), ("all", None), ({"sample": 3}, 3), ({"sample": 11}, 11), ({"sample": 13}, 11)],
)
def test_no_more_images_are_kept_than_there_are(keep_images: Any, kept: int | None) -> None:
    assert kept_images(job(keep_images=keep_images)) == kept
