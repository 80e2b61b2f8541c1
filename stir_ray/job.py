"""The job file: what to compute, on which models and images, as frozen validated values.

Parameters live here; the command line has verbs. Secrets never stand in a job file: they come from
the machine's environment or role.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from stir_ray.numerics.settings import DEFAULT, PAPER, InversionSettings, Schedule, Update


class _Value(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _spelled_out(value: object) -> object:
    """`"1-4"` means 1, 2, 3, 4; a list stays as it is."""
    if isinstance(value, list | tuple):
        return value
    first, dash, last = (part.strip() for part in str(value).partition("-"))
    if dash and first.isdigit() and last.isdigit():
        return tuple(range(int(first), int(last) + 1))
    raise ValueError("expected a list such as [1, 2, 5] or a range such as 1-12")


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{twice[0]} stands there twice")
    return values


def _told_apart(tag: Callable[[Any], str | None], expected: str) -> Discriminator:
    """Choose the member of a union by `tag`, so that its errors are about that member alone."""
    return Discriminator(tag, custom_error_type="choice", custom_error_message=expected)


def _by_key(*keys: str) -> Discriminator:
    """Tell members apart by the key that only one of them has."""

    def tag(value: Any) -> str | None:
        present = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
        return next((f"<{key}>" for key in keys if key in present), None)

    return _told_apart(tag, "expected one of the keys " + ", ".join(f"`{key}`" for key in keys))


def _by_source(*sources: str) -> Discriminator:
    """Tell members apart by what their key `source` says."""

    def tag(value: Any) -> str | None:
        source = value.get("source") if isinstance(value, dict) else getattr(value, "source", None)
        return f"<{source}>" if source in sources else None

    return _told_apart(tag, "expected `source: " + "` or `source: ".join(sources) + "`")


def _word_or(other: str, *words: str) -> Discriminator:
    """Tell a fixed word from anything else."""

    def tag(value: Any) -> str | None:
        if isinstance(value, str) and not value[:1].isdigit():
            return "<word>" if value in words else None
        return "<other>"

    return _told_apart(tag, f"expected {', '.join(f'`{word}`' for word in words)} or {other}")


Numbers = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
    BeforeValidator(_spelled_out, json_schema_input_type=list[NonNegativeInt] | str),
    AfterValidator(_distinct),
    Field(min_length=1),
]
LayerNumbers = Annotated[
    tuple[PositiveInt, ...],
    BeforeValidator(_spelled_out, json_schema_input_type=list[PositiveInt] | str),
    AfterValidator(_distinct),
    AfterValidator(lambda values: tuple(sorted(values))),
    Field(min_length=1),
]


class Digits(_Value):
    """The 1797 handwritten digits that ship with scikit-learn: 8 × 8 pixels, one channel."""

    source: Literal["digits"]
    classes: Annotated[Numbers, Field(min_length=2)] = tuple(range(10))
    """Which of the digits 0 to 9; they become labels 0, 1, … in this order."""
    size: PositiveInt = 8
    """Height and width in pixels that the images are resized to (bilinear)."""

    @model_validator(mode="after")
    def _only_digits(self) -> "Digits":
        beyond = [number for number in self.classes if number > 9]
        if beyond:
            raise ValueError(f"class {beyond[0]} is not a digit; use 0 to 9")
        return self


class ImageFolder(_Value):
    """Images on disk as `<path>/<split>/<class>/<image>`, split `train` or `test`."""

    source: Literal["folder"]
    path: str
    """The folder that holds `train` and `test`."""
    size: PositiveInt
    """Height and width in pixels that the images are resized and centre-cropped to."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""


Data = Annotated[
    Annotated[Digits, Tag("<digits>")] | Annotated[ImageFolder, Tag("<folder>")],
    _by_source("digits", "folder"),
]


class Selection(_Value):
    """Which images of the dataset are inverted: the first ones of a split, in its own order."""

    split: Literal["train", "test"] = "test"
    """Which part of the dataset."""
    count: Annotated[int, Field(ge=4)] = 500
    """How many; the unbiased estimator needs at least 4, and the paper uses 500."""


_NOT_ARCHITECTURE = {
    "cache_dir",
    "checkpoint_path",
    "exportable",
    "features_only",
    "no_jit",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "scriptable",
}
"""Arguments of `timm.create_model` that say something else than what the model is."""


class Architecture(_Value):
    """A timm model without weights."""

    timm: str
    """The name by which timm creates it, e.g. `vit_base_patch32_224`."""
    arguments: dict[str, bool | int | float | str] = {}
    """Further arguments of `timm.create_model`, e.g. `img_size`, `depth`."""
    mean: tuple[float, ...] | None = None
    """Subtracted from images in [0, 1], per channel; timm's own value if not given."""
    std: tuple[PositiveFloat, ...] | None = None
    """Divided by afterwards, per channel; timm's own value if not given."""

    @model_validator(mode="after")
    def _no_weights(self) -> "Architecture":
        # `checkpoint_path` would make timm unpickle a file, which can run code.
        odd = sorted(_NOT_ARCHITECTURE & set(self.arguments))
        if odd:
            raise ValueError(f"`{odd[0]}` is no argument of an architecture; leave it out")
        return self


class Training(_Value):
    """One training run; a checkpoint is kept after every epoch, and one before the first."""

    task: Literal["classification"] = "classification"
    """Cross-entropy on the labels of the dataset."""
    data: Data | None = None
    """The dataset trained on; the job's own `data` if not given."""
    epochs: PositiveInt
    batch_size: PositiveInt = 32
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """As timm has them: `sgd` is with Nesterov momentum."""
    learning_rate: PositiveFloat = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD, above 0; Adam keeps its own decay rates."""
    weight_decay: NonNegativeFloat = 1e-4
    warmup_epochs: NonNegativeInt = 0
    """Epochs over which the learning rate rises linearly before it falls along a cosine."""
    seed: NonNegativeInt = 0
    """Of the initial weights and of the order of the images."""

    @model_validator(mode="after")
    def _can_be_run(self) -> "Training":
        if self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("momentum of sgd must be above 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be below epochs ({self.epochs})")
        return self


class TrainedModel(_Value):
    """Trained by this job from random weights; the last epoch is the model."""

    architecture: Architecture
    train: Training


class TimmModel(_Value):
    """Weights that timm downloads from its hub, e.g. `vit_base_patch32_224.augreg_in1k`."""

    timm: str
    """Architecture and weights by timm's name for them."""


class CheckpointModel(_Value):
    """Weights of one's own."""

    architecture: Architecture
    checkpoint: str
    """Path or URL of a safetensors file with the architecture's state dict."""


class TrainedFinetuning(_Value):
    """Finetuned by this job from the pretrained model, with a new classifier."""

    train: Training


class CheckpointFinetuning(_Value):
    """A finetuning that exists already: one file per epoch."""

    checkpoints: str
    """Path or URL with `{epoch}` in it, e.g. `s3://bucket/run/epoch={epoch}.safetensors`."""
    epochs: Numbers
    """Which epochs: a list in ascending order, or `1-100`."""

    @model_validator(mode="after")
    def _names_the_epoch(self) -> "CheckpointFinetuning":
        if "{epoch}" not in self.checkpoints:
            raise ValueError("`checkpoints` must contain {epoch}, which stands for its number")
        if list(self.epochs) != sorted(self.epochs):
            raise ValueError("`epochs` must ascend")
        return self


class FromScratch(_Value):
    """The paper's baseline: the same architecture trained on the task from random weights."""

    train: Training


Pretrained = Annotated[
    Annotated[TrainedModel, Tag("<train>")]
    | Annotated[CheckpointModel, Tag("<checkpoint>")]
    | Annotated[TimmModel, Tag("<timm>")],
    _by_key("train", "checkpoint", "timm"),
]
Finetuned = Annotated[
    Annotated[TrainedFinetuning, Tag("<train>")]
    | Annotated[CheckpointFinetuning, Tag("<checkpoints>")],
    _by_key("train", "checkpoints"),
]


class InversionChoice(_Value):
    """How images are inverted: a preset, and what differs from it."""

    preset: Literal["default", "paper"] = "default"
    """`default` converges in every layer; `paper` is the update of the publication."""
    iterations: PositiveInt | None = None
    step_size: PositiveFloat | None = None
    update: Update | None = None
    schedule: Schedule | None = None
    residual_limit: PositiveFloat = 0.5
    """Images whose residual ends above it are counted as unconverged. Changes no image."""

    def settings(self) -> InversionSettings:
        """The preset with this choice's own values in place of its."""
        base = DEFAULT if self.preset == "default" else PAPER
        return InversionSettings(
            update=self.update or base.update,
            step_size=self.step_size or base.step_size,
            schedule=self.schedule or base.schedule,
            iterations=self.iterations or base.iterations,
        )


class Sample(_Value):
    """Keep the first few images of every inversion, enough for a gallery."""

    sample: PositiveInt


Layers = Annotated[
    Annotated[Literal["all"], Tag("<word>")] | Annotated[LayerNumbers, Tag("<other>")],
    _word_or("layer numbers", "all"),
]
KeptImages = Annotated[
    Annotated[Literal["none", "all"], Tag("<word>")] | Annotated[Sample, Tag("<other>")],
    _word_or("`{sample: n}`", "none", "all"),
]


class TimeLimits(_Value):
    """Seconds that one task of a stage may take before its worker is killed and it runs elsewhere.

    Null sets no limit. A task in the driver's own process (`--serial`) cannot be killed.
    """

    inspect: PositiveFloat | None = 3600
    train: PositiveFloat | None = None
    invert: PositiveFloat | None = 3600
    compare: PositiveFloat | None = 3600

    def of(self, stage: str) -> float | None:
        """The limit of a stage, by its name."""
        return getattr(self, stage)


class Execution(_Value):
    """How the work is spread over machines; changes no result beyond the rounding of sums."""

    workers: PositiveInt | None = None
    """Processes; one per GPU, or else one per core, if not given."""
    threads_per_worker: PositiveInt | None = None
    """CPU threads of each; the cores divided among the workers if not given."""
    gpus_per_worker: NonNegativeFloat = 1
    """GPUs of each, where there are GPUs; a fraction lets workers share one."""
    batch_size: PositiveInt | None = None
    """Images per forward pass; all at once if not given."""
    stop_after_alike: PositiveInt = 5
    """If as many tasks of a stage as this end first and all fail alike, the run stops itself."""
    time_limits_s: TimeLimits = TimeLimits()
    """Per stage; a task that takes longer is killed and tried once more on another node."""
    storage_patience_s: NonNegativeFloat = 300
    """How long a lake that gives no answer is asked again before a task, or the run, gives up."""


class Job(_Value):
    """One study: a pretrained model, what became of it, and the images to ask with."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Names the folder of results in the lake."""
    lake: Annotated[str, Field(min_length=1)]
    """Folder or URL (`s3://bucket/prefix`) of everything computed."""
    data: Data
    """The dataset of the task that is finetuned for."""
    images: Selection = Selection()
    """Which of its images are inverted."""
    pretrained: Pretrained
    finetuned: Finetuned
    from_scratch: FromScratch | None = None
    layers: Layers = "all"
    """Blocks counted from 1: `all`, a list, or `1-6`."""
    representation: Literal["tokens", "token_mean", "cls", "patch_mean"] = "tokens"
    """Of the residual stream after a block: all tokens side by side, their mean, the class token,
    or the mean of the patch tokens."""
    seeds: Numbers = (0, 1, 2)
    """One noise start per seed."""
    inversion: InversionChoice = InversionChoice()
    assume_self_stir_one: bool = False
    """Take STIR of a model on its own inversions as 1 on the diagonal, as the paper does, instead
    of what was measured. Changes the matrices only."""
    keep_images: KeptImages = Sample(sample=8)
    """Inverted images kept of each finetuned checkpoint. Those of the pretrained model are always
    kept: every epoch looks at them."""
    execution: Execution = Execution()
