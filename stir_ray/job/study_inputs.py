"""What a job reads: its datasets, and its models, trained by it or from checkpoints."""

from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

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
    Argument,
    Location,
    Numbers,
    Value,
    by_key,
    by_source,
    word_or,
)

DATASET = "dataset:"
"""Prefix of the name of a dataset in the lake, where paths of others are expected."""
Size = Annotated[PositiveInt, Field(description="Height and width in pixels after resizing.")]
CroppedSize = Annotated[
    PositiveInt, Field(description="Height and width in pixels after resizing and center crop.")
]
Channels = Annotated[Literal[1, 3], Field(description="3 for color, 1 for gray.")]


class Digits(Value):
    """The 1797 handwritten digits that ship with scikit-learn: 8 × 8 pixels, one channel."""

    channels: ClassVar[Literal[1, 3]] = 1
    location: ClassVar[str] = ""
    source: Literal["digits"]
    classes: Annotated[Numbers, Field(min_length=2)] = tuple(range(10))
    """Which of the digits 0 to 9; they become labels 0, 1, … in this order."""
    size: Size = 8

    @model_validator(mode="after")
    def _only_digits(self) -> "Digits":
        if (largest := max(self.classes)) > 9:
            raise ValueError(f"class {largest} is not a digit; use 0 to 9")
        return self


class ImageFolder(Value):
    """Images on disk as `<path>/<split>/<class>/<image>`, split `train` or `test`."""

    source: Literal["folder"]
    path: Location
    """The folder that holds `train` and `test`."""
    size: CroppedSize
    channels: Channels = 3

    @property
    def location(self) -> str:
        return self.path


class PublicDataset(Value):
    """A public dataset as torchvision unpacks it; `stir-ray import-data` downloads it."""

    channels: ClassVar[Literal[1, 3]] = 3
    unpacked: ClassVar[str]
    """The folder below `root` that torchvision makes."""
    source: str
    root: Location
    """torchvision's `root`: the folder that the archives are unpacked in."""
    size: CroppedSize

    @property
    def location(self) -> str:
        """The folder of the dataset's own files."""
        return str(PurePath(self.root, self.unpacked))


class Cifar10(PublicDataset):
    """CIFAR-10: 50000 + 10000 color images of 32 × 32 pixels in 10 classes."""

    unpacked: ClassVar[str] = "cifar-10-batches-py"
    source: Literal["cifar10"]
    size: Size = 32


class Cifar100(PublicDataset):
    """CIFAR-100: as CIFAR-10, in 100 classes."""

    unpacked: ClassVar[str] = "cifar-100-python"
    source: Literal["cifar100"]
    size: Size = 32


class Pets(PublicDataset):
    """Oxford-IIIT Pet: 3680 + 3669 photographs of cats and dogs in 37 classes."""

    unpacked: ClassVar[str] = "oxford-iiit-pet"
    source: Literal["pets"]


class EuroSat(PublicDataset):
    """EuroSAT, RGB: 27000 satellite images of 64 × 64 pixels in 10 classes.

    It has no split of its own: every fifth image of a class, by file name, is in `test`.
    """

    unpacked: ClassVar[str] = "eurosat"
    source: Literal["eurosat"]
    size: Size = 64


UNPACKED = frozenset(kind.unpacked for kind in (Cifar10, Cifar100, Pets, EuroSat))
"""The folders that torchvision makes of public datasets."""


class InLake(Value):
    """A dataset that `stir-ray import-data` put into the lake."""

    source: Literal["lake"]
    name: Annotated[str, Field(pattern=NAME)]
    """Its name in the lake."""
    size: CroppedSize
    channels: Channels = 3

    @property
    def location(self) -> str:
        return f"{DATASET}{self.name}"


Data = Annotated[
    Annotated[Digits, Tag("<digits>")]
    | Annotated[ImageFolder, Tag("<folder>")]
    | Annotated[Cifar10, Tag("<cifar10>")]
    | Annotated[Cifar100, Tag("<cifar100>")]
    | Annotated[Pets, Tag("<pets>")]
    | Annotated[EuroSat, Tag("<eurosat>")]
    | Annotated[InLake, Tag("<lake>")],
    by_source("digits", "folder", "cifar10", "cifar100", "pets", "eurosat", "lake"),
]


class Selection(Value):
    """Which images of the dataset are inverted."""

    split: Literal["train", "test"] = "test"
    count: Annotated[int, Field(ge=4)] = 256
    """How many; the unbiased estimator needs at least 4. The paper uses 500, and so does
    `inversion.preset: paper`."""
    seed: NonNegativeInt | None = None
    """null takes the first images, in the dataset's own order; a number draws them."""


_NOT_ARCHITECTURE = {
    *("cache_dir", "checkpoint_path", "exportable", "features_only", "no_jit", "num_classes"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable"),
}
"""Arguments of `timm.create_model` that do not describe a model's blocks."""


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

    timm: Location
    """Its name in timm, e.g. `vit_base_patch32_224`."""
    arguments: dict[str, Argument] = Field(default={})
    """Further arguments of `timm.create_model`, e.g. `img_size`, `depth`."""
    mean: tuple[float, ...] | None = None
    """Subtracted from images in [0, 1], per channel; timm's own value if not given."""
    std: tuple[PositiveFloat, ...] | None = None
    """Divided by afterwards, per channel; timm's own value if not given."""

    @model_validator(mode="after")
    def _no_weights(self) -> "Architecture":
        # `checkpoint_path` would make timm unpickle a file, which can run code.
        if odd := sorted(_NOT_ARCHITECTURE & set(self.arguments)):
            raise ValueError(f"`{odd[0]}` is no argument of an architecture; leave it out")
        return self


OtherArchitecture = Annotated[
    Architecture | None,
    Field(description="That of the pretrained model if not given; depth and width may differ."),
]


class Training(Value):
    """One training run; a checkpoint is stored after every epoch, and one before the first."""

    task: Literal["classification", "reconstruction"] = "classification"
    """`classification`: cross-entropy on the labels of the dataset. `reconstruction`: L1 between
    the image in [0, 1] and the output of a linear decoder of the last block's patch tokens."""
    data: Data | None = None
    """The dataset trained on; the job's own `data` if not given."""
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 32
    optimizer: Literal["sgd", "nesterov", "adam", "adamw"] = "sgd"
    """`sgd` has plain momentum, `nesterov` is SGD with Nesterov's."""
    learning_rate: PositiveFloat = 1e-3
    """The highest; from there it falls to 0 along a cosine over all epochs."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of `sgd` and `nesterov`; Adam keeps its own decay rates."""
    weight_decay: NonNegativeFloat = 1e-4
    warmup_epochs: NonNegativeInt = 0
    """Epochs over which the learning rate rises linearly first."""
    gradient_clip: PositiveFloat | None = None
    """The largest L2 norm of a step's gradient, which is scaled down to it; null clips none."""
    mixed_precision: Literal["none", "bf16"] = "none"
    """`bf16` computes products of a step in bfloat16; weights and tests stay in float32."""
    augmentation: Literal["none", "standard", "resized_crop"] = "none"
    """`standard`: images shifted by up to an eighth of their side. `resized_crop`: a random 8 to
    100 % of the area, of 3:4 to 4:3, scaled to the image's size. Both mirror half of the images."""
    seed: NonNegativeInt = 0
    """Of the initial weights, the order of the images, dropout and augmentation."""

    @model_validator(mode="after")
    def _is_possible(self) -> "Training":
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
    """Weights that timm downloads from its hub."""

    timm: Location
    """Architecture and weights by their name in timm, e.g. `vit_base_patch32_224.augreg_in1k`."""


class CheckpointModel(Value):
    """Weights from a file."""

    architecture: Architecture
    checkpoint: Location
    """Path or URL of a file with the architecture's state dict: safetensors, or as `torch.save`
    writes it. Code in such a file is never run."""


class RandomInit(Value):
    """Random weights, as timm initializes the architecture."""

    seed: NonNegativeInt = 0


class RandomModel(Value):
    """Random weights without training, for finetuning from random initialization."""

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
    """An existing training: one file per epoch."""

    checkpoints: Location
    """Path or URL with `{epoch}` in it, e.g. `s3://bucket/run/epoch={epoch}.safetensors`."""
    epochs: EpochNumbers
    """Which epochs: a list in ascending order, or `1-100`."""
    architecture: OtherArchitecture = None

    @model_validator(mode="after")
    def _names_the_epoch(self) -> "CheckpointFinetuning":
        if "{epoch}" not in self.checkpoints:
            raise ValueError("`checkpoints` must contain {epoch}, which stands for its number")
        return self

    def checkpoint_of(self, epoch: int) -> str:
        """Return the path or URL of an epoch's checkpoint."""
        return self.checkpoints.replace("{epoch}", str(epoch))


class ComparedCheckpoint(Value):
    """One existing model, finetuned or not."""

    checkpoint: Location
    """As of the pretrained model."""
    architecture: OtherArchitecture = None


class FromScratch(Value):
    """The paper's baseline: trained on the task from random weights."""

    train: Training
    architecture: OtherArchitecture = None


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
"""Compared with the pretrained model: a finetuning of it, or any other model."""
