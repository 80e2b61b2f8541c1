"""The metrics of a job, of two models in memory."""

from __future__ import annotations

import copy
import re
import warnings
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
from stir_ray.models import state_dicts
from stir_ray.numerics.criteria import is_moving
from stir_ray.plan.tasks import LAKE, Checkpoint
from stir_ray.worker import layer_inverter
from tests import oracles
from tests.broken import study_of
from tests.small_job import ARCHITECTURE, small_job

IMAGES, SIZE = 7, 16
BRIEF = stir_ray.InversionSettings(iterations=3)
unconverged = pytest.mark.filterwarnings("ignore::stir_ray.api.ConvergenceWarning")


def model(seed: int, **changed: Any) -> nn.Module:
    """A small vision transformer as a user has it: in training mode, with a classifier."""
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
    """Gray images that have nothing in common."""
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(11))


@pytest.fixture(scope="module")
def pt() -> nn.Module:
    return model(1)


@pytest.fixture(scope="module")
def ft() -> nn.Module:
    return model(2)


@pytest.fixture(scope="module")
def inversions(pt: nn.Module) -> stir_ray.Inversions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stir_ray.ConvergenceWarning)
        return stir_ray.invert(pt, images=pictures(), settings=BRIEF, seed=5)


def _loaded(checkpoint: Checkpoint, lake: Lake) -> nn.Module:
    location = checkpoint.location
    state = state_dicts.decode(lake.read_checkpoint(location.removeprefix(LAKE)), location)
    return state_dicts.load(state, checkpoint.architecture, location)


@unconverged
def test_numbers_are_those_of_a_job(finished: Path) -> None:
    job = small_job(finished)
    study, lake = study_of(job)
    results = stir_ray.open_results(str(finished / "jobs" / "small")).sel(model="finetuned")
    table = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    pixels = [np.frombuffer(row.as_py(), np.float32).reshape(1, 16, 16) for row in table["image"]]
    settings: dict[str, Any] = {
        "images": torch.from_numpy(np.stack(pixels)),
        "image_ids": table["image_id"].to_pylist(),
        "settings": job.inversion.settings(),
    }
    last = study.compared["finetuned"][-1]
    pt, ft = _loaded(study.pretrained, lake), _loaded(last, lake)
    pairs = [
        tuple(stir_ray.invert(model, seed=seed, **settings) for model in (pt, ft))
        for seed in study.seeds
    ]
    for estimator, suffix in (("biased", ""), ("unbiased", "_unbiased")):
        for of_pt, _ in pairs:
            there = results.sel(direction="ft|pt", epoch=last.epoch, seed=of_pt.seed)
            result = of_pt.stir(ft, estimator=estimator)
            for name in ("stir", "cka"):
                _same(result[name], there[f"{name}{suffix}"])
            _same(result["stir_drift"], there[f"stir{suffix}_drift"])
            for name in ("centered_residual_median", "centered_residual_max", "unconverged"):
                _same(result[name], there[name])
            for name in ("noise_stir", "chance_stir", "chance_stir_q95"):
                _same(result[name], there[name.replace("_stir", f"_stir{suffix}")][0])
        means = results.sel(epoch=last.epoch, estimator=estimator)
        given: Any = {"estimator": estimator}
        for name, arrays in {
            "forgetting": [of_pt.forgetting(of_ft, **given) for of_pt, of_ft in pairs],
            "learning": [of_pt.learning(of_ft, **given) for of_pt, of_ft in pairs],
            "cka_divergence": [of_pt.cka_divergence(ft, **given) for of_pt, _ in pairs],
        }.items():
            _same(sum(arrays) / len(arrays), means[name].T)
            if name != "cka_divergence":
                drifts = [array["drift"] for array in arrays]
                _same(sum(drifts) / len(drifts), means[f"{name}_drift"].T)
        flows = [of_pt.flow(ft, **given) for of_pt, _ in pairs]
        for name in ("flow", "flow_control", "flow_beyond_control"):
            _same(sum(flow[name] for flow in flows) / len(flows), means[name])
            drifts = [flow[f"{name}_drift"] for flow in flows]
            _same(sum(drifts) / len(drifts), means[f"{name}_drift"])
            for flow in flows:
                moving = is_moving(flow[name], flow[f"{name}_drift"])
                np.testing.assert_array_equal(flow[f"{name}_is_moving"], moving)


def _same(result: Any, expected: xr.DataArray) -> None:
    np.testing.assert_allclose(result.values, expected.values, atol=1e-6)


def _features(module: nn.Module, images: Tensor, layer: int) -> Tensor:
    """All tokens of a block, by timm alone."""
    exact = copy.deepcopy(module).eval().double()
    with torch.no_grad():
        patches, prefix = exact.forward_intermediates(  # pyright: ignore[reportCallIssue]
            (images.double() - 0.5) / 0.5,
            return_prefix_tokens=True,
            output_fmt="NLC",
            intermediates_only=True,
        )[layer - 1]
    return torch.cat([prefix, patches], dim=1).flatten(1)


def test_stir_is_cka_of_what_the_target_makes_of_images_and_inverted_images(
    ft: nn.Module, inversions: stir_ray.Inversions
) -> None:
    for estimator, hsic in (("biased", oracles.hsic_biased), ("unbiased", oracles.hsic_unbiased)):
        result = inversions.stir(ft, estimator=estimator)["stir"]
        for reference, target in ((1, 3), (3, 1)):
            real = _features(ft, inversions.view.images, target)
            inverted = _features(ft, inversions.by_layer[reference].images, target)
            expected = oracles.cka(hsic, real, inverted)
            here = result.sel(reference_layer=reference, target_layer=target)
            # The features are float32 here.
            assert float(here) == pytest.approx(expected, abs=1e-5)


@unconverged
def test_between_equal_models_nothing_is_lost_learned_or_moved(
    pt: nn.Module, inversions: stir_ray.Inversions
) -> None:
    same = copy.deepcopy(pt)
    flows = inversions.flow(same)
    for values in (
        inversions.forgetting(same),
        inversions.learning(same),
        inversions.cka_divergence(same),
        flows["flow_beyond_control"],
    ):
        assert float(abs(values).max()) == 0
    assert np.diagonal(flows["flow"]).tolist() == [0, 0, 0]
    assert float(abs(flows["flow"]).max()) > 0


@unconverged
def test_models_images_and_the_global_generator_are_left_as_they_were(
    pt: nn.Module, ft: nn.Module
) -> None:
    images = pictures()
    before = [copy.deepcopy(given.state_dict()) for given in (pt, ft)]
    drawn, shown = torch.random.get_rng_state(), images.clone()
    stir_ray.invert(pt, images=images, settings=BRIEF).learning(ft)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert torch.equal(images, shown)
    for given, state in zip((pt, ft), before, strict=True):
        assert all(module.training for module in given.modules())
        assert all(weight.requires_grad and weight.grad is None for weight in given.parameters())
        assert all(torch.equal(state[name], now) for name, now in given.state_dict().items())
        assert isinstance(given.patch_embed.proj, nn.Conv2d)  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]


@unconverged
def test_order_and_batches_of_images_are_irrelevant(pt: nn.Module, ft: nn.Module) -> None:
    images, order = pictures(), [4, 0, 6, 2, 5, 1, 3]
    ids = [101, 5, 77, 13, 2, 59, 31]
    shown: list[dict[str, Any]] = [
        {"images": images, "image_ids": ids},
        {"images": images[order], "image_ids": [ids[index] for index in order]},
        {"images": images, "image_ids": ids, "batch": 3},
    ]
    first, second, third = (
        stir_ray.invert(pt, settings=BRIEF, **arguments).stir(ft) for arguments in shown
    )
    for name in ("stir", "cka", "self_stir", "noise_stir", "centered_residual_median"):
        # Products of rows in another place may round differently, and Adam's steps with them.
        np.testing.assert_allclose(first[name], second[name], atol=1e-4)
    np.testing.assert_allclose(first["stir"], third["stir"], atol=1e-3)


@unconverged
def test_a_model_is_inverted_once_for_all_metrics(
    pt: nn.Module, ft: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, counted = layer_inverter.LayerInverter.invert, []

    def counting(self: layer_inverter.LayerInverter, *rest: Any, **named: Any) -> Any:
        counted.append(self)
        return really(self, *rest, **named)

    monkeypatch.setattr(layer_inverter.LayerInverter, "invert", counting)
    result = stir_ray.invert(pt, images=pictures(), settings=BRIEF)
    for metric in (result.stir, result.forgetting, result.flow, result.cka_divergence):
        metric(ft)
    assert len(counted) == 3
    learned = result.learning(ft)
    assert len(counted) == 6
    tuned = stir_ray.invert(ft, images=pictures(), settings=BRIEF)
    np.testing.assert_array_equal(result.learning(tuned), learned)
    np.testing.assert_array_equal(tuned.forgetting(pt), learned)


def test_models_may_differ_in_depth_and_width(inversions: stir_ray.Inversions) -> None:
    shallow, deep = model(3, depth=2, embed_dim=24), model(4, depth=5, embed_dim=8)
    stir = inversions.stir(deep)["stir"]
    assert stir.dims == ("reference_layer", "target_layer")
    assert stir.shape == (3, 5)
    for lost in (inversions.forgetting(shallow), inversions.cka_divergence(shallow)):
        assert lost["target_layer"].values.tolist() == [1, 2]
        assert lost["reference_layer"].values.tolist() == [1, 2, 3]
    flow = inversions.flow(shallow)["flow"]
    assert flow["reference_layer"].values.tolist() == [1, 2]
    assert bool(flow.sel(target_layer=[1, 2]).notnull().all())


def test_inversions_that_do_not_converge_are_warned_of_at_the_callers_line(
    pt: nn.Module, ft: nn.Module
) -> None:
    text = r"of \d of 3 layers did not converge in 3 steps: 95 % .* of up to \d\.\d+"
    settings: Any = {"images": pictures(), "settings": BRIEF, "representation": "cls"}
    with pytest.warns(stir_ray.ConvergenceWarning, match=text) as caught:
        inversions = stir_ray.invert(pt, **settings)
    with pytest.warns(stir_ray.ConvergenceWarning, match=text) as again:
        inversions.learning(ft)
    assert caught[0].filename == again[0].filename == __file__
    result = inversions.stir(ft)
    assert not result["is_converged"].all()
    assert result.attrs["representation"] == "cls"


def test_inversions_that_converge_are_not(ft: nn.Module) -> None:
    # Blocks as timm makes them, which are easy.
    easy = timm.create_model(ARCHITECTURE["timm"], num_classes=0, **ARCHITECTURE["arguments"])
    result = stir_ray.invert(easy, images=pictures()).stir(ft)
    assert result["is_converged"].all()
    assert float(result["self_stir"].min()) >= 0.99


def test_every_array_has_its_meaning_unit_and_range(
    ft: nn.Module, inversions: stir_ray.Inversions
) -> None:
    for array in (
        *inversions.stir(ft).data_vars.values(),
        *inversions.flow(ft).data_vars.values(),
        inversions.forgetting(ft),
        inversions.cka_divergence(ft),
        inversions.residuals,
    ):
        assert array.name
        assert {"long_name", "meaning", "units", "range"} <= set(array.attrs)
        if array.dtype != bool:
            interval = re.match(r"\[(-?\d), (\d|inf|images)[])]", array.attrs["range"])
            assert interval
            top = IMAGES if interval[2] == "images" else float(interval[2])
            low, high = float(array.min()), float(array.max())
            assert float(interval[1]) - 1e-9 <= low <= high <= top + 1e-9


_BYTES = (255 * pictures()).to(torch.uint8)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (_BYTES, ["uint8", "divide by 255"]),
        (pictures() * 2 - 1, ["lie in [-", "expected [0, 1], before they are normalized"]),
        (pictures(3), ["at least 4 images"]),
        (pictures()[0], ["(image, channel, height, width)"]),
        (pictures(size=24), ["1 x 24 x 24", "takes 16 x 16"]),
        (pictures().numpy(), ["ndarray", "float tensor"]),
    ],
)
def test_unsuitable_images_are_refused(pt: nn.Module, images: Any, expected: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        stir_ray.invert(pt, images=images, settings=BRIEF)
    assert [part for part in expected if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ({"layers": [2, 4]}, "numbers from 1 to 3"),
        ({"layers": []}, "numbers from 1 to 3"),
        ({"layers": "most"}, 'expected "all" or numbers'),
        ({"settings": "published"}, "expected InversionSettings, default or paper"),
        ({"representation": "mean"}, "expected tokens, token_mean, cls, patch_mean"),
        ({"image_ids": [1, 1, 2, 3]}, "3 distinct ids for 4 images"),
    ],
)
def test_unknown_arguments_are_refused(
    pt: nn.Module, argument: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        stir_ray.invert(pt, images=pictures(4), **{"settings": BRIEF, **argument})


def test_unsuitable_models_and_estimators_are_refused(
    pt: nn.Module, inversions: stir_ray.Inversions
) -> None:
    with pytest.raises(ValueError, match="expected unbiased or biased"):
        inversions.stir(pt, estimator="debiased")
    with pytest.raises(ValueError, match=r"1 x 16 x 16 .* the model takes 24 x 24"):
        inversions.stir(model(3, img_size=24))
    with pytest.raises(ValueError, match=r"Linear returns no block outputs .* timm model"):
        stir_ray.invert(nn.Linear(3, 3), images=pictures())
    nameless = copy.deepcopy(pt)
    del nameless.pretrained_cfg, nameless.default_cfg
    with pytest.raises(ValueError, match=r"mean .* not known .* stir_ray.freeze"):
        inversions.stir(nameless)
    with pytest.raises(ValueError, match="std has 3 values for 1 channels"):
        stir_ray.freeze(pt, mean=[0.5], std=[0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="frozen already"):
        stir_ray.freeze(stir_ray.freeze(pt), mean=[0.5])


def test_mean_and_std_are_the_models_own_unless_given(
    pt: nn.Module, inversions: stir_ray.Inversions
) -> None:
    frozen = stir_ray.freeze(pt)
    config: Any = pt.pretrained_cfg
    assert config["mean"][0] == float(frozen.mean)
    dark = stir_ray.freeze(pt, mean=[0.1], std=[0.3])
    first, second = (inversions.cka_divergence(given) for given in (frozen, dark))
    assert float(abs(first).max()) == 0 < float(abs(second).max())


def test_the_example_of_the_docstring_runs() -> None:
    from stir_ray import api

    blocks = re.findall(r"\n\n((?: {4}.*\n|\n)+)", api.__doc__ or "")
    code = "\n".join(line[4:] for line in "".join(blocks).splitlines())
    assert "stir_ray.invert" in code
    result: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(code, result)  # noqa: S102 - ours
    assert result["lost"].dims == ("reference_layer", "target_layer")


def test_every_public_name_exists() -> None:
    assert all(hasattr(stir_ray, name) for name in stir_ray.__all__)
    assert set(stir_ray.__all__) <= set(dir(stir_ray))
    with pytest.raises(AttributeError, match="no attribute 'unlearning'"):
        stir_ray.unlearning  # noqa: B018 - the access itself
