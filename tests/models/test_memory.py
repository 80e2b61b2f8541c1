"""What is predicted of memory is what the allocator sees, and what fits is what is tried."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from stir_ray.job import Architecture, Training
from stir_ray.models import memory
from stir_ray.models.architectures import build
from stir_ray.models.checkpoints import FrozenModel, freeze
from stir_ray.models.features import representation
from stir_ray.models.losses import LabelledImages
from stir_ray.models.memory import PROCESS_PER_TENSOR, Footprint, Successive, footprint, free_bytes
from stir_ray.models.microbatches import Microbatches
from stir_ray.models.training import train, training_footprint
from stir_ray.numerics.inversion import invert
from stir_ray.numerics.settings import DEFAULT, PAPER, InversionSettings
from stir_ray.worker.grams import view, view_footprint
from tests.models.tiny import CPU, frozen, images, vit

SMALL, WIDE = vit(embed_dim=32), vit(embed_dim=48, depth=4, num_heads=3, patch_size=4)
WIDER = vit(embed_dim=192, depth=2, num_heads=3)
CLOSE = 0.2
"""As a fraction: kernels take workspaces that no tensor holds."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Workspaces may depend on the threads; beside models this small they are not small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def allocated_at_peak(do: Callable[[], object]) -> int:
    """Bytes that the CPU's allocator gave and had not got back, at the most: the oracle."""
    do()  # What is allocated once for all is not of this work.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        made = do()
    recorder = seen.profiler
    assert recorder is not None
    assert recorder.kineto_results is not None
    noted: list[Any] = recorder.kineto_results.events()
    changes = sorted((one.start_ns(), one.nbytes()) for one in noted if one.name() == "[memory]")
    now = peak = 0
    for _, change in changes:
        now += change
        peak = max(peak, now)
    del made
    return peak


def inversion(
    model: FrozenModel, layer: int, settings: InversionSettings, shape: tuple[int, ...]
) -> Callable[[int], object]:
    """An inversion of so many images, which are there before."""
    real, start = images(97, shape), images(97, shape, seed=5)
    represent = representation(model, layer=layer, kind="tokens")
    return lambda count: invert(
        represent, images=real[:count], start=start[:count], settings=settings
    )


@pytest.mark.parametrize("settings", [DEFAULT, PAPER], ids=["adam", "normalised"])
@pytest.mark.parametrize(
    ("architecture", "layer"), [(SMALL, 1), (SMALL, 3), (WIDE, 2), (WIDE, 4), (WIDER, 2)]
)
def test_the_peak_of_an_inversion_is_predicted(
    architecture: Architecture, layer: int, settings: InversionSettings
) -> None:
    model = frozen(architecture)
    brief, longer = (replace(settings, iterations=steps) for steps in (2, 5))
    shape = (1, 16, 16)
    found = footprint(inversion(model, layer, brief, shape))
    for count in (53, 97):
        measured = allocated_at_peak(lambda c=count: inversion(model, layer, longer, shape)(c))
        assert found.of(count, count) == pytest.approx(measured, rel=CLOSE)


@pytest.mark.parametrize("architecture", [SMALL, WIDE, WIDER], ids=["small", "wide", "wider"])
@pytest.mark.parametrize("at_once", [3, 17])
def test_the_peak_of_a_view_is_predicted(architecture: Architecture, at_once: int) -> None:
    model, shown = frozen(architecture), images(17, (1, 16, 16))
    layers = range(1, 1 + len(list(model.module.get_submodule("blocks").children())))
    found = view_footprint(model, shown, layers=layers, kind="tokens")
    measured = allocated_at_peak(
        lambda: view(model, shown, layers=layers, kind="tokens", micro=Microbatches(at_once))
    )
    assert found.of(at_once, len(shown)) == pytest.approx(measured, rel=CLOSE)


def trained(
    architecture: Architecture, settings: Training, at_once: int | None
) -> tuple[Successive, int]:
    """What is predicted of a training, and bytes at its peak."""
    model = freeze(build(architecture, classes=3), architecture, CPU)
    shown = LabelledImages(images(2 * BATCH, (1, 16, 16)), torch.arange(2 * BATCH) % 3)
    found = training_footprint(model, settings, shown)

    def do() -> object:
        micro = Microbatches(at_once)
        epochs = train(model, settings, train_set=shown, test_set=shown, micro=micro)
        # An epoch is there until the next one ends, as where epochs are stored.
        return deque(epochs, maxlen=1)

    return found, allocated_at_peak(do)


BATCH = 23


@pytest.mark.parametrize(
    ("architecture", "optimizer", "at_once", "precision"),
    [
        (SMALL, "adamw", 1, "none"),
        (SMALL, "sgd", 11, "none"),
        (WIDE, "adamw", 11, "none"),
        (WIDE, "nesterov", 5, "bf16"),
    ],
)
def test_the_peak_of_a_training_in_slices_is_predicted(
    architecture: Architecture, optimizer: str, at_once: int, precision: str
) -> None:
    settings = Training.model_validate(
        {"epochs": 3, "batch_size": BATCH, "optimizer": optimizer, "mixed_precision": precision}
    )
    found, measured = trained(architecture, settings, at_once)
    assert found.of(at_once, BATCH) == pytest.approx(measured, rel=CLOSE)


def test_whole_batches_take_what_is_predicted_or_a_gradient_less() -> None:
    found, measured = trained(WIDE, Training(epochs=1, batch_size=BATCH), None)
    weights = sum(tensor.nbytes for tensor in build(WIDE, classes=3).parameters())
    predicted = found.of(BATCH, BATCH)
    assert (1 - CLOSE) * (predicted - weights) <= measured <= (1 + CLOSE) * predicted


@given(
    st.builds(
        Footprint,
        fixed=st.integers(0, 1009),
        per_image=st.integers(211, 401),
        kept=st.integers(0, 199),
        after=st.integers(0, 307),
    ),
    st.integers(1, 97),
    st.integers(0, 50_021),
)
def test_the_most_images_that_fit_fit_and_one_more_does_not(
    needs: Footprint, count: int, room: int
) -> None:
    most = needs.most(count, room)
    assert 0 <= most <= count
    if most:
        assert needs.of(most, count) <= room
    if most < count:
        assert needs.of(most + 1, count) > room


def test_a_trial_leaves_the_random_state_and_the_weights_as_they_are() -> None:
    model = frozen(SMALL)
    state, weights = torch.get_rng_state(), [weight.clone() for weight in model.module.parameters()]
    footprint(inversion(model, 2, replace(DEFAULT, iterations=2), (1, 16, 16)))
    view_footprint(model, images(7), layers=(1, 3), kind="tokens")
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(model.module.parameters(), weights, strict=True)
    assert all(torch.equal(weight, before) and weight.grad is None for weight, before in pairs)


def test_what_is_freed_between_two_steps_is_not_counted_twice() -> None:
    def steps(count: int) -> torch.Tensor:
        there = torch.zeros(count, 1000)
        for _ in range(5):
            there = there + 1
        return there

    found = footprint(steps)
    assert (found.fixed, found.per_image, found.kept) == (0, 8000, 4000)


def limited(group: Path, most: str, used: int, files: int) -> None:
    """A control group as Linux shows it."""
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 7\ninactive_file {files}\nslab 5\n")


def test_a_container_has_no_more_memory_than_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free_bytes(CPU, 1.0) > 0
    limited(tmp_path / "limited", "5000", 3000, 1000)
    limited(tmp_path / "free", "max", 3000, 1000)
    assert list(memory.cgroup_bytes(tmp_path / "limited")) == [3000]
    assert list(memory.cgroup_bytes(tmp_path / "free")) == []
    monkeypatch.setattr(memory, "cgroup_bytes", lambda: [3000])
    assert free_bytes(CPU, 1.0) == pytest.approx(0.9 * 3000 / PROCESS_PER_TENSOR)


def test_a_worker_takes_its_share_and_never_less_than_a_machine_keeps_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "cgroup_bytes", list)
    monkeypatch.setattr(memory, "_machine_bytes", lambda: 64 * 2**30)
    assert free_bytes(CPU, 0.25) == pytest.approx(0.9 * 16 * 2**30 / PROCESS_PER_TENSOR)
    # One thread of very many.
    assert free_bytes(CPU, 1 / 256) == pytest.approx(0.9 * 2 * 2**30 / PROCESS_PER_TENSOR)
    monkeypatch.setattr(memory, "_machine_bytes", lambda: 2**30)
    assert free_bytes(CPU, 1 / 256) == pytest.approx(0.9 * 2**30 / PROCESS_PER_TENSOR)
