"""The models of a job: trained by it, or checkpoints that exist already."""

from typing import Annotated, Literal

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

from stir_ray.job.grammar import Argument, Numbers, Place, Value, by_key, word_or
from stir_ray.job.images import Data

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


def _ascending(epochs: tuple[int, ...]) -> tuple[int, ...]:
    if list(epochs) != sorted(epochs):
        raise ValueError("epochs must ascend")
    return epochs


EpochNumbers = Annotated[Numbers, AfterValidator(_ascending)]
Epochs = Annotated[
    Annotated[Literal["all"], Tag("<word>")] | Annotated[EpochNumbers, Tag("<other>")],
    word_or("a list of epochs", "all"),
]


class Architecture(Value):
    """A timm model without weights."""

    timm: Place
    """The name by which timm creates it, e.g. `vit_base_patch32_224`."""
    arguments: dict[str, Argument] = Field(default={})
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


class Training(Value):
    """One training run; a checkpoint is kept after every epoch, and one before the first."""

    task: Literal["classification", "reconstruction"] = "classification"
    """`classification`: cross-entropy on the labels of the dataset. `reconstruction`: L1 between
    the image in [0, 1] and what a linear decoder makes of the last block's patch tokens."""
    data: Data | None = None
    """The dataset trained on; the job's own `data` if not given."""
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 32
    optimizer: Literal["sgd", "nesterov", "adam", "adamw"] = "sgd"
    """`sgd` has plain momentum, `nesterov` is SGD with Nesterov's."""
    learning_rate: PositiveFloat = 1e-3
    """At its highest; from there it falls to 0 along a cosine over all epochs."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of `sgd` and `nesterov`; Adam keeps its own decay rates."""
    weight_decay: NonNegativeFloat = 1e-4
    warmup_epochs: NonNegativeInt = 0
    """Epochs over which the learning rate rises linearly before it falls along a cosine."""
    gradient_clip: PositiveFloat | None = None
    """The largest L2 norm of a step's gradient, which is scaled down to it; null clips none."""
    mixed_precision: Literal["none", "bf16"] = "none"
    """`bf16` computes products of a step in bfloat16; weights and tests stay in float32."""
    augmentation: Literal["none", "standard", "resized_crop"] = "none"
    """`standard`: images shifted by up to an eighth of their side. `resized_crop`: a random 8 to
    100 % of the area, of 3:4 to 4:3, scaled to the image's size, as is usual for ImageNet. Both
    mirror half of the images."""
    seed: NonNegativeInt = 0
    """Of the initial weights, the order of the images, dropout and augmentation."""

    @model_validator(mode="after")
    def _can_be_run(self) -> "Training":
        if self.optimizer == "nesterov" and self.momentum == 0:
            raise ValueError("momentum of nesterov must be above 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be below epochs ({self.epochs})")
        return self


class TrainedModel(Value):
    """Trained by this job from random weights; the last epoch is the model."""

    architecture: Architecture
    train: Training


class TimmModel(Value):
    """Weights that timm downloads from its hub, e.g. `vit_base_patch32_224.augreg_in1k`."""

    timm: Place
    """Architecture and weights by timm's name for them."""


class CheckpointModel(Value):
    """Weights of one's own."""

    architecture: Architecture
    checkpoint: Place
    """Path or URL of a file with the architecture's state dict: safetensors, or what `torch.save`
    wrote. Code that such a file may hold is never run."""


class RandomInit(Value):
    """Random weights, as timm initialises the architecture."""

    seed: NonNegativeInt = 0


class RandomModel(Value):
    """Random weights that nobody trains: what finetuning from random initialisation starts from."""

    architecture: Architecture
    random_init: RandomInit


class TrainedFinetuning(Value):
    """Finetuned by this job from the pretrained model, with a new classifier."""

    train: Training
    epochs: Epochs = "all"
    """Which epochs are compared with the pretrained model, and tested: `all` from 0, the model
    before the first, or a list in ascending order, or `1-100`. Every epoch is trained and kept."""

    @model_validator(mode="after")
    def _are_trained(self) -> "TrainedFinetuning":
        if self.epochs != "all" and self.epochs[-1] > self.train.epochs:
            raise ValueError(f"`epochs`: {self.epochs[-1]} is past the last ({self.train.epochs})")
        return self


class CheckpointFinetuning(Value):
    """A training that exists already: one file per epoch."""

    checkpoints: Place
    """Path or URL with `{epoch}` in it, e.g. `s3://bucket/run/epoch={epoch}.safetensors`."""
    epochs: EpochNumbers
    """Which epochs: a list in ascending order, or `1-100`."""
    architecture: Architecture | None = None
    """That of the pretrained model if not given; it may have other blocks, and another width."""

    @model_validator(mode="after")
    def _names_the_epoch(self) -> "CheckpointFinetuning":
        if "{epoch}" not in self.checkpoints:
            raise ValueError("`checkpoints` must contain {epoch}, which stands for its number")
        return self


class ComparedCheckpoint(Value):
    """One model that exists already, which need not be a finetuned one."""

    checkpoint: Place
    """As of the pretrained model."""
    architecture: Architecture | None = None
    """That of the pretrained model if not given; it may have other blocks, and another width."""


class FromScratch(Value):
    """The paper's baseline: trained on the task from random weights."""

    train: Training
    architecture: Architecture | None = None
    """That of the pretrained model if not given, as in the paper."""


Pretrained = Annotated[
    Annotated[TrainedModel, Tag("<train>")]
    | Annotated[CheckpointModel, Tag("<checkpoint>")]
    | Annotated[RandomModel, Tag("<random_init>")]
    | Annotated[TimmModel, Tag("<timm>")],
    by_key("train", "checkpoint", "random_init", "timm"),
]
Finetuned = Annotated[
    Annotated[TrainedFinetuning, Tag("<train>")]
    | Annotated[CheckpointFinetuning, Tag("<checkpoints>")]
    | Annotated[ComparedCheckpoint, Tag("<checkpoint>")]
    | Annotated[RandomModel, Tag("<random_init>")]
    | Annotated[TimmModel, Tag("<timm>")],
    by_key("train", "checkpoints", "checkpoint", "random_init", "timm"),
]
"""Compared with the pretrained model: what became of it, or any other model."""
