"""The effect of finetuning on the layers: Merlin et al. 2023, sections 3.2 to 3.4.

An argument `x_given_y` is STIR(x_i | y_j): the *target* x is shown images inverted from a layer of
the *reference* y. It is an xarray object with the dimensions `reference_layer` (j) and
`target_layer` (i), or an array whose last two axes are (i, j). Other dimensions (epoch, seed) are
kept. `pt` is the pretrained model, `ft` the finetuned one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Scores = Any
"""A NumPy array, or an `xarray.DataArray` or `Dataset`."""


def forgetting(*, pt_given_pt: Scores, ft_given_pt: Scores) -> Scores:
    """Return STIR(pt_i | pt_j) − STIR(ft_i | pt_j), in [−1, 1]: invariances that ft lost."""
    return pt_given_pt - ft_given_pt


def learning(*, ft_given_ft: Scores, pt_given_ft: Scores) -> Scores:
    """Return STIR(ft_i | ft_j) − STIR(pt_i | ft_j), in [−1, 1]: invariances that pt lacks."""
    return ft_given_ft - pt_given_ft


def cka_divergence(*, pt_with_pt: Scores, ft_with_pt: Scores) -> Scores:
    """Return CKA(pt_i, pt_j) − CKA(ft_i, pt_j) on the real images. In [−1, 1]."""
    return pt_with_pt - ft_with_pt


def invariance_flow(*, ft_given_pt: Scores) -> Scores:
    """Return STIR(ft_j | pt_i) − STIR(ft_i | pt_i): to which layer j the invariances of pt_i moved.

    Positive for j < i is *compression* into shallower layers, for j > i *expansion* into deeper
    ones; the diagonal is 0. The last axes of an array become (i, j) = (reference, target).
    """
    return _relative_to_diagonal(ft_given_pt)


def flow_control(*, pt_given_pt: Scores) -> Scores:
    """Return STIR(pt_j | pt_i) − STIR(pt_i | pt_i), the flow without any finetuning."""
    return _relative_to_diagonal(pt_given_pt)


def diagonal(scores: Scores) -> Scores:
    """Return the scores of equal layers; NaN where the target has no such layer."""
    if isinstance(scores, np.ndarray):
        return np.diagonal(scores, axis1=-2, axis2=-1)
    # At most one number per reference layer is left, and it is the maximum.
    return scores.where(scores["reference_layer"] == scores["target_layer"]).max("target_layer")


def with_self_stir_one(scores: Scores) -> Scores:
    """Return xarray scores of a model on its own inversions, those of equal layers replaced by 1.

    The paper assumes STIR(m_i | m_i) = 1. Measured, it is 1 only where the inversion converged.
    """
    return scores.where(scores["reference_layer"] != scores["target_layer"], 1.0)


def _relative_to_diagonal(scores: Scores) -> Scores:
    if isinstance(scores, np.ndarray):
        return np.swapaxes(scores, -2, -1) - diagonal(scores)[..., None]
    return scores - diagonal(scores)
