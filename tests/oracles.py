"""Slow and obvious: the definitions, written down without a thought for speed or rounding."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations
from typing import TYPE_CHECKING

import torch

from stir_ray.numerics.settings import Optimizer, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from stir_ray.numerics.settings import InversionSettings

    Exact = list[list[Fraction]]


def gram(features: Tensor) -> Exact:
    """Inner products of the rows as they are, in exact arithmetic: nothing can cancel."""
    rows = [[Fraction(value) for value in row] for row in features.double().tolist()]
    return [[_dot(a, b) for b in rows] for a in rows]


def hsic_biased(k: Exact, l: Exact) -> Fraction:  # noqa: E741 - K and L, as in the papers
    """tr(K H L H) / (n − 1)² with H = 1 − 1/n spelled out: Gretton et al. 2005."""
    n = len(k)
    h = [[Fraction(i == j) - Fraction(1, n) for j in range(n)] for i in range(n)]
    product = _times(_times(k, h), _times(l, h))
    return sum((product[i][i] for i in range(n)), Fraction(0)) / (n - 1) ** 2


def hsic_unbiased(k: Exact, l: Exact) -> Fraction:  # noqa: E741
    """The mean of k_ij (l_ij + l_qr − 2 l_iq) over distinct i, j, q, r: Song et al. 2012, eq. 4."""
    n = len(k)
    terms = [
        k[i][j] * (l[i][j] + l[q][r] - 2 * l[i][q]) for i, j, q, r in permutations(range(n), 4)
    ]
    return sum(terms, Fraction(0)) / len(terms)


def cka(hsic: Callable[[Exact, Exact], Fraction], x: Tensor, y: Tensor) -> float:
    """HSIC(X, Y) / √(HSIC(X, X) · HSIC(Y, Y)), rounded once, at the end."""
    k, l = gram(x), gram(y)  # noqa: E741
    return float(hsic(k, l)) / math.sqrt(hsic(k, k) * hsic(l, l))


def invert_one_by_one(
    representation: Callable[[Tensor], Tensor],
    *,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> Tensor:
    """The inverted images, each found in a loop of its own, of fewer steps than a restart needs."""
    found = []
    for image, at in zip(images, start, strict=True):
        path = _path(representation, image, at, settings)
        found.append(min(path, key=lambda iterate: _residual(representation, image, iterate)))
    return torch.stack(found)


def residual_paths(
    representation: Callable[[Tensor], Tensor],
    *,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> Tensor:
    """The residual after every step, from 0 on, of every image: (step, image)."""
    columns = []
    for image, at in zip(images, start, strict=True):
        path = _path(representation, image, at, settings)
        columns.append([float(_residual(representation, image, iterate)) for iterate in path])
    return torch.tensor(columns, dtype=images.dtype).T


def _residual(
    representation: Callable[[Tensor], Tensor], image: Tensor, candidate: Tensor
) -> Tensor:
    with torch.no_grad():
        wanted = representation(image[None])[0]
    return (representation(candidate[None])[0] - wanted).norm() / wanted.norm()


def _path(
    representation: Callable[[Tensor], Tensor],
    image: Tensor,
    start: Tensor,
    settings: InversionSettings,
) -> list[Tensor]:
    """Every iterate, from the start to the last."""
    iterates, mean, square = [start], torch.zeros_like(start), torch.zeros_like(start)
    for t in range(settings.iterations):
        at = iterates[-1].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(_residual(representation, image, at), at)
        rate, momentum = settings.step_size, 0.9
        if settings.schedule is Schedule.COSINE:
            rate *= (1 + math.cos(math.pi * t / settings.iterations)) / 2
        if settings.schedule is Schedule.HARMONIC:
            rate /= math.sqrt(1 + (t / 25) ** 2)
            momentum = 1 - 0.15 / (1 + t / 60)
        if settings.optimizer is Optimizer.ADAM:  # Kingma and Ba 2015, algorithm 1
            mean = momentum * mean + (1 - momentum) * gradient
            decay = settings.second_moment_decay
            square = decay * square + (1 - decay) * gradient**2
            scale = (square / (1 - decay ** (t + 1))).sqrt() + 1e-10
            step = mean / (1 - momentum ** (t + 1)) / scale
        else:
            step = gradient / gradient.norm()
        iterates.append((at.detach() - rate * step).clamp(0, 1))
    return iterates


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _times(a: Exact, b: Exact) -> Exact:
    return [[_dot(row, list(column)) for column in zip(*b, strict=True)] for row in a]
