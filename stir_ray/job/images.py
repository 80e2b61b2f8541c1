"""The images of a job: where they come from, and which of them are inverted."""

from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from stir_ray.job.grammar import NAME, Numbers, Place, Value, by_source


class Digits(Value):
    """The 1797 handwritten digits that ship with scikit-learn: 8 × 8 pixels, one channel."""

    channels: ClassVar[Literal[1, 3]] = 1
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


class ImageFolder(Value):
    """Images on disk as `<path>/<split>/<class>/<image>`, split `train` or `test`."""

    source: Literal["folder"]
    path: Place
    """The folder that holds `train` and `test`."""
    size: PositiveInt
    """Height and width in pixels that the images are resized and centre-cropped to."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""


class Published(Value):
    """A public dataset as torchvision unpacks it; `stir-ray import-data` downloads it."""

    channels: ClassVar[Literal[1, 3]] = 3
    unpacked: ClassVar[str]
    """The folder below `root` that torchvision makes."""
    source: str
    root: Place
    """torchvision's `root`: the folder that the archives are unpacked in."""
    size: PositiveInt
    """Height and width in pixels that the images are resized and centre-cropped to."""

    @property
    def folder(self) -> str:
        """Where the dataset's own files lie."""
        return str(PurePath(self.root, self.unpacked))


class Cifar10(Published):
    """CIFAR-10: 50000 + 10000 colour images of 32 × 32 pixels in 10 classes."""

    unpacked: ClassVar[str] = "cifar-10-batches-py"
    source: Literal["cifar10"]
    size: PositiveInt = 32
    """Height and width in pixels that the images are resized to."""


class Cifar100(Published):
    """CIFAR-100: as CIFAR-10, in 100 classes."""

    unpacked: ClassVar[str] = "cifar-100-python"
    source: Literal["cifar100"]
    size: PositiveInt = 32
    """Height and width in pixels that the images are resized to."""


class Pets(Published):
    """Oxford-IIIT Pet: 3680 + 3669 photographs of cats and dogs in 37 classes."""

    unpacked: ClassVar[str] = "oxford-iiit-pet"
    source: Literal["pets"]


class EuroSat(Published):
    """EuroSAT, RGB: 27000 satellite images of 64 × 64 pixels in 10 classes.

    It has no split of its own: every fifth image of a class, in the order of file names, is of
    `test`.
    """

    unpacked: ClassVar[str] = "eurosat"
    source: Literal["eurosat"]
    size: PositiveInt = 64
    """Height and width in pixels that the images are resized to."""


UNPACKED = frozenset(kind.unpacked for kind in (Cifar10, Cifar100, Pets, EuroSat))
"""The folders that torchvision makes of public datasets."""


class InLake(Value):
    """A dataset that `stir-ray import-data` put into the lake."""

    source: Literal["lake"]
    name: Annotated[str, Field(pattern=NAME)]
    """By which it was put there."""
    size: PositiveInt
    """Height and width in pixels that the images are resized and centre-cropped to."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""


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
    """Which part of the dataset."""
    count: Annotated[int, Field(ge=4)] = 256
    """How many; the unbiased estimator needs at least 4. The paper uses 500, and so does
    `inversion.preset: paper`."""
    seed: NonNegativeInt | None = None
    """null takes the first images, in the dataset's own order; a number draws them."""

    @model_serializer(mode="wrap")
    def _as_ever(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Without a seed it means what it meant before there was one, and so do all ids made of it.
        said = serialize(self)
        if self.seed is None:
            said.pop("seed", None)
        return said
