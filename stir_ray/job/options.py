"""Options of a job: how it inverts, which similarities, which corruptions, how it is executed."""

from dataclasses import astuple, dataclass, replace
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from stir_ray.job.fields import LayerNumbers, Location, Value, refuse_repeated, word_or
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
    Similarity,
    SimilarityMeasure,
)

CLEAN = "clean"
"""In place of a corruption and of a source, with severity 0: the images as they are."""
_LARGEST_SEVERITY = 5


class Blur(Value):
    """A Gaussian blur of the images every few steps of an inversion."""

    sigma: PositiveFloat
    """Standard deviation in pixels."""
    interval: PositiveInt
    """Steps from one to the next."""


class RegularizerChoice(Value):
    """Penalties on inverted images, and a blur; none unless given.

    Penalties are added to an image's residual, times their weight. They make images smoother and
    residuals larger: of all iterates the one of least residual is kept all the same.
    """

    total_variation: NonNegativeFloat = 0.0
    """Weight of the mean absolute difference between neighboring pixels."""
    norm: NonNegativeFloat = 0.0
    """Weight of the mean of |x - 1/2| to the power of `norm_order`."""
    norm_order: Annotated[float, Field(ge=1)] = 6.0
    """6 leaves pixels alone that are not near black or white."""
    blur: Blur | None = None

    def settings(self) -> Regularizer:
        """Return the settings of an inversion."""
        sigma, interval = (self.blur.sigma, self.blur.interval) if self.blur else (0.0, 0)
        return Regularizer(self.total_variation, self.norm, self.norm_order, sigma, interval)


class InversionChoice(Value):
    """How images are inverted: a preset, and what differs from it."""

    preset: Literal["default", "paper"] = "default"
    """`default` takes up to 400 steps of Adam, fewer where an inversion converges before; `paper`
    takes the 50 steps of the publication's optimizer, with 500 images and seeds 0, 1, 2 unless the
    job gives others."""
    iterations: Annotated[int, Field(ge=2)] | None = None
    """Steps at most, 2 or more; 400, or 50 of the preset `paper`. With 2, 4 ... times as many as a
    finished job had, an inversion continues from its stored images, if it had taken 400, 800 ...
    steps; otherwise it starts again."""
    stop_when_converged: bool | None = None
    """End an inversion before `iterations` once it has converged: the centered residual of 95 % of
    its images is at most 0.1, unbiased self-STIR at least 0.99 (with `tokens` in all deeper layers
    too), and no STIR of its own model and of the pretrained one has changed by more than 0.005
    since half the steps. True of the default; other schedules than `harmonic` cannot."""
    step_size: PositiveFloat | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    """Of the step size: `harmonic`, with which an inversion can stop early and continue later;
    `constant`; or `cosine`, to 0 at the last step."""
    tolerance: NonNegativeFloat = 0.0
    """An image whose relative residual is not above it is inverted and leaves the batch; 0 lets
    every image take every step. Results give the steps that each took."""
    precision: Precision = Precision.AUTO
    """Of the model's products during inversion: `float32`, `tf32`, `bfloat16`, or `auto`: bfloat16
    on a GPU that has units for it, else float32. Measurements of inverted images use float32."""
    init: Initialization = Initialization.NOISE
    """`noise`; `light_noise`, a tenth as strong around gray; `gray`, which is the same for all
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
        """Return the preset with the values that are given in place of its own."""
        base = DEFAULT if self.preset == "default" else PAPER
        names = ("optimizer", "step_size", "schedule", "iterations", "stop_when_converged")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        # An early end is not the preset's where the schedule does not allow it.
        if given.get("schedule", Schedule.HARMONIC) is not Schedule.HARMONIC:
            given["stop_when_converged"] = False
        return replace(
            base,
            **given,
            tolerance=self.tolerance,
            precision=self.precision,
            init=self.init,
            parameterization=self.parameterization,
            regularizer=self.regularizer.settings(),
        )


class RbfCka(Value):
    """RBF CKA of a bandwidth."""

    rbf_cka: PositiveFloat
    """σ as a fraction of the median distance between images; `rbf_cka` alone takes 1."""


SimilarityChoice = Annotated[
    Annotated[Literal["rbf_cka", "procrustes"], Tag("<word>")] | Annotated[RbfCka, Tag("<other>")],
    word_or("`{rbf_cka: bandwidth}`", "rbf_cka", "procrustes"),
]


def measure_of(choice: SimilarityChoice) -> SimilarityMeasure:
    """Return the similarity that a job names."""
    if isinstance(choice, RbfCka):
        return SimilarityMeasure(Similarity.RBF_CKA, choice.rbf_cka)
    return SimilarityMeasure(Similarity(choice), 1.0 if choice == Similarity.RBF_CKA else 0.0)


def _distinct(choices: tuple[SimilarityChoice, ...]) -> tuple[SimilarityChoice, ...]:
    refuse_repeated(
        tuple(
            f"{measure.similarity} of bandwidth {measure.bandwidth:g}"
            if measure.bandwidth
            else str(measure.similarity)
            for measure in map(measure_of, choices)
        )
    )
    # In one order, so that equal choices give equal ids.
    return tuple(sorted(choices, key=lambda choice: astuple(measure_of(choice))))


Similarities = Annotated[tuple[SimilarityChoice, ...], AfterValidator(_distinct)]


Benchmark = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
]  # fmt: skip
Extra = Literal["speckle_noise", "gaussian_blur", "spatter", "saturate"]
_BENCHMARK, _EXTRA = get_args(Benchmark), get_args(Extra)


def _in_benchmark_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in _BENCHMARK + _EXTRA if name in refuse_repeated(names))


def _at_most_five(severities: tuple[int, ...]) -> tuple[int, ...]:
    if severities[-1] > _LARGEST_SEVERITY:
        raise ValueError(f"{severities[-1]} is no severity; use 1 to {_LARGEST_SEVERITY}")
    return severities


CorruptionNames = Annotated[
    tuple[Benchmark | Extra, ...], Field(min_length=1), AfterValidator(_in_benchmark_order)
]
Corruptions = Annotated[
    Annotated[Literal["benchmark", "all"], Tag("<word>")]
    | Annotated[CorruptionNames, Tag("<other>")],
    word_or("a list of corruptions", "benchmark", "all"),
]


class Released(Value):
    """CIFAR-10-C or CIFAR-100-C as it is downloaded and unpacked."""

    npy: Location
    """Folder of `labels.npy` and `<corruption>.npy` on every worker. Its images must be those of
    the test split of `data`, in its order."""


@dataclass(frozen=True)
class Condition:
    """A corruption under which all test images are shown.

    Attributes:
        corruption: its name, or `clean`.
        severity: 1 to 5; 0 of clean images.
        source: of the images: `regenerated`, `released`, or `clean`.
    """

    corruption: str
    severity: int
    source: str


class Robustness(Value):
    """Accuracy of every epoch on the test split, clean and corrupted.

    A model is tested on the dataset that it was trained on. So is the pretrained one, if this job
    trains it; the classes of other pretrained models are not known.
    """

    corruptions: Corruptions = "benchmark"
    """Those of CIFAR-10-C: `benchmark` are the 15 of its mean error, `all` are those and
    speckle_noise, gaussian_blur, spatter and saturate; or a list of names."""
    severities: Annotated[LayerNumbers, AfterValidator(_at_most_five)] = (1, 2, 3, 4, 5)
    """From 1, mild, to 5: a list, or `1-5`."""
    images: PositiveInt = 1000
    """Drawn from the test split, the same for every model, corruption and severity; all of them
    where the split has fewer."""
    seed: NonNegativeInt = 0
    """Of which images are drawn."""
    source: Annotated[
        Annotated[Literal["regenerated"], Tag("<word>")] | Annotated[Released, Tag("<other>")],
        word_or("`{npy: folder}`", "regenerated"),
    ] = "regenerated"
    """`regenerated` from the clean images with the settings of CIFAR-10-C, which are made for
    32 x 32 pixels; or read from the published files. CIFAR is corrupted at 32 and enlarged then,
    all else at its dataset's `size`: a blur is as many pixels wide there as at 32."""

    @property
    def names(self) -> tuple[str, ...]:
        """The corruptions, in the benchmark's order."""
        if isinstance(self.corruptions, tuple):
            return self.corruptions
        return _BENCHMARK if self.corruptions == "benchmark" else _BENCHMARK + _EXTRA

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """In the order of the results: first the images as they are."""
        source = "released" if self.folder else "regenerated"
        corrupted = (
            Condition(name, severity, source) for name in self.names for severity in self.severities
        )
        return (Condition(CLEAN, 0, CLEAN), *corrupted)

    @property
    def folder(self) -> str | None:
        """The folder of the published files; None if images are regenerated."""
        return None if isinstance(self.source, str) else self.source.npy


class TimeLimits(Value):
    """Seconds that a task of a stage may take before its worker is killed and it runs elsewhere.

    Null sets no limit. A task in the driver's own process (`--serial`) cannot be killed.
    """

    inspect: PositiveFloat | None = 3600
    train: PositiveFloat | None = None
    invert: PositiveFloat | None = 3600
    compare: PositiveFloat | None = 3600
    evaluate: PositiveFloat | None = None
    """Corrupting images of 224 px takes most of it: up to an hour of a core per model."""

    def of(self, stage: str) -> float | None:
        """Return the limit of a stage, by its name."""
        return getattr(self, stage)


def _of_one_gpu(share: float) -> float:
    if share > 1:
        raise ValueError(
            "expected 0 to 1, since a worker computes on one GPU; for more GPUs ask for more "
            "`workers`"
        )
    return share


class Execution(Value):
    """How the work is spread over machines; changes no result beyond the rounding of sums."""

    workers: PositiveInt | None = None
    """Processes; one per GPU, or else one per core, if not given."""
    threads_per_worker: PositiveInt | None = None
    """CPU threads of each; the cores divided among the workers if not given."""
    gpus_per_worker: Annotated[
        NonNegativeFloat, AfterValidator(_of_one_gpu), Field(json_schema_extra={"maximum": 1})
    ] = 1
    """GPUs of each, where there are GPUs: 1, a fraction to share one, or 0 to use the CPU."""
    batch_size: PositiveInt | None = None
    """Images per forward pass; all at once if not given."""
    max_identical_failures: PositiveInt = 5
    """If as many tasks of a stage as this end first and all fail alike, the run stops itself."""
    time_limits_s: TimeLimits = TimeLimits()
    """Per stage; a task that takes longer is killed and tried once more on another node."""
    storage_retry_s: NonNegativeFloat = 300
    """Seconds for which requests to a store in trouble are repeated before a task, or the run,
    gives up."""
    cache_gb: NonNegativeFloat = 50
    """10⁹ bytes on each machine's disk for copies of what its workers read often from a remote
    lake, and for corrupted test images, which each machine computes once; they never take more than
    half of what is free. 0 keeps none."""
