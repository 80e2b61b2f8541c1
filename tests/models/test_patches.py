"""The patch embedding as a matrix product is the convolution it stands for."""

import pytest
import torch
from torch import nn

from stir_ray.models.architectures import PatchProjection, with_patch_projection


@pytest.mark.parametrize(("height", "width"), [(12, 20), (13, 22)])
def test_it_is_the_convolution_and_so_is_its_gradient(height: int, width: int) -> None:
    convolution = nn.Conv2d(3, 7, kernel_size=(4, 5), stride=(4, 5)).double()
    images = torch.rand(11, 3, height, width, dtype=torch.float64, requires_grad=True)
    ours, theirs = PatchProjection(convolution)(images), convolution(images)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    direction = torch.randn_like(theirs)
    (of_ours,) = torch.autograd.grad(ours, images, direction)
    (of_theirs,) = torch.autograd.grad(theirs, images, direction)
    torch.testing.assert_close(of_ours, of_theirs, rtol=0, atol=1e-14)


def test_parameters_keep_their_names_and_shapes() -> None:
    model = nn.Module()
    model.patch_embed = nn.Module()
    model.patch_embed.proj = nn.Conv2d(1, 5, kernel_size=3, stride=3)
    before = {name: value.shape for name, value in model.state_dict().items()}
    after = with_patch_projection(model).state_dict()
    assert {name: value.shape for name, value in after.items()} == before
    assert isinstance(model.patch_embed.proj, PatchProjection)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 5, kernel_size=7, stride=4),
        nn.Conv2d(3, 5, kernel_size=4, stride=4, padding=1),
        nn.Conv2d(3, 6, kernel_size=4, stride=4, groups=3),
        nn.Conv2d(3, 5, kernel_size=4, stride=4, dilation=2),
    ],
)
def test_another_convolution_is_left_alone(convolution: nn.Conv2d) -> None:
    model = nn.Module()
    model.patch_embed = nn.Module()
    model.patch_embed.proj = convolution
    with_patch_projection(model)
    assert model.patch_embed.proj is convolution


class OwnConvolution(nn.Conv2d):
    """A user's."""


@pytest.mark.parametrize("has_hook", [False, True])
def test_a_users_own_convolution_is_left_alone(*, has_hook: bool) -> None:
    kind = nn.Conv2d if has_hook else OwnConvolution
    model = nn.Module()
    model.patch_embed = nn.Module()
    model.patch_embed.proj = convolution = kind(3, 5, kernel_size=4, stride=4)
    if has_hook:
        convolution.register_forward_hook(lambda *_: None)
    with_patch_projection(model)
    assert model.patch_embed.proj is convolution
