"""Settings of an inversion and of a similarity, as values that need no torch."""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import count, takewhile


class Optimizer(StrEnum):
    ADAM = "adam"
    NORMALIZED_GRADIENT = "normalized_gradient"


class Schedule(StrEnum):
    """How the step size changes over the steps."""

    HARMONIC = "harmonic"
    """step_size / √(1 + (k / 25)²) at step k, with β₁ = 1 - .15 / (1 + k / 60). It has no horizon:
    an inversion of 400 steps is, up to step 200, an inversion of 200 steps, so that it can be
    stopped early and continued later."""
    CONSTANT = "constant"
    COSINE = "cosine"
    """Half a cosine from `step_size` to 0 at the last step."""


class Precision(StrEnum):
    """Precision of a model's products while it is inverted.

    Stored residuals, compared representations and CKA always use float32 products or better.
    """

    AUTO = "auto"
    """Bfloat16 on a GPU that has units for it, else float32."""
    FLOAT32 = "float32"
    TF32 = "tf32"
    """Float32 with 10 bits of mantissa, on GPUs that have it; float32 elsewhere."""
    BFLOAT16 = "bfloat16"


class Initialization(StrEnum):
    """The first iterate of an inversion."""

    NOISE = "noise"
    """Of mean 0 and standard deviation 1 per pixel, drawn from seed and image id."""
    LIGHT_NOISE = "light_noise"
    """The same noise, a tenth as strong, around gray."""
    GRAY = "gray"
    """0.5 everywhere, whatever the seed."""
    OTHER_IMAGE = "other_image"
    """Another image of the set, drawn by seed; no image is the start of two inversions."""


class SearchSpace(StrEnum):
    """What the gradient is taken of."""

    PIXELS = "pixels"
    FOURIER = "fourier"
    """Amplitudes of waves, those of frequency f scaled by 1/f, as natural images have them (Olah
    et al. 2017): coarse structure moves first, and fast wiggles move little."""


def _require_range(name: str, value: float, least: float) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


@dataclass(frozen=True)
class Regularizer:
    """Penalties on inverted images, and a blur; all off by default.

    Weights are relative to the residual, which is 1 for a representation of zeros. Both penalties
    are means over pixels, so that a weight fits every image size.
    """

    total_variation: float = 0.0  # weight of `optimization.total_variation`
    norm: float = 0.0  # weight of `optimization.norm`
    norm_order: float = 6.0  # at least 1
    blur_sigma: float = 0.0  # standard deviation in pixels
    blur_every: int = 0  # steps after which the images are blurred; 0 for never

    def __post_init__(self) -> None:
        for name in ("total_variation", "norm", "blur_sigma", "blur_every"):
            _require_range(f"{name} of a regularizer", getattr(self, name), 0)
        _require_range("the order of a norm", self.norm_order, 1)
        if (self.blur_sigma > 0) != (self.blur_every > 0):
            raise ValueError("a blur needs both a sigma and a number of steps, above 0")

    @property
    def blur_reach(self) -> int:
        """Pixels to each side that a blur averages: three standard deviations."""
        return math.ceil(3 * self.blur_sigma)


@dataclass(frozen=True)
class InversionSettings:
    """Everything that an inverted image depends on besides model, image and noise.

    Attributes:
        optimizer: Adam, whose step is per pixel and so fits every image size; or the gradient
            divided by its L2 norm per image, as in the paper.
        step_size: the first step. Adam: in pixel values; normalized gradient: L2 norm per image.
        schedule: of the step size.
        iterations: number of steps at most, at least 2.
        stop_when_converged: whether an inversion ends before `iterations` once its images have
            converged (`criteria`). Only a harmonic schedule can.
        tolerance: an image whose relative residual is not above it takes no further step; 0 lets
            all images take every step.
        precision: of the products.
        init: of every image.
        parameterization: of the images. With waves a step of Adam changes pixels as much on
            average; one of the normalized gradient is several times as long in pixels.
        regularizer: of the images.
        second_moment_decay: β₂ of Adam.
    """

    optimizer: Optimizer = Optimizer.ADAM
    step_size: float = 0.1
    schedule: Schedule = Schedule.HARMONIC
    iterations: int = 400
    stop_when_converged: bool = True
    tolerance: float = 0.0
    precision: Precision = Precision.AUTO
    init: Initialization = Initialization.NOISE
    parameterization: SearchSpace = SearchSpace.PIXELS
    regularizer: Regularizer = Regularizer()
    second_moment_decay: float = 0.95

    def __post_init__(self) -> None:
        # Images are evaluated after half of the iterations, too.
        _require_range("iterations of an inversion", self.iterations, 2)
        _require_range("tolerance of an inversion", self.tolerance, 0)
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"step_size of an inversion: expected above 0, got {self.step_size}")
        if not 0 <= self.second_moment_decay < 1:
            raise ValueError(
                f"second_moment_decay: expected 0 to below 1, got {self.second_moment_decay}"
            )

    @property
    def can_continue(self) -> bool:
        """Whether more steps can be added to an inversion, and it can be stopped early."""
        return self.schedule is Schedule.HARMONIC

    @property
    def evaluations(self) -> tuple[int, ...]:
        """Numbers of steps after which the images are evaluated, ascending.

        Always half of the steps and all of them; where the inversion may stop early, also 50, 100,
        200, 400 ...
        """
        ends = {self.iterations // 2, self.iterations}
        if self.can_continue:
            ends |= set(_doubled(_FIRST_EVALUATION, self.iterations))
        return tuple(sorted(ends))

    @property
    def halves(self) -> tuple[int, ...]:
        """Half of `iterations`, a quarter of them ..., down to the first evaluation."""
        halved = (self.iterations // 2**times for times in count(1))
        return tuple(takewhile(lambda steps: steps >= _FIRST_EVALUATION, halved))

    def restarts_after(self, step: int) -> bool:
        """Return whether the optimizer restarts from the best images after so many steps.

        It does after 400, 800, 1600 ... steps. From there a stored inversion continues exactly as
        if it had never been interrupted.
        """
        return self.can_continue and step in _doubled(RESTART, step + 1)

    def continues_from(self, taken: int) -> bool:
        """Return whether stored images after so many steps suffice to continue, or are the last."""
        # Later evaluations are compared with those after half of their steps.
        restarts = self.restarts_after(taken) and taken <= self.iterations // 2
        return restarts or taken == self.iterations

    def may_end_after(self, taken: int) -> bool:
        """Return whether an inversion that has converged ends after so many steps."""
        return self.stop_when_converged and {taken, taken // 2} <= set(self.evaluations)

    def size_of_step(self, step: int, *, since_restart: int | None = None) -> float:
        """Return the size of a step, the first one being 0.

        `since_restart` counts the steps since the search restarted; None if it has not. Adam has
        forgotten its moments there: unless its first steps are smaller, it moves images where no
        gradient points.
        """
        if self.schedule is Schedule.CONSTANT:
            return self.step_size
        if self.schedule is Schedule.COSINE:
            return self.step_size * 0.5 * (1.0 + math.cos(math.pi * step / self.iterations))
        warm = 1.0 if since_restart is None else min(1.0, (since_restart + 1) / _WARM_UP)
        return warm * self.step_size / math.hypot(1.0, step / _LARGE_STEPS)

    def momentum(self, step: int) -> float:
        """Return β₁ of Adam at a step, the first one being 0.

        With a harmonic schedule it grows as the steps become smaller: small steps need a gradient
        of less noise, and large ones one that is up to date.
        """
        if self.schedule is not Schedule.HARMONIC:
            return 0.9
        return 1.0 - _FORGOTTEN / (1.0 + step / _MOMENTUM_DOUBLED_AFTER)


_FIRST_EVALUATION = 50
RESTART = 400
"""Steps after which a search restarts for the first time; from there on whenever they double. Not
earlier: restarted after 50, 100 and 200 steps as well, layer 1 of a DINOv2 had a fifth more of its
centered residual left after 400."""
_LARGE_STEPS = 25
"""Steps of about full size before a harmonic step falls as 1 / k."""
_FORGOTTEN = 0.15
"""1 − β₁ of the first step."""
_MOMENTUM_DOUBLED_AFTER = 60
"""Steps after which a gradient is remembered twice as long. With β₁ = .9 throughout, layer 8 of a
DINOv2 needed a quarter to a third more steps to centered residuals of .1 (`tokens`); with .95
throughout, layers that are easy to invert needed 10 to 20 % more."""
_WARM_UP = 20
"""Steps in which a restarted search comes to its full step size. Without them unbiased STIR of a
digits model moved by up to .012 where the gradient had nothing to say; with them by .003."""


def _doubled(first: int, limit: int) -> list[int]:
    # first, 2 first, 4 first ... below a limit.
    return list(takewhile(lambda steps: steps < limit, (first * 2**times for times in count())))


DEFAULT = InversionSettings()
"""Adam with steps of .1 / √(1 + (k / 25)²): ≤ 400, fewer where an inversion converges before."""

PAPER = InversionSettings(
    optimizer=Optimizer.NORMALIZED_GRADIENT,
    step_size=0.5,
    schedule=Schedule.CONSTANT,
    iterations=50,
    stop_when_converged=False,
)
"""The optimizer of Nanda et al. 2022 and Merlin et al. 2023. Deep layers do not converge."""


class Similarity(StrEnum):
    """How the geometries of two sets of features of the same images are compared."""

    RBF_CKA = "rbf_cka"
    """CKA of Gaussian kernels: near neighbors count, and all far images are equally far."""
    PROCRUSTES = "procrustes"
    """Similarity after the best rotation."""


@dataclass(frozen=True)
class SimilarityMeasure:
    """A similarity besides linear CKA, with its parameter."""

    similarity: Similarity
    # Of RBF CKA: σ as a fraction of the median distance between images; 0 of others.
    bandwidth: float = 0.0

    def __post_init__(self) -> None:
        has_bandwidth = self.similarity is Similarity.RBF_CKA
        if not (0 < self.bandwidth < math.inf if has_bandwidth else self.bandwidth == 0):
            expected = "a positive number" if has_bandwidth else "none"
            raise ValueError(
                f"bandwidth of {self.similarity}: expected {expected}, got {self.bandwidth}"
            )
