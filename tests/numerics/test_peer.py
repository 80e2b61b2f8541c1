"""The paper's settings follow the public code of Nanda et al. 2022, package `stir-invariance`."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

with warnings.catch_warnings():
    # Its docstrings hold LaTeX: Python complains of the backslashes whenever it compiles them.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", SyntaxWarning)
    import stir.stir as peer
    from stir.attack.attacker import AttackerModel
    from stir.attack.losses import LPNormLossSingleModel

from stir_ray.numerics.inversion import invert
from stir_ray.numerics.settings import PAPER
from stir_ray.numerics.similarity import cka_biased, linear_gram
from tests.tiny_models import representation

if TYPE_CHECKING:
    from collections.abc import Callable

    from timm.models import VisionTransformer
    from torch import Tensor


class Normaliser(torch.nn.Module):
    """Shift and scale alone: with a clip in it, the peer's inversions stall."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - 0.5) / 0.5


class UpToLayer(torch.nn.Module):
    """A model cut after a block, with the peer's call; not through timm's reader, as ours is."""

    def __init__(self, model: VisionTransformer, *, layer: int) -> None:
        super().__init__()
        self.cut = copy.deepcopy(model)
        self.cut.blocks = self.cut.blocks[:layer]
        self.cut.norm = torch.nn.Identity()

    def forward(self, images: Tensor, **_: object) -> tuple[None, Tensor]:
        return None, self.cut.forward_features(images).flatten(1)


@pytest.fixture(autouse=True)
def peer_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer moves everything to `cuda:0`; here such a move goes nowhere."""
    move: Any = torch.Tensor.to

    def stay(tensor: Tensor, *where: Any, **how: Any) -> Tensor:
        kept = [torch.device("cpu") if is_cuda(place) else place for place in where]
        return move(tensor, *kept, **how)

    def is_cuda(place: object) -> bool:
        return isinstance(place, str | torch.device) and torch.device(place).type == "cuda"

    monkeypatch.setattr(torch.Tensor, "to", stay)


@pytest.mark.parametrize(
    ("target_layer", "reference_layer"), [(1, 1), (6, 4), (12, 12), (3, 9)], ids=str
)
def test_stir_with_the_papers_settings_is_the_public_codes_stir(
    monkeypatch: pytest.MonkeyPatch,
    pretrained: VisionTransformer,
    finetuned: VisionTransformer,
    images: Tensor,
    start: Tensor,
    target_layer: int,
    reference_layer: int,
) -> None:
    monkeypatch.setattr(peer, "get_seed_images", lambda *_, **__: start)
    theirs = peer.STIR(
        UpToLayer(pretrained, layer=reference_layer),
        UpToLayer(finetuned, layer=target_layer),
        Normaliser(),
        Normaliser(),
        images,
        ve_kwargs=papers_attack(),
    )
    pt = representation(pretrained, layer=reference_layer)
    ft = representation(finetuned, layer=target_layer)
    # The peer forms float32 Gram matrices before it centres them, and float32 sums in another
    # order grow over 50 steps: together below 1e-6 here. Most layers differ by 1e-3.
    assert stir(inverted_by=pt, seen_by=ft, images=images, start=start) == pytest.approx(
        theirs.m2m1, abs=1e-5
    )
    assert stir(inverted_by=ft, seen_by=pt, images=images, start=start) == pytest.approx(
        theirs.m1m2, abs=1e-5
    )


def test_images_inverted_with_the_papers_settings_are_the_public_codes_images(
    pretrained: VisionTransformer, images: Tensor, start: Tensor
) -> None:
    # In float64: float32 sums in another order grow to 1e-4 in a pixel over 50 steps.
    model = copy.deepcopy(pretrained).double()
    see = representation(model, layer=6)
    (_, theirs), _ = AttackerModel(UpToLayer(model, layer=6), Normaliser())(
        inp=start.double(), target=see(images.double()), make_adv=True, **papers_attack()
    )
    ours = invert(see, images=images.double(), start=start.double(), settings=PAPER)
    # The 1e-10 that keeps 0 / 0 away weighs 13 times more in the peer's mean than in our sum.
    torch.testing.assert_close(ours.images, theirs, atol=1e-6, rtol=0)


def papers_attack() -> dict[str, Any]:
    """The settings of Merlin et al. 2023 in the peer's words."""
    return {
        "custom_loss": LPNormLossSingleModel(SimpleNamespace(lpnorm_type=2.0)),
        "constraint": "unconstrained",
        "eps": 1000,  # unused without a constraint
        "step_size": 0.5,
        "iterations": 50,
        "targeted": True,
        "should_normalize": True,
        "use_best": True,
    }


def stir(
    *,
    inverted_by: Callable[[Tensor], Tensor],
    seen_by: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
) -> float:
    """STIR(`seen_by` | `inverted_by`) from our pieces."""
    inversion = invert(inverted_by, images=images, start=start, settings=PAPER)
    return cka_biased(linear_gram(seen_by(images)), linear_gram(seen_by(inversion.images)))
