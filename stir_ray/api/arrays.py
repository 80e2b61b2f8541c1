"""Scores of pairs of layers as arrays with named dimensions, which say what they are."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stir_ray.api.inverting import Inversions
from stir_ray.api.viewing import Viewed
from stir_ray.numerics.chance import ORDERS
from stir_ray.numerics.criteria import CONVERGED_RESIDUAL
from stir_ray.numerics.initialization import initialization_of
from stir_ray.numerics.settings import Initialization
from stir_ray.results.convergence import CRITERION
from stir_ray.results.matrices import ESTIMATORS
from stir_ray.results.metric_info import CKA, SELF_STIR, STIR
from stir_ray.worker import grams

REFERENCE, TARGET = "reference_layer", "target_layer"


def suffix_of(estimator: str) -> str:
    """How the names of scores by an HSIC estimator end.

    Raises:
        ValueError: if there is no such estimator.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r}; expected {' or '.join(ESTIMATORS)}")
    return ESTIMATORS[estimator]


def stir_of(reference: Inversions, target: Viewed, estimator: str) -> xr.DataArray:
    """STIR (reference_layer, target_layer)."""
    found = reference.own if target is reference else reference.shown_to(target)
    values = found[f"stir{suffix_of(estimator)}"]
    return _pairs(values, reference, target, STIR.attrs(estimator)).rename("stir")


def drift_of(reference: Inversions, target: Viewed, estimator: str) -> xr.DataArray:
    """Change of STIR (reference_layer, target_layer) since half the steps of the inversions."""
    found = reference.own if target is reference else reference.shown_to(target)
    meaning = "change of STIR since half the steps of the inversions: how far it could still be off"
    attrs = _attrs("drift of STIR", meaning, "[-2, 2]")
    values = found[f"stir{suffix_of(estimator)}_drift"]
    return _pairs(values, reference, target, attrs).rename("stir_drift")


def cka_of(reference: Viewed, target: Viewed, estimator: str) -> xr.DataArray:
    """CKA (reference_layer, target_layer) of the real images."""
    name = f"cka{suffix_of(estimator)}"
    rows = [
        [grams.scores("cka", seen, own)[name] for seen in target.real] for own in reference.real
    ]
    return _pairs(np.array(rows), reference, target, CKA.attrs(estimator)).rename("cka")


def from_diagonal(stir: xr.DataArray) -> xr.DataArray:
    """STIR less that of the equal layer, of reference layers that the target has too."""
    layers = [layer for layer in stir[REFERENCE].values if layer in stir[TARGET].values]
    shown = stir.sel({REFERENCE: layers})
    same = [float(shown.sel({REFERENCE: layer, TARGET: layer})) for layer in layers]
    return shown - xr.DataArray(same, dims=REFERENCE, coords={REFERENCE: layers})


def reliability(reference: Inversions, estimator: str) -> dict[str, xr.DataArray]:
    """Whether inversions converged, by layer."""
    residuals = reference.residuals
    own = np.diagonal(reference.own[f"stir{suffix_of(estimator)}"])
    residual = "||rep(x') - rep(x)|| / ||rep(x) - mean rep|| over images"
    above = (residuals > CONVERGED_RESIDUAL).sum("image")
    return {
        "self_stir": _of_references(own, reference, SELF_STIR.attrs(estimator)),
        "centred_residual_median": residuals.median("image").assign_attrs(
            _attrs("median centred residual", f"median of {residual}; 0 is perfect", "[0, inf)")
        ),
        "centred_residual_max": residuals.max("image").assign_attrs(
            _attrs("largest centred residual", f"largest of {residual}; 0 is perfect", "[0, inf)")
        ),
        "unconverged": above.assign_attrs(
            _attrs(
                "unconverged",
                f"images with a centred residual above {CONVERGED_RESIDUAL}",
                "[0, images]",
            )
        ),
        "converged": _of_references(
            reference.is_converged,
            reference,
            _attrs(
                "converged",
                f"whether residuals, {CRITERION} self-STIR and drift are those of a converged "
                "inversion",
                "False or True",
            ),
        ),
    }


def chance(reference: Inversions, target: Viewed, estimator: str) -> dict[str, xr.DataArray]:
    """STIR where nothing is shared: of the starts, and by chance. By target layer."""
    start, suffix = reference.settings.init, suffix_of(estimator)
    starts = initialization_of(
        start, images=reference.images, image_ids=reference.image_ids, seed=reference.seed
    )
    seen = None if start is Initialization.GRAY else target.seen(starts.clamp(0, 1))
    found = grams.baselines(target.real, seen, seed=reference.seed)
    said = {
        "noise_stir": "baseline: STIR if nothing were optimised (inverted images = starts clipped "
        "to [0, 1]); NaN of a gray start, which is one image",
        "chance_stir": "baseline: STIR if the inverted images were the real ones in a random "
        f"order; mean over {ORDERS} orders",
        "chance_stir_q95": "95 % of the orders of chance_stir are below",
    }
    ranges = {"biased": "[0, 1]", "unbiased": "[-1, 1]"}
    return {
        name: xr.DataArray(
            [row[name.replace("_stir", f"_stir{suffix}")] for row in found],
            dims=TARGET,
            coords={TARGET: list(target.layers)},
            attrs=_attrs(name.replace("_", " "), meaning, ranges[estimator]),
        )
        for name, meaning in said.items()
    }


def _attrs(long_name: str, meaning: str, values: str) -> dict[str, str]:
    return {"long_name": long_name, "meaning": meaning, "units": "1", "range": values}


def _of_references(
    values: NDArray, reference: Inversions, attrs: Mapping[str, str]
) -> xr.DataArray:
    coords = {REFERENCE: list(reference.layers)}
    return xr.DataArray(values, dims=REFERENCE, coords=coords, attrs=attrs)


def _pairs(
    values: NDArray[np.float64], reference: Viewed, target: Viewed, attrs: Mapping[str, str]
) -> xr.DataArray:
    coords = {REFERENCE: list(reference.layers), TARGET: list(target.layers)}
    return xr.DataArray(values, dims=(REFERENCE, TARGET), coords=coords, attrs=attrs)
