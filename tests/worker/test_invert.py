"""An inversion is measured exactly, and two workers at it store what goes together."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stir_ray.catalog.inspection import lake_of, resolve
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import provenance
from stir_ray.lake.schemas import IMAGES, INVERSIONS
from stir_ray.models.features import FrozenModel, representation
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.settings import InversionSettings, Precision
from stir_ray.plan.measurement import Invert
from stir_ray.results.study_reader import read_study
from stir_ray.worker import compare, invert, layer_inverter
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from stir_ray.worker.layer_inverter import LayerInverter
from tests.models.tiny import frozen, images

Contents = Mapping[str, bytes]
PRODUCTS = torch.backends.cuda.matmul


class Other:
    """Another worker, which stores artifacts of a task while this one inverts."""

    def __init__(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is done yet."""
        self.job, self.lake = job, lake_of(job)
        self._advance, self._monkeypatch = layer_inverter.advance, monkeypatch

    def has_done(self, task: Invert) -> Contents:
        """What it will store; it is not there now."""
        contents = self.stored(task)
        for key in contents:
            self.lake.objects.delete(key)
        return contents

    def stores_meanwhile(self, contents: Contents) -> None:
        """Store it when this worker's inversion has begun."""

        def slow(*args: Any, **named: Any) -> Any:
            for key, content in contents.items():
                self.lake.objects.put(key, content)
            return self._advance(*args, **named)

        self._monkeypatch.setattr(layer_inverter, "advance", slow)

    def stored_after(self, task: Invert) -> Contents:
        """Do the task here; what the lake has of it then."""
        ctx = WorkerContext(WorkerSettings(self.job.lake, "", None, 0.0), threads=1)
        ctx.begin(task.label)
        invert.invert_layer(task, ctx)
        return self.stored(task)

    def stored(self, task: Invert) -> Contents:
        """What the lake has of a task."""
        keys = [artifact_key(output.table, output.id) for output in task.outputs]
        return {key: self.lake.objects.get(key) for key in keys}


@pytest.fixture
def other(finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch) -> Other:
    return Other(finished_copy(), monkeypatch)


def tasks_of(job: Job) -> list[Invert]:
    """One whose images are kept whole, and one of which a sample is kept."""
    tasks = list(read_study(resolve(job), lake_of(job)).inversions())
    return [next(task for task in tasks if task.keep is None), tasks[-1]]


def test_artifacts_say_in_which_precision_was_searched(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, advance = set(), layer_inverter.advance

    def noted(*args: Any, settings: InversionSettings, **named: Any) -> Any:
        searched.add(str(settings.precision))
        return advance(*args, settings=settings, **named)

    monkeypatch.setattr(layer_inverter, "advance", noted)
    # As `auto` is resolved on a GPU.
    monkeypatch.setattr(invert, "resolve_precision", lambda *_: Precision.BFLOAT16)
    for task in tasks_of(other.job):
        other.has_done(task)
        other.stored_after(task)
        for schema, artifact in (
            (IMAGES, task.images_artifact),
            (INVERSIONS, task.inversion),
        ):
            footer = provenance(other.lake.read(schema, artifact.id))
            assert {footer["precision"]} == searched == {"bfloat16"}


def test_a_late_worker_replaces_nothing(other: Other) -> None:
    for task in tasks_of(other.job):
        contents = other.has_done(task)
        other.stores_meanwhile(contents)
        assert other.stored_after(task) == contents


def test_what_another_worker_lacks_is_computed_to_go_with_what_it_stored(other: Other) -> None:
    task, _ = tasks_of(other.job)
    contents = other.has_done(task)
    stored = dict(list(contents.items())[:2])
    other.stores_meanwhile(stored)
    after = other.stored_after(task)
    assert set(after) == set(contents)
    assert stored.items() <= after.items()


def test_a_task_that_is_done_is_not_done_again(other: Other, tmp_path: Path) -> None:
    task, _ = tasks_of(other.job)
    other.stores_meanwhile({"inverted": b"again"})
    other.stored_after(task)
    assert not (tmp_path / "lake" / "inverted").exists()


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """In what products were, at every pass through `model`; TF32 is chosen, as a user might."""
    before = PRODUCTS.fp32_precision
    PRODUCTS.fp32_precision = "tf32"
    yield []
    PRODUCTS.fp32_precision = before


@pytest.fixture
def model(products: list[str]) -> FrozenModel:
    """A tiny transformer."""
    model = frozen()
    model.module.get_submodule("blocks.0").register_forward_hook(
        lambda *_: products.append(str(PRODUCTS.fp32_precision))
    )
    return model


def test_features_are_of_exact_products(model: FrozenModel, products: list[str]) -> None:
    compare.layer_features(model, images(5), layers=(1, 3), pooling="tokens", micro=Microbatches(2))
    assert products == ["ieee"] * 3
    assert PRODUCTS.fp32_precision == "tf32"


def test_residuals_are_exact_where_the_search_is_not(
    model: FrozenModel, products: list[str]
) -> None:
    settings = InversionSettings(iterations=4, precision=Precision.TF32)
    inverter = LayerInverter(representation(model, layer=1, pooling="tokens"), settings)
    passes: list[int] = []

    def drift(_: object) -> float:
        passes.append(len(products))
        return 1.0

    inverter.invert(images(5), images(5, seed=4), Microbatches(), remaining_drift=drift)
    # The mean of the representations; up to each of the two evaluations the target and the steps;
    # at the last one, which has one after half of its steps, images and inverted images.
    steps = 1 + 2 + 1, 1 + 2 + 1
    assert products == ["ieee", *["tf32"] * sum(steps), "ieee", "ieee"]
    assert passes == [len(products)]


def test_every_residual_is_that_of_the_stored_image() -> None:
    settings = InversionSettings(iterations=6, precision=Precision.FLOAT32)
    represent = representation(frozen(), layer=2, pooling="token_mean")
    real = images(7)
    inverted = LayerInverter(represent, settings).invert(
        real, images(7, seed=4), Microbatches(3), remaining_drift=lambda _: 1.0
    )
    assert torch.equal(inverted.images, inverted.images.half().float())
    target = represent(real)
    distance = (represent(inverted.images) - target).norm(dim=1)

    def check(measured: Tensor, scale: Tensor) -> None:
        # Float32 products of slices of another size.
        torch.testing.assert_close(measured, distance / scale.norm(dim=1), rtol=1e-4, atol=1e-6)

    check(inverted.residual, target)
    check(inverted.centered_residual, target - target.mean(dim=0))
    assert (inverted.iterations, inverted.is_converged) == (6, False)
