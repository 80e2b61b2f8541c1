"""The questions of a job, asked of two models at hand."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import xarray as xr
from torch import Tensor, nn

import stir_ray
from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import IMAGE_SETS
from stir_ray.models import checkpoints
from stir_ray.models.features import representation
from stir_ray.numerics.criteria import is_moving
from stir_ray.numerics.initialization import initialization_of
from stir_ray.numerics.settings import Initialization
from stir_ray.numerics.similarity import cka_unbiased, linear_gram
from stir_ray.plan.checkpoints import LAKE, Checkpoint
from stir_ray.worker import layer_inverter
from tests import oracles
from tests.broken import study_of
from tests.small_job import ARCHITECTURE, small_job

IMAGES, SIZE = 7, 16
BRIEF = stir_ray.InversionSettings(iterations=3)
unconverged = pytest.mark.filterwarnings("ignore::stir_ray.api.ConvergenceWarning")


def model(seed: int, **changed: Any) -> nn.Module:
    """A small vision transformer as somebody has it at hand: in training, with a classifier."""
    arguments: dict[str, Any] = {**ARCHITECTURE["arguments"], "drop_rate": 0.5, **changed}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = timm.create_model(ARCHITECTURE["timm"], num_classes=5, **arguments)
        for name, weight in made.named_parameters():
            if name.startswith("blocks.") and weight.ndim == 2:
                # timm's fresh blocks add next to nothing.
                weight.data.mul_(4)
    return made.train()


def pictures(count: int = IMAGES, size: int = SIZE) -> Tensor:
    """Grey images that have nothing in common."""
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(11))


@pytest.fixture(scope="module")
def pt() -> nn.Module:
    return model(1)


@pytest.fixture(scope="module")
def ft() -> nn.Module:
    return model(2)


@pytest.fixture(scope="module")
def inverted(pt: nn.Module) -> stir_ray.Inversions:
    return stir_ray.invert(pt, images=pictures(), settings=BRIEF, seed=5)


def _loaded(checkpoint: Checkpoint, lake: Lake) -> nn.Module:
    where = checkpoint.location
    state = checkpoints.decode(lake.read_checkpoint(where.removeprefix(LAKE)), where)
    return checkpoints.load(state, checkpoint.architecture, where)


@unconverged
def test_numbers_are_those_of_a_job(finished: Path) -> None:
    job = small_job(finished)
    study, lake = study_of(job)
    results = stir_ray.open_results(str(finished / "jobs" / "small")).sel(model="finetuned")
    table = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    pixels = [np.frombuffer(one.as_py(), np.float32).reshape(1, 16, 16) for one in table["image"]]
    asked: Mapping[str, Any] = {
        "images": torch.from_numpy(np.stack(pixels)),
        "image_ids": table["image_id"].to_pylist(),
        "settings": job.inversion.settings(),
    }
    pt = _loaded(study.pretrained, lake)
    last = study.compared["finetuned"][-1]
    ft = _loaded(last, lake)
    inverted = [stir_ray.invert(pt, seed=seed, **asked) for seed in study.seeds]
    for seed, one in zip(study.seeds, inverted, strict=True):
        there = results.sel(direction="ft|pt", epoch=last.epoch, seed=seed)
        for estimator, suffix in (("biased", ""), ("unbiased", "_unbiased")):
            found = stir_ray.stir(inverted_by=one, seen_by=ft, estimator=estimator)
            for name in ("stir", "cka"):
                _same(found[name], there[f"{name}{suffix}"])
            _same(found["stir_drift"], there[f"stir{suffix}_drift"])
            for name in ("centred_residual_median", "centred_residual_max", "unconverged"):
                _same(found[name], there[name])
            _same(found["noise_stir"], there[f"noise_stir{suffix}"][0])
            _same(found["chance_stir"], there[f"chance_stir{suffix}"][0])
            _same(found["chance_stir_q95"], there[f"chance_stir{suffix}_q95"][0])
    for estimator in ("biased", "unbiased"):
        there = results.sel(epoch=last.epoch, estimator=estimator)
        roles: Any = {"finetuned": ft, "estimator": estimator}
        lost = [stir_ray.forgetting(pretrained=one, **roles) for one in inverted]
        _same(sum(lost) / len(lost), there["forgetting"].T)
        moved = [one["drift"] for one in lost]
        _same(sum(moved) / len(moved), there["forgetting_drift"].T)
        flows = [stir_ray.flow(pretrained=one, **roles) for one in inverted]
        for name in ("flow", "flow_control", "flow_beyond_control"):
            moved = [one[f"{name}_drift"] for one in flows]
            _same(sum(moved) / len(moved), there[f"{name}_drift"])
            for one in flows:
                expected = is_moving(one[name], one[f"{name}_drift"])
                np.testing.assert_array_equal(one[f"{name}_is_moving"], expected)
            _same(sum(one[name] for one in flows) / len(flows), there[name])
        _same(stir_ray.cka_divergence(pretrained=inverted[0], **roles), there["cka_divergence"].T)
    own = [stir_ray.invert(ft, seed=seed, **asked) for seed in study.seeds]
    new = [stir_ray.learning(pretrained=pt, finetuned=one) for one in own]
    _same(sum(new) / len(new), results.sel(epoch=last.epoch, estimator="unbiased")["learning"].T)


def _same(found: Any, expected: xr.DataArray) -> None:
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)


def _features(module: nn.Module, images: Tensor, layer: int) -> Tensor:
    """All tokens of a block, by timm alone."""
    seen = copy.deepcopy(module).eval().double()
    with torch.no_grad():
        patches, prefix = seen.forward_intermediates(  # pyright: ignore[reportCallIssue]
            (images.double() - 0.5) / 0.5,
            return_prefix_tokens=True,
            output_fmt="NLC",
            intermediates_only=True,
        )[layer - 1]
    return torch.cat([prefix, patches], dim=1).flatten(1)


@unconverged
def test_stir_is_cka_of_what_the_target_makes_of_images_and_inverted_images(
    ft: nn.Module, inverted: stir_ray.Inversions
) -> None:
    for estimator, hsic in (("biased", oracles.hsic_biased), ("unbiased", oracles.hsic_unbiased)):
        found = stir_ray.stir(inverted_by=inverted, seen_by=ft, estimator=estimator)["stir"]
        for reference, target in ((1, 3), (3, 1)):
            real = _features(ft, inverted.images, target)
            fooled = _features(ft, inverted.of_layer[reference].images, target)
            expected = oracles.cka(hsic, real, fooled)
            here = found.sel(reference_layer=reference, target_layer=target)
            # The features are float32 here.
            assert float(here) == pytest.approx(expected, abs=1e-5)


def test_inversions_are_those_of_the_reference(pt: nn.Module) -> None:
    found = stir_ray.invert(pt, images=pictures(4), layers=[2], settings=BRIEF, seed=3)
    residual = found.residuals.sel(reference_layer=2)
    own = copy.deepcopy(pt).double()
    real, seen = (_features(own, one, 2) for one in (found.images, found.of_layer[2].images))
    norms = torch.linalg.vector_norm(real - real.mean(dim=0), dim=1)
    expected = torch.linalg.vector_norm(seen - real, dim=1) / norms
    np.testing.assert_allclose(residual, expected.numpy(), rtol=1e-4)
    assert bool((found.of_layer[2].residual < found.of_layer[2].start_residual).all())


def test_between_equal_models_nothing_is_lost_learned_or_moved(pt: nn.Module) -> None:
    asked: dict[str, Any] = {"images": pictures(), "settings": BRIEF}
    pair: dict[str, Any] = {"pretrained": pt, "finetuned": copy.deepcopy(pt)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stir_ray.ConvergenceWarning)
        lost, new = stir_ray.forgetting(**pair, **asked), stir_ray.learning(**pair, **asked)
        flows = stir_ray.flow(**pair, **asked)
    moved = stir_ray.cka_divergence(**pair, images=pictures())
    for one in (lost, new, moved, flows["flow_beyond_control"]):
        assert float(abs(one).max()) == 0
    assert np.diagonal(flows["flow"]).tolist() == [0, 0, 0]
    assert float(abs(flows["flow"]).max()) > 0


@unconverged
def test_what_is_given_is_left_as_it_was(pt: nn.Module, ft: nn.Module) -> None:
    images = pictures()
    before = [copy.deepcopy(one.state_dict()) for one in (pt, ft)]
    drawn = torch.random.get_rng_state()
    shown = images.clone()
    stir_ray.stir(inverted_by=pt, seen_by=ft, images=images, settings=BRIEF)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert torch.equal(images, shown)
    for one, state in zip((pt, ft), before, strict=True):
        assert all(module.training for module in one.modules())
        assert all(weight.requires_grad and weight.grad is None for weight in one.parameters())
        assert all(torch.equal(state[name], now) for name, now in one.state_dict().items())
        assert isinstance(one.patch_embed.proj, nn.Conv2d)  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]


@unconverged
def test_the_order_of_images_is_irrelevant(pt: nn.Module, ft: nn.Module) -> None:
    images, order = pictures(), [4, 0, 6, 2, 5, 1, 3]
    ids = [101, 5, 77, 13, 2, 59, 31]
    of = [
        stir_ray.invert(pt, images=shown, image_ids=drawn, settings=BRIEF)
        for shown, drawn in ((images, ids), (images[order], [ids[one] for one in order]))
    ]
    first, second = (stir_ray.stir(inverted_by=one, seen_by=ft) for one in of)
    for name in ("stir", "cka", "self_stir", "noise_stir", "centred_residual_median"):
        # Products of rows in another place may round differently, and Adam's steps with them.
        np.testing.assert_allclose(first[name], second[name], atol=1e-4)


@unconverged
def test_the_noise_that_stir_is_held_against_is_an_image(pt: nn.Module, ft: nn.Module) -> None:
    chosen: Any = {"layers": [2], "settings": BRIEF}
    noise = stir_ray.stir(inverted_by=pt, seen_by=ft, images=pictures(), **chosen)["noise_stir"]
    start = initialization_of(
        Initialization.NOISE, images=pictures(), image_ids=range(IMAGES), seed=0
    )
    represent = representation(stir_ray.frozen(ft), layer=2, kind="tokens")
    of_images, of_noise = (
        linear_gram(represent(shown).detach()) for shown in (pictures(), start.clamp(0, 1))
    )
    np.testing.assert_allclose(noise, [cka_unbiased(of_images, of_noise)], atol=1e-6)


@unconverged
def test_how_many_images_go_through_at_once_is_irrelevant(pt: nn.Module, ft: nn.Module) -> None:
    scores = [
        stir_ray.stir(
            inverted_by=stir_ray.invert(pt, images=pictures(), settings=BRIEF, batch=batch),
            seen_by=ft,
        )["stir"]
        for batch in (None, 3)
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


@unconverged
def test_a_model_is_inverted_once_for_several_questions(
    pt: nn.Module, ft: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, counted = layer_inverter.Search.inverted, []

    def counting(self: layer_inverter.Search, *rest: Any, **named: Any) -> Any:
        counted.append(self)
        return really(self, *rest, **named)

    monkeypatch.setattr(layer_inverter.Search, "inverted", counting)
    found = stir_ray.invert(pt, images=pictures(), settings=BRIEF)
    stir_ray.stir(inverted_by=found, seen_by=ft)
    stir_ray.forgetting(pretrained=found, finetuned=ft)
    stir_ray.flow(pretrained=found, finetuned=ft, images=pictures())
    stir_ray.cka_divergence(pretrained=found, finetuned=ft)
    assert len(counted) == 3
    stir_ray.learning(pretrained=found, finetuned=ft, images=pictures(), settings=BRIEF)
    assert len(counted) == 6


@unconverged
def test_models_may_differ_in_depth_and_width(inverted: stir_ray.Inversions) -> None:
    shallow, deep = model(3, depth=2, embed_dim=24), model(4, depth=5, embed_dim=8)
    seen = stir_ray.stir(inverted_by=inverted, seen_by=deep)["stir"]
    assert seen.dims == ("reference_layer", "target_layer")
    assert seen.shape == (3, 5)
    lost = stir_ray.forgetting(pretrained=inverted, finetuned=shallow)
    assert lost["target_layer"].values.tolist() == [1, 2]
    assert lost["reference_layer"].values.tolist() == [1, 2, 3]
    flows = stir_ray.flow(pretrained=inverted, finetuned=shallow)
    assert flows["flow"]["reference_layer"].values.tolist() == [1, 2]
    moved = stir_ray.cka_divergence(pretrained=shallow, finetuned=deep, images=pictures())
    assert moved.shape == (2, 2)


@unconverged
def test_chosen_layers_are_those_of_all(ft: nn.Module, pt: nn.Module) -> None:
    asked: dict[str, Any] = {"images": pictures(), "settings": BRIEF, "seed": 5}
    whole = stir_ray.stir(inverted_by=pt, seen_by=ft, **asked)
    some = stir_ray.stir(inverted_by=pt, seen_by=ft, layers=[3, 1], **asked)
    assert some["reference_layer"].values.tolist() == [1, 3]
    chosen = whole.sel(reference_layer=[1, 3], target_layer=[1, 3])
    np.testing.assert_allclose(some["stir"], chosen["stir"], atol=1e-6)


def test_inversions_that_do_not_converge_are_warned_of(pt: nn.Module, ft: nn.Module) -> None:
    said = r"of \d of 3 layers did not converge in 3 steps: 95 % .* of up to \d\.\d+"
    with pytest.warns(stir_ray.ConvergenceWarning, match=said) as caught:
        found = stir_ray.stir(
            inverted_by=pt, seen_by=ft, images=pictures(), settings=BRIEF, representation="cls"
        )
    assert caught[0].filename == __file__
    assert not found["converged"].all()
    assert found.attrs["representation"] == "cls"


def test_inversions_that_converge_are_not(ft: nn.Module) -> None:
    # Blocks as timm makes them, which are easy.
    easy = timm.create_model(ARCHITECTURE["timm"], num_classes=0, **ARCHITECTURE["arguments"])
    found = stir_ray.stir(inverted_by=easy, seen_by=ft, images=pictures(), estimator="unbiased")
    assert found["converged"].all()
    assert float(found["self_stir"].min()) >= 0.99


@unconverged
def test_every_array_says_what_it_is(inverted: stir_ray.Inversions, ft: nn.Module) -> None:
    pair: dict[str, Any] = {"pretrained": inverted, "finetuned": ft}
    every: list[xr.DataArray] = [
        *stir_ray.stir(inverted_by=inverted, seen_by=ft).data_vars.values(),
        *stir_ray.flow(**pair).data_vars.values(),
        stir_ray.forgetting(**pair),
        stir_ray.cka_divergence(**pair),
        inverted.residuals,
    ]
    for one in every:
        assert one.name
        assert {"long_name", "meaning", "units", "range"} <= set(one.attrs)
        assert one.attrs["units"] == "1"
        low, high = _range(one)
        top = IMAGES if high == "images" else float(high)
        assert float(low) - 1e-9 <= float(one.min()) <= float(one.max()) <= top + 1e-9


def _range(one: xr.DataArray) -> tuple[str, str]:
    if one.dtype == bool:
        return "0", "1"
    found = re.match(r"\[(-?\d), (\d|inf|images)[])]", one.attrs["range"])
    assert found
    return found[1], found[2]


def test_controversial_images_are_the_same_to_one_model_and_different_to_the_other(
    pt: nn.Module, ft: nn.Module
) -> None:
    # Somewhat alike: of models that share nothing, any inversion is controversial.
    near = copy.deepcopy(pt)
    with torch.no_grad():
        for weight, other in zip(near.parameters(), ft.parameters(), strict=True):
            weight.lerp_(other, 0.2)
    images, settings = pictures(5), stir_ray.InversionSettings(iterations=30)
    asked: dict[str, Any] = {"images": images, "settings": settings, "seed": 3}
    found = stir_ray.controversial(
        same_to=pt, different_to=near, layer=2, different_layer=3, **asked
    )
    assert found["images"].shape == images.shape
    inverted = stir_ray.invert(pt, layers=[2], **asked).of_layer[2].images
    made = torch.from_numpy(found["images"].values)
    by_chance = _distance(near, inverted, images, 3)
    np.testing.assert_allclose(found["same"], _distance(pt, made, images, 2), rtol=1e-4)
    np.testing.assert_allclose(found["different"], _distance(near, made, images, 3), rtol=1e-4)
    assert (found["different"] > 1.2 * by_chance).all(), (found, by_chance)
    assert (found["different"] > 1.5 * found["same"]).all(), found
    for one in found.data_vars.values():
        assert {"long_name", "meaning", "units", "range"} <= set(one.attrs)
        low, high = one.attrs["range"][1:-1].split(", ")
        top = settings.iterations if high == "iterations" else float(high)
        assert float(low) <= float(one.min()) <= float(one.max()) <= top
    assert (found.attrs["layer"], found.attrs["different_layer"]) == (2, 3)


def _distance(module: nn.Module, found: Tensor, images: Tensor, layer: int) -> np.ndarray:
    """Relative, of every image, by timm alone."""
    seen, real = (_features(module, some, layer) for some in (found, images))
    norms = torch.linalg.vector_norm(real, dim=1)
    return (torch.linalg.vector_norm(seen - real, dim=1) / norms).numpy()


@unconverged
def test_controversial_images_take_models_as_the_other_questions_do(
    pt: nn.Module, inverted: stir_ray.Inversions
) -> None:
    deep = model(4, depth=5, embed_dim=8)
    asked: dict[str, Any] = {"images": pictures(1), "settings": BRIEF, "layer": 3}
    given = [
        stir_ray.controversial(same_to=one, different_to=other, different_layer=5, **asked)
        for one, other in ((pt, deep), (inverted, stir_ray.frozen(deep)))
    ]
    assert given[0].equals(given[1])
    with pytest.raises(ValueError, match=r"layers=\[4\]; expected numbers from 1 to 3"):
        stir_ray.controversial(same_to=pt, different_to=deep, **{**asked, "layer": 4})
    with pytest.raises(ValueError, match=r"at least 1 image$"):
        stir_ray.controversial(same_to=pt, different_to=deep, **{**asked, "images": pictures(0)})
    with pytest.raises(ValueError, match="takes 16 x 16"):
        stir_ray.controversial(
            same_to=pt, different_to=deep, **{**asked, "images": pictures(1, size=24)}
        )
    with pytest.raises(ValueError, match=r"weight 0 and enough 1\.0 must be above 0"):
        stir_ray.controversial(same_to=pt, different_to=deep, weight=0, **asked)


_BYTES = (255 * pictures()).to(torch.uint8)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (_BYTES, ["uint8", "divide by 255"]),
        (pictures() * 2 - 1, ["lie in [-", "expected [0, 1], before they are normalised"]),
        (pictures() / 0, ["expected [0, 1]"]),
        (pictures(3), ["at least 4 images"]),
        (pictures()[0], ["(image, channel, height, width)"]),
        (pictures(size=24), ["1 x 24 x 24", "takes 16 x 16"]),
        (pictures().expand(-1, 3, -1, -1), ["3 x 16 x 16"]),
        (pictures().numpy(), ["ndarray", "float tensor"]),
        (None, ["`images` are missing"]),
    ],
)
def test_images_that_cannot_be_looked_at_are_refused(
    pt: nn.Module, ft: nn.Module, images: Any, expected: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        stir_ray.stir(inverted_by=pt, seen_by=ft, images=images, settings=BRIEF)
    assert [part for part in expected if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"layers": [0]}, "numbers from 1 to 3"),
        ({"layers": [2, 4]}, "numbers from 1 to 3"),
        ({"layers": []}, "numbers from 1 to 3"),
        ({"layers": "most"}, 'expected "all" or numbers'),
        ({"settings": "published"}, "expected InversionSettings, default or paper"),
        ({"representation": "mean"}, "expected tokens, token_mean, cls, patch_mean"),
        ({"estimator": "debiased"}, "expected unbiased or biased"),
    ],
)
@unconverged
def test_what_cannot_be_asked_is_refused(
    pt: nn.Module, said: dict[str, Any], expected: str
) -> None:
    asked: dict[str, Any] = {"settings": BRIEF, **said}
    with pytest.raises(ValueError, match=re.escape(expected)):
        stir_ray.stir(inverted_by=pt, seen_by=pt, images=pictures(4), **asked)


def test_models_that_cannot_be_looked_through_are_refused(pt: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"Linear has no block outputs .* model of timm"):
        stir_ray.invert(nn.Linear(3, 3), images=pictures())
    nameless = copy.deepcopy(pt)
    del nameless.pretrained_cfg, nameless.default_cfg
    with pytest.raises(ValueError, match=r"mean .* not known .* stir_ray.frozen"):
        stir_ray.invert(nameless, images=pictures())
    with pytest.raises(ValueError, match="std has 3 values for 1 channels"):
        stir_ray.frozen(pt, mean=[0.5], std=[0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="frozen already"):
        stir_ray.frozen(stir_ray.frozen(pt), mean=[0.5])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"seed": 5}, "`seed` was said to `invert`"),
        ({"layers": [1]}, "`layers` was said to `invert`"),
        ({"settings": "paper"}, "`settings` was said to `invert`"),
        ({"images": pictures(5)}, "`images` are not those that were inverted"),
    ],
)
def test_what_inversions_have_is_not_said_again(
    inverted: stir_ray.Inversions, ft: nn.Module, said: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        stir_ray.stir(inverted_by=inverted, seen_by=ft, **said)


@unconverged
def test_mean_and_std_are_the_models_own_unless_given(pt: nn.Module) -> None:
    own = stir_ray.frozen(pt)
    config: Any = pt.pretrained_cfg
    assert config["mean"][0] == float(own.mean)
    dark = stir_ray.frozen(pt, mean=[0.1], std=[0.3])
    first, second = (
        stir_ray.cka_divergence(pretrained=pt, finetuned=one, images=pictures())
        for one in (own, dark)
    )
    assert float(abs(first).max()) == 0 < float(abs(second).max())


def test_the_example_of_the_docstring_runs() -> None:
    from stir_ray import api

    blocks = re.findall(r"\n\n((?: {4}.*\n|\n)+)", api.__doc__ or "")
    code = "\n".join(line[4:] for line in "".join(blocks).splitlines())
    assert "stir_ray.invert" in code
    found: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(code, found)  # noqa: S102 - ours
    assert found["lost"].dims == ("reference_layer", "target_layer")


def test_everything_that_is_offered_is_there() -> None:
    assert all(hasattr(stir_ray, name) for name in stir_ray.__all__)
    assert set(stir_ray.__all__) <= set(dir(stir_ray))
    with pytest.raises(AttributeError, match="no attribute 'unlearning'"):
        stir_ray.unlearning  # noqa: B018 - the access itself
