"""STIR and the metrics built on it for any two timm models, without a job file or a lake.

    import timm
    import torch

    import stir_ray

    pretrained = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=3)
    finetuned = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=3)
    images = torch.rand(8, 3, 32, 32)

    inversions = stir_ray.invert(pretrained, images=images)  # once, for all that follows
    shared = inversions.stir(finetuned)
    lost = inversions.forgetting(finetuned)
    moved = inversions.flow(finetuned)

    shared["stir"].sel(reference_layer=3, target_layer=3)
    lost.sel(target_layer=3)

The numbers equal those of a job with the same weights, images and settings. The two models may
differ in depth and width; differences such as forgetting cover the layers that both have. Layers
are numbered from 1. Models are copied first and never changed.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import torch
import xarray as xr
from torch import Tensor

from stir_ray.api.inputs import Model, ModelView, choose_layers, freeze, prepare_images
from stir_ray.lake.schemas import RESULTS
from stir_ray.measures.scores import baselines, drift, scores
from stir_ray.models.features import POOLINGS, representation
from stir_ray.numerics import metrics
from stir_ray.numerics.criteria import (
    CONVERGED_DRIFT,
    CONVERGED_RESIDUAL,
    CONVERGED_SELF_STIR,
    is_moving,
    residuals_converged,
)
from stir_ray.numerics.optimization import initialization_of
from stir_ray.numerics.precision import resolve_precision
from stir_ray.numerics.settings import DEFAULT, PAPER, Initialization, InversionSettings
from stir_ray.results.metric_info import CRITERION, ESTIMATORS, METRICS, SCORES
from stir_ray.worker.layer_inverter import (
    LayerInversion,
    LayerInverter,
    largest_change,
    self_stir_converged,
)

__all__ = ["ConvergenceWarning", "Inversions", "freeze", "invert"]

ModelOrInversions: TypeAlias = "Model | Inversions"
_PRESETS: Mapping[str, InversionSettings] = {"default": DEFAULT, "paper": PAPER}
_COLUMNS = {column.name: column for column in RESULTS.columns}


class ConvergenceWarning(UserWarning):
    """Inversions did not converge: invariances that were not found count as not shared."""


@dataclass(frozen=True, eq=False)
class Inversions:
    """Images inverted from the layers of a model, and the metrics of other models on them.

    Each method takes another model (a timm model, what `stir_ray.freeze` returned, or other
    `Inversions`), which is `target` or ft where this model is `reference` or pt; and the HSIC
    `estimator`: `unbiased`, or `biased` as in the paper, by which unrelated representations score
    high. Every array has the attributes `long_name`, `meaning`, `units` and `range`.

    Attributes:
        view: the inverted model, its layers and the images whose representations are inverted.
        image_ids: from which the noise of each image is drawn.
        seed: of the noise.
        settings: of the inversions, with the precision that `auto` stands for.
        by_layer: the inverted images of every layer with their residuals.
    """

    view: ModelView
    image_ids: tuple[int, ...]
    seed: int
    settings: InversionSettings
    by_layer: Mapping[int, LayerInversion]

    @property
    def residuals(self) -> xr.DataArray:
        """Centered residuals (reference_layer, image): 0 is perfect, the average image has 1."""
        residuals = [inverted.centered_residual for inverted in self.by_layer.values()]
        layers = {"reference_layer": list(self.by_layer), "image": list(self.image_ids)}
        values = torch.stack(residuals).double().cpu().numpy()
        return _describe(xr.DataArray(values, layers, list(layers)), "centered_residual")

    def stir(self, target: ModelOrInversions, *, estimator: str = "unbiased") -> xr.Dataset:
        """Return STIR(target | this model): which of its invariances the target shares.

        Returns:
            `stir`, `stir_drift` (change since half the steps) and `cka` (reference_layer,
            target_layer); `self_stir`, `centered_residual_median`, `centered_residual_max`,
            `unconverged` and `is_converged` (reference_layer), the reliability of the inversions;
            `noise_stir`, `chance_stir` and `chance_stir_q95` (target_layer), STIR where nothing is
            shared.

        Raises:
            ValueError: if the target cannot take the images, or the estimator does not exist.
        """
        view, residuals = self._view(target), self.residuals
        converged = [inverted.is_converged for inverted in self.by_layer.values()]
        values = {
            **self._stir(view, estimator),
            "cka": self._cka(view, estimator),
            "self_stir": metrics.diagonal(self._stir(self.view, estimator)["stir"]),
            "centered_residual_median": residuals.median("image"),
            "centered_residual_max": residuals.max("image"),
            "unconverged": (residuals > CONVERGED_RESIDUAL).sum("image"),
            "is_converged": xr.DataArray(converged, [residuals["reference_layer"]]),
            **self._baselines(view, estimator),
        }
        return xr.Dataset(
            {name: _describe(array, str(name), estimator) for name, array in values.items()},
            attrs={
                "estimator": estimator,
                "seed": self.seed,
                "images": len(self.view.images),
                "representation": self.view.representation,
                "settings": str(self.settings),
            },
        )

    def forgetting(
        self, finetuned: ModelOrInversions, *, estimator: str = "unbiased"
    ) -> xr.DataArray:
        """Return STIR(pt_i | pt_j) − STIR(ft_i | pt_j): invariances that the finetuned model lost.

        Returns:
            (reference_layer, target_layer): j and i, of target layers that both models have. In
            [−1, 1], unbiased [−2, 2]; 0 where nothing is lost. The coordinate `drift` is the change
            since half the steps of the inversions; `is_moving` marks values that changed by more
            than .01, or by a third of themselves and .001.
        """
        reference, target = self.stir_of_both(finetuned, estimator)
        lost = metrics.forgetting(pt_given_pt=reference, ft_given_pt=target)
        return _with_drift(lost, "forgetting", estimator)

    def learning(
        self, finetuned: ModelOrInversions, *, estimator: str = "unbiased"
    ) -> xr.DataArray:
        """Return STIR(ft_i | ft_j) − STIR(pt_i | ft_j): invariances that only the finetuned has.

        Args:
            finetuned: ft, which is inverted with the images, seed and settings of this model unless
                its `Inversions` are given.
            estimator: of HSIC.

        Returns:
            As `forgetting`: (reference_layer, target_layer), j and i.

        Warns:
            ConvergenceWarning: if inversions of ft do not converge.
        """
        if not isinstance(finetuned, Inversions):
            view = self.view.with_model(freeze(finetuned))
            finetuned = _invert(view, self.image_ids, self.seed, self.settings)
            _warn_unless_converged(finetuned)
        reference, target = finetuned.stir_of_both(self, estimator)
        learned = metrics.learning(ft_given_ft=reference, pt_given_ft=target)
        return _with_drift(learned, "learning", estimator)

    def flow(self, finetuned: ModelOrInversions, *, estimator: str = "unbiased") -> xr.Dataset:
        """Return to which layers of the finetuned model the pretrained model's invariances moved.

        Returns:
            `flow`, `flow_control` (the pretrained model alone) and `flow_beyond_control`, their
            difference: (reference_layer, target_layer), of reference layers that both models have,
            NaN at target layers that one of them lacks. The coordinates `flow_drift`,
            `flow_is_moving` ... are those of `forgetting`. Above 0 before the diagonal
            (target_layer < reference_layer) is compression, after it expansion; the diagonal is 0.
        """
        both = self.stir_of_both(finetuned, estimator)
        common = [layer for layer in self.by_layer if layer in both[1]["target_layer"]]
        reference, target = (stir.sel(reference_layer=common) for stir in both)
        flow = metrics.invariance_flow(ft_given_pt=target)
        control = metrics.flow_control(pt_given_pt=reference)
        flows = {"flow": flow, "flow_control": control, "flow_beyond_control": flow - control}
        return xr.Dataset(
            {name: _with_drift(each, name, estimator, f"{name}_") for name, each in flows.items()}
        )

    def cka_divergence(
        self, finetuned: ModelOrInversions, *, estimator: str = "unbiased"
    ) -> xr.DataArray:
        """Return CKA(pt_i, pt_j) − CKA(ft_i, pt_j) of the images themselves; no inversion counts.

        Returns:
            (reference_layer, target_layer): j and i, of target layers that both models have. In
            [−1, 1], unbiased [−2, 2]; 0 where representations did not move.
        """
        views = self.view, self._view(finetuned)
        reference, target = (self._cka(view, estimator) for view in views)
        moved = metrics.cka_divergence(pt_with_pt=reference, ft_with_pt=target)
        return _describe(moved, "cka_divergence", estimator)

    def _view(self, other: ModelOrInversions) -> ModelView:
        return self.view.with_model(
            other.view.model if isinstance(other, Inversions) else freeze(other)
        )

    def stir_of_both(
        self, other: ModelOrInversions, estimator: str
    ) -> tuple[xr.Dataset, xr.Dataset]:
        """Return `stir` and `stir_drift` of this model and of another."""
        return self._stir(self.view, estimator), self._stir(self._view(other), estimator)

    def _stir(self, target: ModelView, estimator: str) -> xr.Dataset:
        values = self._self_stir if target is self.view else self._compute_stir(target)
        name = f"stir{_suffix(estimator)}"
        return xr.Dataset({"stir": values[name], "stir_drift": values[f"{name}_drift"]})

    @cached_property
    def _self_stir(self) -> xr.Dataset:
        return self._compute_stir(self.view)

    def _compute_stir(self, target: ModelView) -> xr.Dataset:
        rows = []
        for inverted in self.by_layer.values():
            now, before = target.grams_of(inverted.images), target.grams_of(inverted.earlier)
            views = zip(target.grams, now, before, strict=True)
            rows.append([scores("stir", *view[:2]) | drift("stir", *view) for view in views])
        return self._by_layers(rows, target)

    def _cka(self, target: ModelView, estimator: str) -> xr.DataArray:
        rows = [[scores("cka", gram, mine) for gram in target.grams] for mine in self.view.grams]
        return self._by_layers(rows, target)["cka" + _suffix(estimator)]

    def _by_layers(self, rows: list[list[dict[str, float]]], target: ModelView) -> xr.Dataset:
        layers = {"reference_layer": list(self.by_layer), "target_layer": list(target.layers)}
        names = rows[0][0]
        return xr.Dataset(
            {n: (list(layers), [[pair[n] for pair in row] for row in rows]) for n in names}, layers
        )

    def _baselines(self, target: ModelView, estimator: str) -> dict[str, xr.DataArray]:
        """Return STIR of the noise and of images in random orders, by target layer."""
        images, init, suffix = self.view.images, self.settings.init, _suffix(estimator)
        noise = initialization_of(init, images=images, image_ids=self.image_ids, seed=self.seed)
        shown = [] if init is Initialization.GRAY else target.grams_of(noise.clamp(0, 1))
        by_layer = baselines(target.grams, shown, seed=self.seed)
        layers = {"target_layer": list(target.layers)}
        return {
            name: xr.DataArray(
                [layer[name.replace("_stir", f"_stir{suffix}")] for layer in by_layer], layers
            )
            for name in ("noise_stir", "chance_stir", "chance_stir_q95")
        }


def invert(
    model: Model,
    *,
    images: Tensor,
    layers: str | Sequence[int] = "all",
    seed: int = 0,
    settings: InversionSettings | Literal["default", "paper"] = "default",
    representation: str = "tokens",
    image_ids: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    batch: int = 64,
) -> Inversions:
    """Invert layers of a model: find for every image another with the same representation.

    Args:
        model: a timm model, or what `stir_ray.freeze` returned. It is not changed.
        images: float values in [0, 1], (image, channel, height, width), at least 4.
        layers: `all`, or numbers of blocks from 1.
        seed: of the noise; torch's global generator is not used.
        settings: `default`, up to 400 steps, fewer where a layer converges earlier; `paper`, the
            published update; or `stir_ray.InversionSettings`.
        representation: `tokens` (all of them concatenated), `token_mean`, `cls` or `patch_mean`.
        image_ids: from which noise is drawn, so that it does not depend on the order of images; by
            default 0, 1, ..., as in a job for the first images of a split.
        device: to compute on; by default the model's own.
        batch: images of one forward pass at most; halved when memory runs out.

    Warns:
        ConvergenceWarning: if a layer does not converge.

    Raises:
        ValueError: if the model, images or settings are not as expected.
    """
    if representation not in POOLINGS:
        raise ValueError(f"representation={representation!r}; expected {', '.join(POOLINGS)}")
    if isinstance(settings, str):
        if settings not in _PRESETS:
            raise ValueError(f"settings={settings!r}; expected InversionSettings, default or paper")
        settings = _PRESETS[settings]
    frozen = freeze(model) if device is None else freeze(model, device=device)
    prepared, depth = prepare_images(frozen, images)
    count = len(prepared)
    ids = tuple(range(count)) if image_ids is None else tuple(int(number) for number in image_ids)
    if len(ids) != count or len(set(ids)) != count:
        raise ValueError(f"image_ids: {len(set(ids))} distinct ids for {count} images")
    chosen = choose_layers(layers, depth)
    view = ModelView(frozen, prepared, chosen, layers == "all", representation, batch)
    inversions = _invert(view, ids, seed, settings)
    _warn_unless_converged(inversions)
    return inversions


def _invert(
    view: ModelView, image_ids: tuple[int, ...], seed: int, settings: InversionSettings
) -> Inversions:
    settings = replace(settings, precision=resolve_precision(settings.precision, view.images))
    noise = initialization_of(settings.init, images=view.images, image_ids=image_ids, seed=seed)
    by_layer = {layer: _invert_layer(view, layer, noise, settings) for layer in view.layers}
    return Inversions(view, image_ids, seed, settings, by_layer)


def _invert_layer(
    view: ModelView, layer: int, noise: Tensor, settings: InversionSettings
) -> LayerInversion:
    def remaining_drift(inverted: LayerInversion) -> float:
        if not residuals_converged(inverted.centered_residual.double().cpu().numpy()):
            return math.inf
        now = view.grams_of(inverted.images)
        if not self_stir_converged(view.grams, now, view.layers, layer, view.representation):
            return math.inf
        return largest_change(view.grams, now, view.grams_of(inverted.earlier))

    represent = representation(view.model, layer=layer, pooling=view.representation)
    search = LayerInverter(represent, settings)
    return search.invert(view.images, noise, view.microbatches, remaining_drift=remaining_drift)


def _warn_unless_converged(inversions: Inversions) -> None:
    by_layer = inversions.by_layer
    layers = [layer for layer, inverted in by_layer.items() if not inverted.is_converged]
    if not layers:
        return
    residual = float(inversions.residuals.sel(reference_layer=layers).quantile(0.95, "image").max())
    warnings.warn(
        f"inversions of {len(layers)} of {len(by_layer)} layers did not converge in "
        f"{max(by_layer[layer].iterations for layer in layers)} steps: 95 % of the images have a "
        f"centered residual of up to {residual:.3f}. Converged means {CONVERGED_RESIDUAL} or less, "
        f"{CRITERION} self-STIR of {CONVERGED_SELF_STIR} or more, and no STIR that changed by more "
        f"than {CONVERGED_DRIFT} since half the steps. Invariances that an inversion misses count "
        "as not shared; take more steps: settings=InversionSettings(iterations=1600)",
        ConvergenceWarning,
        stacklevel=3,
    )


def _suffix(estimator: str) -> str:
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r}; expected {' or '.join(ESTIMATORS)}")
    return ESTIMATORS[estimator]


def _with_drift(scores: xr.Dataset, name: str, estimator: str, prefix: str = "") -> xr.DataArray:
    values, drift = scores["stir"], scores["stir_drift"]
    moving = drift.copy(data=is_moving(values, drift))
    coords = {f"{prefix}drift": drift, f"{prefix}is_moving": moving}
    return _describe(values, name, estimator).assign_coords(coords)


def _describe(values: xr.DataArray, name: str, estimator: str = CRITERION) -> xr.DataArray:
    metric = METRICS.get(name) or SCORES.get(name)
    if metric:
        attrs = metric.attrs(estimator)
    else:
        column = _COLUMNS[name.replace("stir", "stir" + _suffix(estimator))]
        attrs = {"units": column.unit or "1", "range": column.range or "False or True"}
        attrs |= {"long_name": name.replace("_", " "), "meaning": column.meaning}
    return values.rename(name).drop_attrs().assign_attrs(attrs)
