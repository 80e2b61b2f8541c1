"""The questions that can be asked of two models, each answered for all pairs of their layers."""

from collections.abc import Callable

import xarray as xr
from torch import Tensor

from stir_ray.api.arguments import Given, ResolvedJob, model_of
from stir_ray.api.arrays import (
    REFERENCE,
    chance,
    cka_of,
    drift_of,
    from_diagonal,
    reliability,
    stir_of,
)
from stir_ray.api.inverting import Inversions, Settings
from stir_ray.api.models import Layers
from stir_ray.api.viewing import Viewed
from stir_ray.numerics.criteria import is_moving
from stir_ray.results.metric_info import METRICS

_Score = Callable[[Inversions, Viewed, str], xr.DataArray]
"""STIR of inversions and a model that looks, by an estimator, or its drift."""


def stir(
    *,
    inverted_by: Given,
    seen_by: Given,
    images: Tensor | None = None,
    layers: Layers | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    representation: str | None = None,
    estimator: str = "unbiased",
) -> xr.Dataset:
    """Whether one model shares the invariances of another, for all layers of both.

    Args:
        inverted_by: the reference: a model of timm, or inversions of one, made by `invert`.
        seen_by: the target, which looks at the inverted images.
        images: as of `invert`. Like all that follows but `estimator`, they are given with a model
            and left out with inversions, which have them.
        layers: of both models, of the target those that it has; all by default.
        seed: of the starts; 0 by default.
        settings: of the inversions; those of `invert` by default.
        representation: what of a layer is looked at; `tokens` by default.
        estimator: of HSIC: `unbiased`, or `biased` as in the paper, by which views that share
            nothing are alike.

    Returns:
        `stir`, `stir_drift` (its change since half the steps) and `cka` (reference_layer,
        target_layer); `self_stir`, `centred_residual_median`, `centred_residual_max`,
        `unconverged` and `converged` (reference_layer), which tell whether the inversions can be
        relied on; `noise_stir`, `chance_stir` and `chance_stir_q95` (target_layer), which are STIR
        where nothing is shared. Each says in its attributes what it is.

    Warns:
        ConvergenceWarning: if inversions of a layer did not converge.

    Raises:
        ValueError: as `invert`, or if something is said again that the inversions have.
    """
    reference = ResolvedJob(images, layers, representation, seed, settings).inversions(inverted_by)
    target = reference.by(model_of(seen_by))
    return xr.Dataset(
        {
            "stir": stir_of(reference, target, estimator),
            "stir_drift": drift_of(reference, target, estimator),
            "cka": cka_of(reference, target, estimator),
            **reliability(reference, estimator),
            **chance(reference, target, estimator),
        },
        attrs={
            "estimator": estimator,
            "seed": reference.seed,
            "images": len(reference.images),
            "representation": reference.look.kind,
            "settings": str(reference.settings),
        },
    )


def forgetting(
    *,
    pretrained: Given,
    finetuned: Given,
    images: Tensor | None = None,
    layers: Layers | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    representation: str | None = None,
    estimator: str = "unbiased",
) -> xr.DataArray:
    """STIR(pt_i | pt_j) − STIR(ft_i | pt_j): invariances of the pretrained model that are lost.

    Args:
        pretrained: pt, which is inverted and looks; or inversions of it.
        finetuned: ft, which looks.
        images: this and the others are as of `stir`.
        layers: as of `stir`.
        seed: as of `stir`.
        settings: as of `stir`.
        representation: as of `stir`.
        estimator: as of `stir`.

    Returns:
        (reference_layer, target_layer): j and i, of target layers that both models have. In
        [−1, 1]; 0 where nothing is lost. Its coordinate `drift` is the change since half the steps
        of the inversions: how far a value could still be off; `is_moving` says where that is too
        much: more than .01, or a third of the value (and .001).

    Warns:
        ConvergenceWarning: as `stir`.

    Raises:
        ValueError: as `stir`.
    """
    asked = ResolvedJob(images, layers, representation, seed, settings)
    return _described(_lost(pretrained, finetuned, asked, estimator), "forgetting", estimator)


def learning(
    *,
    pretrained: Given,
    finetuned: Given,
    images: Tensor | None = None,
    layers: Layers | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    representation: str | None = None,
    estimator: str = "unbiased",
) -> xr.DataArray:
    """STIR(ft_i | ft_j) − STIR(pt_i | ft_j): invariances that the pretrained model never had.

    Args:
        pretrained: pt, which looks.
        finetuned: ft, which is inverted and looks; or inversions of it.
        images: this and the others are as of `stir`.
        layers: as of `stir`.
        seed: as of `stir`.
        settings: as of `stir`.
        representation: as of `stir`.
        estimator: as of `stir`.

    Returns:
        (reference_layer, target_layer): j and i, of target layers that both models have. In
        [−1, 1]; 0 where nothing is new. `drift` and `is_moving` are as of `forgetting`.

    Warns:
        ConvergenceWarning: as `stir`.

    Raises:
        ValueError: as `stir`.
    """
    asked = ResolvedJob(images, layers, representation, seed, settings)
    # What one model has and the other has not: forgetting with the roles exchanged.
    return _described(_lost(finetuned, pretrained, asked, estimator), "learning", estimator)


def flow(
    *,
    pretrained: Given,
    finetuned: Given,
    images: Tensor | None = None,
    layers: Layers | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    representation: str | None = None,
    estimator: str = "unbiased",
) -> xr.Dataset:
    """To which layers of the finetuned model the pretrained model's invariances went.

    Args:
        pretrained: pt, which is inverted; or inversions of it.
        finetuned: ft, which looks.
        images: this and the others are as of `stir`.
        layers: as of `stir`.
        seed: as of `stir`.
        settings: as of `stir`.
        representation: as of `stir`.
        estimator: as of `stir`.

    Returns:
        `flow`, `flow_control` (of the pretrained model alone) and `flow_beyond_control`, their
        difference: (reference_layer, target_layer), of reference layers that both models have,
        and NaN at target layers that one of them has not.
        The coordinates `flow_drift`, `flow_is_moving` ... are as those of `forgetting`.
        Above 0 before the diagonal (target_layer < reference_layer) is compression, behind it
        expansion; the diagonal is 0.

    Warns:
        ConvergenceWarning: as `stir`.

    Raises:
        ValueError: as `stir`.
    """
    asked = ResolvedJob(images, layers, representation, seed, settings)
    reference = asked.inversions(pretrained)
    target = reference.by(model_of(finetuned))

    def flows(score: _Score) -> dict[str, xr.DataArray]:
        moved = from_diagonal(score(reference, target, estimator))
        control = from_diagonal(score(reference, reference, estimator))
        # Where the other model has no such layer there is no flow that it could be the control of.
        control = control.sel({REFERENCE: moved[REFERENCE]})
        return {"flow": moved, "flow_control": control, "flow_beyond_control": moved - control}

    values, drifts = flows(stir_of), flows(drift_of)
    return xr.Dataset(
        {
            name: _with_drift(_described(one, name, estimator), drifts[name], f"{name}_")
            for name, one in values.items()
        }
    )


def cka_divergence(
    *,
    pretrained: Given,
    finetuned: Given,
    images: Tensor | None = None,
    layers: Layers | None = None,
    representation: str | None = None,
    estimator: str = "unbiased",
) -> xr.DataArray:
    """CKA(pt_i, pt_j) − CKA(ft_i, pt_j): how far representations moved. Nothing is inverted.

    Args:
        pretrained: pt; or inversions of it, whose images are then looked at.
        finetuned: ft.
        images: this and the others are as of `stir`.
        layers: as of `stir`.
        representation: as of `stir`.
        estimator: as of `stir`.

    Returns:
        (reference_layer, target_layer): j and i, of target layers that both models have. In
        [−1, 1]; 0 where nothing moved.

    Raises:
        ValueError: as `stir`.
    """
    reference = ResolvedJob(images, layers, representation).viewed(pretrained)
    other = reference.by(model_of(finetuned))
    moved = cka_of(reference, reference, estimator) - cka_of(reference, other, estimator)
    return _described(moved, "cka_divergence", estimator)


def _lost(inverted: Given, other: Given, asked: ResolvedJob, estimator: str) -> xr.DataArray:
    """What the inverted model makes of its own inversions, less what the other one does."""
    reference = asked.inversions(inverted)
    target = reference.by(model_of(other))

    def lost(score: _Score) -> xr.DataArray:
        # Of the target layers that both have: xarray keeps no others.
        return score(reference, reference, estimator) - score(reference, target, estimator)

    # A difference of STIR changes by the difference of the changes.
    return _with_drift(lost(stir_of), lost(drift_of))


def _with_drift(values: xr.DataArray, drift: xr.DataArray, prefix: str = "") -> xr.DataArray:
    """The values with their drift, and whether they are still moving, as coordinates."""
    moving = xr.zeros_like(drift, dtype=bool).drop_attrs()
    moving.values = is_moving(values, drift)
    return values.assign_coords(
        {f"{prefix}drift": drift.drop_attrs(), f"{prefix}is_moving": moving}
    )


def _described(values: xr.DataArray, name: str, estimator: str) -> xr.DataArray:
    return values.drop_attrs().assign_attrs(METRICS[name].attrs(estimator)).rename(name)
