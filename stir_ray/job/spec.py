"""The job file: what to compute, on which models and images, and how it is executed."""

from dataclasses import astuple, dataclass, replace
from typing import Annotated, Any, Literal, get_args

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

from stir_ray.job.fields import (
    NAME,
    LayerNumbers,
    Location,
    Numbers,
    Value,
    refuse_repeated,
    word_or,
)
from stir_ray.job.study_inputs import Data, Finetuned, FromScratch, Pretrained, Selection
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

LONGEST_NAME = 100
CLEAN = "clean"
"""In place of a corruption and of a source, with severity 0: the images as they are."""
_LEAST_HALF_SAMPLES = 40
"""Of which one lies beyond each end of a 95 % interval."""
_LEAST_IMAGES = 8
"""Images that have halves of 4, as the unbiased estimator needs."""


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
        sigma, interval = (self.blur.sigma, self.blur.interval) if self.blur else (0.0, 0)
        return Regularizer(self.total_variation, self.norm, self.norm_order, sigma, interval)


class InversionChoice(Value):
    """How images are inverted: a preset, and what differs from it."""

    preset: Literal["default", "paper"] = "default"
    """`default` takes up to 400 steps of Adam, fewer where an inversion converges before; `paper`
    takes the 50 steps of the publication's optimizer, with 500 images and seeds 0, 1, 2 unless the
    job gives others."""
    iterations: Annotated[int, Field(ge=2)] | None = None
    """Steps at most; 400, or 50 of the preset `paper`. With 2, 4 ... times as many as a finished
    job had, an inversion continues from its stored images, if it had taken 400, 800 ... steps;
    otherwise it starts again."""
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
        for name in ("tolerance", "precision", "init", "parameterization"):
            given[name] = getattr(self, name)
        return replace(base, **given, regularizer=self.regularizer.settings())


class RbfCka(Value):
    """RBF CKA of a bandwidth."""

    rbf_cka: PositiveFloat
    """σ as a fraction of the median distance between images; `rbf_cka` alone takes 1."""


SimilarityChoice = Annotated[
    Annotated[Literal["rbf_cka", "procrustes"], Tag("<word>")] | Annotated[RbfCka, Tag("<other>")],
    word_or("`{rbf_cka: bandwidth}`", "rbf_cka", "procrustes"),
]


def _measure_of(choice: SimilarityChoice) -> SimilarityMeasure:
    if isinstance(choice, RbfCka):
        return SimilarityMeasure(Similarity.RBF_CKA, choice.rbf_cka)
    return SimilarityMeasure(Similarity(choice), 1.0 if choice == Similarity.RBF_CKA else 0.0)


def _distinct(choices: tuple[SimilarityChoice, ...]) -> tuple[SimilarityChoice, ...]:
    measures = [_measure_of(choice) for choice in choices]
    refuse_repeated(
        tuple(f"{each.similarity} of bandwidth {each.bandwidth:g}" for each in measures)
    )
    # In one order, so that equal choices give equal ids.
    return tuple(sorted(choices, key=lambda choice: astuple(_measure_of(choice))))


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
    if severities[-1] > 5:
        raise ValueError(f"{severities[-1]} is no severity; use 1 to 5")
    return severities


CorruptionNames = Annotated[
    tuple[Benchmark | Extra, ...], Field(min_length=1), AfterValidator(_in_benchmark_order)
]


class Released(Value):
    """CIFAR-10-C or CIFAR-100-C as it is downloaded and unpacked."""

    npy: Location
    """Folder of `labels.npy` and `<corruption>.npy` on every worker. Its images must be those of
    the test split of `data`, in its order."""


@dataclass(frozen=True)
class Condition:
    """A corruption under which all test images are shown."""

    corruption: str  # its name, or `clean`
    severity: int  # 1 to 5; 0 of clean images
    source: str  # of the images: `regenerated`, `released`, or `clean`


class Robustness(Value):
    """Accuracy of every epoch on the test split, clean and corrupted.

    A model is tested on the dataset that it was trained on. So is the pretrained one, if this job
    trains it; the classes of other pretrained models are not known.
    """

    corruptions: Annotated[
        Annotated[Literal["benchmark", "all"], Tag("<word>")]
        | Annotated[CorruptionNames, Tag("<other>")],
        word_or("a list of corruptions", "benchmark", "all"),
    ] = "benchmark"
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
        return getattr(self, stage)


class Execution(Value):
    """How the work is spread over machines; changes no result beyond the rounding of sums."""

    workers: PositiveInt | None = None
    """Processes; one per GPU, or else one per core, if not given."""
    threads_per_worker: PositiveInt | None = None
    """CPU threads of each; the cores divided among the workers if not given."""
    gpus_per_worker: Annotated[float, Field(ge=0, le=1)] = 1
    """GPUs of each, where there are GPUs: 1, a fraction to share one, or 0 to use the CPU. For more
    GPUs ask for more `workers`."""
    batch_size: PositiveInt | None = None
    """Images per forward pass; all at once if not given."""
    max_identical_failures: PositiveInt = 5
    """The run stops if the first tasks of a stage, this many of them, all fail in the same way."""
    time_limits_s: TimeLimits = TimeLimits()
    """Per stage; a task that takes longer is killed and tried once more on another node."""
    storage_retry_s: NonNegativeFloat = 300
    """Seconds for which requests to a store in trouble are repeated before a task, or the run,
    gives up."""
    cache_gb: NonNegativeFloat = 50
    """10⁹ bytes on each machine's disk for copies of what its workers read often from a remote
    lake, and for corrupted test images, which each machine computes once; they never take more than
    half of what is free. 0 keeps none."""


class Sample(Value):
    """Keep the first few images of every inversion, enough for a gallery."""

    sample: PositiveInt


class Job(Value):
    """One study: a pretrained model, a finetuning of it, and the images to compare them with."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=NAME, max_length=LONGEST_NAME)]
    """Names the folder of results in the lake."""
    lake: Annotated[Location, Field(min_length=1)]
    """Folder or URL (`s3://bucket/prefix`) of everything computed."""
    data: Data
    """The dataset of the task that is finetuned for."""
    images: Selection = Selection()
    """Which of its images are inverted."""
    pretrained: Pretrained
    finetuned: Finetuned
    from_scratch: FromScratch | None = None
    layers: Annotated[
        Annotated[Literal["all"], Tag("<word>")] | Annotated[LayerNumbers, Tag("<other>")],
        word_or("layer numbers", "all"),
    ] = "all"
    """Blocks counted from 1: `all` of each model, or a list or `1-6` that every model has."""
    representation: Literal["tokens", "token_mean", "cls", "patch_mean"] = "tokens"
    """Of the residual stream after a block: all tokens side by side, their mean, the class token,
    or the mean of the patch tokens. With `tokens`, equal tokens of one layer make all deeper layers
    equal. No layer then has an exact invariance of its own, beyond what the patch embedding drops,
    and STIR measures what a layer nearly ignores, at the residual that its inversion reached. The
    others drop most of a layer, and leave it invariances of its own."""
    seeds: Numbers = (0,)
    """One start of noise per seed; 0, 1 and 2 with `inversion.preset: paper`."""
    inversion: InversionChoice = InversionChoice()
    assume_self_stir_one: bool = False
    """Take STIR of a model on its own inversions as 1 on the diagonal, as the paper does, instead
    of the measured one. Changes the matrices only."""
    subspace_directions: Annotated[int, Field(ge=1)] = 10
    """Principal directions of a layer whose subspaces are compared; all it has if that is fewer."""
    similarities: Annotated[tuple[SimilarityChoice, ...], AfterValidator(_distinct)] = ()
    """Measured besides linear CKA, of the same Gram matrices: `rbf_cka`, `{rbf_cka: bandwidth}` or
    `procrustes`, in a table of their own. Inversions are shared with jobs without them."""
    predictions: bool = False
    """Whether the class that each model predicts stays the same on inverted images: shared
    invariance without CKA. Of models that have a classifier."""
    metamers: bool = False
    """Whether the representation of each inverted image is nearer to that of its original than any
    two different images are: the first criterion of Feather et al. 2023. The second, that the class
    stays, is `predictions`."""
    half_samples: NonNegativeInt = 0
    """Number of random halves of the images, on each of which STIR and CKA of equal layers are
    measured too, and with `robustness` which test images every model classifies correctly. With
    them `stir-ray analyse` reports how much a correlation depends on the choice of images. 200 are
    enough; 0 measures none."""
    measures: tuple[str, ...] = ()
    """Further measures by name: those of `stir_ray/measures` that have no key of their own."""
    keep_images: Annotated[
        Annotated[Literal["none", "all"], Tag("<word>")] | Annotated[Sample, Tag("<other>")],
        word_or("`{sample: n}`", "none", "all"),
    ] = Sample(sample=8)
    """Inverted images kept of each finetuned checkpoint. Those of the pretrained model are always
    kept: every epoch is compared on them."""
    robustness: Robustness | None = None
    """Left out, no accuracy on corrupted images is computed."""
    execution: Execution = Execution()

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, content: Any) -> Any:
        match content:
            case {"inversion": {"preset": "paper"}}:
                images = content.get("images", {})
                if isinstance(images, dict):
                    images = {"count": 500, **images}
                return {"seeds": [0, 1, 2], **content, "images": images}
            case _:
                return content

    @model_validator(mode="after")
    def _is_consistent(self) -> "Job":
        if self.inversion.init is Initialization.GRAY and len(self.seeds) > 1:
            raise ValueError("`inversion.init: gray` is one start for all seeds; give one of them")
        if 0 < self.half_samples < _LEAST_HALF_SAMPLES:
            raise ValueError(
                f"`half_samples`: {self.half_samples} halves make no 95 % interval; use "
                f"{_LEAST_HALF_SAMPLES} or more (200 are good), or 0 for none"
            )
        if self.half_samples and self.images.count < _LEAST_IMAGES:
            raise ValueError(
                f"`half_samples` of `images.count: {self.images.count}`: a half needs 4 images; "
                f"use {_LEAST_IMAGES} or more, or leave `half_samples` out"
            )
        return self

    @property
    def similarity_measures(self) -> tuple[SimilarityMeasure, ...]:
        """The similarities besides linear CKA."""
        return tuple(_measure_of(choice) for choice in self.similarities)
