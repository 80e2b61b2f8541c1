"""The benchmarks still run, in small; what they assert is counted, never timed."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
import torch

from tests.benchmarks import driver, models, peer, plain, planning, published, status
from tests.benchmarks.fewest import fewest


def test_planning_holds_few_tasks() -> None:
    # In a process of its own: what this one had at its peak would hide it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        planned = alone.submit(planning.measure, 40_000).result()
    assert planned.tasks >= 40_000
    # The tasks themselves would take ten times as much.
    assert planned.peak_bytes < 30e6


def test_the_driver_does_every_idle_task(local_ray: None) -> None:
    driven = driver.drive(301, workers=2)
    assert driven.tasks == 301


def test_a_status_finds_every_part() -> None:
    assert status.measure(200).parts >= 200


TINY = {"img_size": 24, "patch_size": 8, "depth": 3, "embed_dim": 16, "num_heads": 2}


@pytest.fixture
def vit() -> torch.nn.Module:
    return models.create("vit_tiny_patch16_224", seed=3, gain=4.0, arguments=TINY)


def test_the_peer_finds_what_we_find(vit: torch.nn.Module) -> None:
    ft = models.finetuned(vit, seed=5)
    images = models.photograph_like(7, shape=models.image_shape(vit), seed=2)
    start = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    against = peer.measure(vit, ft, images=images, start=start, iterations=11, subset=5)
    # Every layer once as reference and once as target.
    assert [reference for reference, _ in against.pairs] == [1, 2, 3]
    assert sorted(target for _, target in against.pairs) == [1, 2, 3]
    paper, default = against.ours
    # Both in float32, whose sums in another order grow over the steps.
    torch.testing.assert_close(paper.residual, against.residual, atol=1e-4, rtol=0)
    assert paper.delta.max() < 1e-4
    assert default.iterations <= paper.iterations == 11


def test_the_whole_model_of_the_peer_has_the_layers_that_we_read(vit: torch.nn.Module) -> None:
    images = models.photograph_like(2, shape=models.image_shape(vit), seed=2)
    whole = published.Published(vit, layer=2)
    _, theirs = whole((images - 0.5) / 0.5)
    model = models.frozen(vit, images.device)
    readers: list[Any] = [models.representation, plain.representation]
    for read in readers:
        ours = read(model, layer=2, kind="tokens")(images)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("needed", [2, 3, 7, 19, 50])
def test_the_fewest_that_suffice_are_found(needed: int) -> None:
    assert fewest(lambda number: number >= needed, lowest=2, limit=50) == needed


def test_nothing_is_found_where_the_limit_does_not_suffice() -> None:
    assert fewest(lambda number: number >= 51, lowest=2, limit=50) is None
