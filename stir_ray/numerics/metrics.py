"""What finetuning did, as matrices over layers: Merlin et al. 2023, sections 3.2 to 3.4.

Every argument named `x_given_y` is a matrix of STIR(x_i | y_j): row i is the layer of the *target*
x that looks, column j the layer of the *reference* y that was inverted. Leading axes (epochs,
seeds) are carried along. `pt` is the pretrained model, `ft` the finetuned one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import NDArray

    Matrix = Float[NDArray, "*batch target reference"]
    Flow = Float[NDArray, "*batch pt_layer ft_layer"]
    Curve = Float[NDArray, "*batch layer"]


def forgetting(*, pt_given_pt: Matrix, ft_given_pt: Matrix) -> Matrix:
    """STIR(pt_i | pt_j) − STIR(ft_i | pt_j): invariances of pt that ft has lost. In [−1, 1]."""
    return pt_given_pt - ft_given_pt


def learning(*, ft_given_ft: Matrix, pt_given_ft: Matrix) -> Matrix:
    """STIR(ft_i | ft_j) − STIR(pt_i | ft_j): invariances of ft that pt never had. In [−1, 1]."""
    return ft_given_ft - pt_given_ft


def cka_divergence(*, pt_with_pt: Matrix, ft_with_pt: Matrix) -> Matrix:
    """CKA(pt_i, pt_j) − CKA(ft_i, pt_j), on the real images alone. In [−1, 1]."""
    return pt_with_pt - ft_with_pt


def invariance_flow(*, ft_given_pt: Matrix) -> Flow:
    """STIR(ft_j | pt_i) − STIR(ft_i | pt_i): where the invariances of pt layer i went.

    Row i is the pt layer, column j the ft layer, and the diagonal is 0. Positive left of the
    diagonal is *compression* into shallower layers, right of it *expansion* into deeper ones.
    """
    return _relative_to_diagonal(ft_given_pt)


def flow_control(*, pt_given_pt: Matrix) -> Flow:
    """STIR(pt_j | pt_i) − STIR(pt_i | pt_i): what the flow would be without any finetuning."""
    return _relative_to_diagonal(pt_given_pt)


def diagonal(matrix: Matrix) -> Curve:
    """The curve over layers: what a layer of one model shares with the same layer of the other."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def with_self_stir_one(matrix: Matrix) -> Matrix:
    """The matrix of a model looking at its own inversions, its diagonal replaced by 1.

    The paper assumes STIR(m_i | m_i) = 1. Measured, it is 1 only where the inversion converged.
    """
    assumed = np.array(matrix, copy=True)
    layers = np.arange(assumed.shape[-1])
    assumed[..., layers, layers] = 1.0
    return assumed


def _relative_to_diagonal(target_given_reference: Matrix) -> Flow:
    by_reference = np.swapaxes(target_given_reference, -2, -1)
    return by_reference - diagonal(target_given_reference)[..., :, None]
