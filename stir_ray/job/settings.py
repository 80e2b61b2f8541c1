"""How a job inverts, what it keeps, and how its work is spread over machines."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from stir_ray.job.grammar import LayerNumbers, Value, word_or
from stir_ray.numerics.settings import (
    DEFAULT,
    PAPER,
    Initialization,
    InversionSettings,
    Optimizer,
    Precision,
    Regularizer,
    Schedule,
    SearchSpace,
)


class Blur(Value):
    """A Gaussian blur of the images now and then, while they are searched for."""

    sigma: PositiveFloat
    """Standard deviation in pixels."""
    every: PositiveInt
    """Steps from one to the next."""


class RegularizerChoice(Value):
    """What inverted images ought to look like besides; nothing unless it is given.

    Penalties are added to an image's residual, times their weight. They make images smoother and
    residuals larger: of all iterates the one of least residual is still the one that is kept.
    """

    total_variation: NonNegativeFloat = 0.0
    """Weight of the mean absolute difference between neighbouring pixels."""
    norm: NonNegativeFloat = 0.0
    """Weight of the mean of |x - 1/2| to the power of `norm_order`."""
    norm_order: Annotated[float, Field(ge=1)] = 6.0
    """6 leaves pixels alone that are not near black or white."""
    blur: Blur | None = None

    def settings(self) -> Regularizer:
        """For the inversion."""
        blur = {"blur_sigma": self.blur.sigma, "blur_every": self.blur.every} if self.blur else {}
        return Regularizer(self.total_variation, self.norm, self.norm_order, **blur)


class InversionChoice(Value):
    """How images are inverted: a preset, and what differs from it."""

    preset: Literal["default", "paper"] = "default"
    """`default` takes up to 400 steps of Adam, fewer where an inversion converges before; `paper`
    takes the 50 steps of the publication's update, with 500 images and seeds 0, 1, 2 where the job
    says nothing else."""
    iterations: Annotated[int, Field(ge=2)] | None = None
    """Steps at most, 2 or more; 400, or 50 of the preset `paper`. With 2, 4 ... times as many as a
    finished job had, an inversion goes on from its stored images, if it had taken 400, 800 ...
    steps; otherwise it begins again."""
    stop_when_converged: bool | None = None
    """End an inversion before `iterations` once it has converged: the centred residual of 95 % of
    its images is at most 0.1, unbiased self-STIR at least 0.99 (with `tokens` in all deeper layers
    too), and no STIR of its own model and of the pretrained one has changed by more than 0.005
    since half the steps. True of the default; other schedules than `harmonic` cannot."""
    step_size: PositiveFloat | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    """Of the step size: `harmonic`, which allows an inversion to stop and to go on; `constant`; or
    `cosine`, to 0 at the last step."""
    tolerance: NonNegativeFloat = 0.0
    """An image whose relative residual is not above it is found and leaves the batch; 0 lets every
    image take every step. Results say after how many steps each was found."""
    precision: Precision = Precision.AUTO
    """Of the model's products while images are searched for: `float32`, `tf32`, `bfloat16`, or
    `auto`: bfloat16 on a GPU that has units for it, else float32. Whatever is measured of the
    images found is of float32 products."""
    init: Initialization = Initialization.NOISE
    """`noise`; `light_noise`, a tenth as strong around gray; `gray`, which is one start for all
    seeds; or `other_image` of the set, drawn by seed."""
    parameterization: SearchSpace = SearchSpace.PIXELS
    """What steps change: `pixels`, or amplitudes of waves scaled by 1 / frequency (`fourier`)."""
    regularizer: RegularizerChoice = RegularizerChoice()

    @model_validator(mode="after")
    def _only_harmonic_steps_stop(self) -> "InversionChoice":
        if self.stop_when_converged and not self.settings().can_continue:
            raise ValueError(
                "`stop_when_converged: true` needs `schedule: harmonic`; leave it out, or change "
                "the schedule"
            )
        return self

    def settings(self) -> InversionSettings:
        """The preset with this choice's own values in place of its."""
        base = DEFAULT if self.preset == "default" else PAPER
        stops = (
            base.stop_when_converged
            if self.stop_when_converged is None
            else (self.stop_when_converged)
        )
        settings = InversionSettings(
            optimizer=self.optimizer or base.optimizer,
            step_size=self.step_size or base.step_size,
            schedule=self.schedule or base.schedule,
            iterations=self.iterations or base.iterations,
            tolerance=self.tolerance,
            precision=self.precision,
            init=self.init,
            parameterization=self.parameterization,
            regularizer=self.regularizer.settings(),
        )
        return replace(settings, stop_when_converged=stops and settings.can_continue)


class Sample(Value):
    """Keep the first few images of every inversion, enough for a gallery."""

    sample: PositiveInt


Layers = Annotated[
    Annotated[Literal["all"], Tag("<word>")] | Annotated[LayerNumbers, Tag("<other>")],
    word_or("layer numbers", "all"),
]
KeptImages = Annotated[
    Annotated[Literal["none", "all"], Tag("<word>")] | Annotated[Sample, Tag("<other>")],
    word_or("`{sample: n}`", "none", "all"),
]


class TimeLimits(Value):
    """Seconds that one task of a stage may take before its worker is killed and it runs elsewhere.

    Null sets no limit. A task in the driver's own process (`--serial`) cannot be killed.
    """

    inspect: PositiveFloat | None = 3600
    train: PositiveFloat | None = None
    invert: PositiveFloat | None = 3600
    compare: PositiveFloat | None = 3600
    evaluate: PositiveFloat | None = None
    """Corrupting images of 224 px takes most of it: up to an hour of a core per model."""

    def of(self, stage: str) -> float | None:
        """The limit of a stage, by its name."""
        return getattr(self, stage)


def _of_one_gpu(share: float) -> float:
    if share > 1:
        raise ValueError(
            "expected 0 to 1, since a worker computes on one GPU; for more GPUs ask for more "
            "`workers`"
        )
    return share


GpuShare = Annotated[
    NonNegativeFloat, AfterValidator(_of_one_gpu), Field(json_schema_extra={"maximum": 1})
]


class Execution(Value):
    """How the work is spread over machines; changes no result beyond the rounding of sums."""

    workers: PositiveInt | None = None
    """Processes; one per GPU, or else one per core, if not given."""
    threads_per_worker: PositiveInt | None = None
    """CPU threads of each; the cores divided among the workers if not given."""
    gpus_per_worker: GpuShare = 1
    """GPUs of each, where there are GPUs: 1, a fraction to share one, or 0 to use the CPU."""
    batch_size: PositiveInt | None = None
    """Images per forward pass; all at once if not given."""
    max_identical_failures: PositiveInt = 5
    """If as many tasks of a stage as this end first and all fail alike, the run stops itself."""
    time_limits_s: TimeLimits = TimeLimits()
    """Per stage; a task that takes longer is killed and tried once more on another node."""
    storage_retry_s: NonNegativeFloat = 300
    """How long a lake that gives no answer is asked again before a task, or the run, gives up."""
    cache_gb: NonNegativeFloat = 50
    """10⁹ bytes on each machine's disk for copies of what its workers read often from a lake far
    away, and for images to test models on, which each machine corrupts once; they never take more
    than half of what is free. 0 keeps none."""
