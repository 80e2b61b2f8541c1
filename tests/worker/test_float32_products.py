"""What is measured of images is of full float32 products, whatever is chosen for them elsewhere."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stir_ray.models import state_dicts
from stir_ray.models.features import representation
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.settings import InversionSettings, Precision
from stir_ray.worker import compare
from stir_ray.worker.layer_inverter import LayerInverter
from tests.models.tiny import frozen, images

PRODUCTS = torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def _reduced() -> Iterator[None]:
    """TF32 is chosen for all products, as a user might."""
    before = PRODUCTS.fp32_precision
    PRODUCTS.fp32_precision = "tf32"
    yield
    PRODUCTS.fp32_precision = before


@pytest.fixture
def seen() -> list[str]:
    """In what products were, at every pass through the model."""
    return []


@pytest.fixture
def model(seen: list[str]) -> state_dicts.FrozenModel:
    found = frozen()

    def note(*_: object) -> None:
        seen.append(str(PRODUCTS.fp32_precision))

    found.module.get_submodule("blocks.0").register_forward_hook(note)
    return found


def test_looks_are_exact(model: state_dicts.FrozenModel, seen: list[str]) -> None:
    compare.layer_features(model, images(5), layers=(1, 3), pooling="tokens", micro=Microbatches(2))
    compare.layer_features(model, images(5), layers=(1,), pooling="tokens", micro=Microbatches())
    assert seen == ["ieee"] * 4
    assert PRODUCTS.fp32_precision == "tf32"


def test_residuals_are_exact_where_the_search_is_not(
    model: state_dicts.FrozenModel, seen: list[str]
) -> None:
    settings = InversionSettings(iterations=4, precision=Precision.TF32)
    search = LayerInverter(representation(model, layer=1, pooling="tokens"), settings)
    real, start = images(5), images(5, seed=4)
    looked: list[int] = []

    def drift(_: object) -> float:
        looked.append(len(seen))
        return 1.0

    search.invert(real, start, Microbatches(), remaining_drift=drift)
    # The mean of the representations; at each of the two looks the goal and the steps; of the last
    # look, which has one after half of its steps, images and inverted images.
    steps = 1 + 2 + 1, 1 + 2 + 1
    assert seen == ["ieee", *["tf32"] * sum(steps), "ieee", "ieee"]
    assert looked == [len(seen)]


def test_every_residual_is_that_of_the_stored_image(model: state_dicts.FrozenModel) -> None:
    settings = InversionSettings(iterations=6, precision=Precision.FLOAT32)
    represent = representation(model, layer=2, pooling="token_mean")
    real, start = images(7), images(7, seed=4)
    found = LayerInverter(represent, settings).invert(
        real, start, Microbatches(3), remaining_drift=lambda _: 1.0
    )
    assert torch.equal(found.images, found.images.half().float())
    goal, reached = represent(real), represent(found.images)
    away = (reached - goal).norm(dim=1)

    def check(measured: Tensor, scale: Tensor) -> None:
        # Float32 products of slices of another size.
        torch.testing.assert_close(measured, away / scale.norm(dim=1), rtol=1e-4, atol=1e-6)

    check(found.residual, goal)
    check(found.centred_residual, goal - goal.mean(dim=0))
    assert (found.iterations, found.is_converged) == (6, False)
