"""The images of a job: where they come from, and which of them are inverted."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, Tag, model_validator

from stir_ray.job.grammar import Numbers, Place, Value, by_source


class Digits(Value):
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


class ImageFolder(Value):
    """Images on disk as `<path>/<split>/<class>/<image>`, split `train` or `test`."""

    source: Literal["folder"]
    path: Place
    """The folder that holds `train` and `test`."""
    size: PositiveInt
    """Height and width in pixels that the images are resized and centre-cropped to."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""


Data = Annotated[
    Annotated[Digits, Tag("<digits>")] | Annotated[ImageFolder, Tag("<folder>")],
    by_source("digits", "folder"),
]


class Selection(Value):
    """Which images of the dataset are inverted: the first ones of a split, in its own order."""

    split: Literal["train", "test"] = "test"
    """Which part of the dataset."""
    count: Annotated[int, Field(ge=4)] = 500
    """How many; the unbiased estimator needs at least 4, and the paper uses 500."""
