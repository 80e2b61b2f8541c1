"""How models are tested on corrupted images."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, Tag

from stir_ray.job.grammar import LayerNumbers, Place, Value, word_or

SEVEREST = 5
CLEAN = "clean"
"""In place of a corruption and of a source, with severity 0: the images as they are."""

Benchmark = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]
Extra = Literal["speckle_noise", "gaussian_blur", "spatter", "saturate"]
_BENCHMARK, _EXTRA = get_args(Benchmark), get_args(Extra)


def _in_one_order(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{twice} stands there twice")
    return tuple(name for name in _BENCHMARK + _EXTRA if name in names)


def _at_most_five(severities: tuple[int, ...]) -> tuple[int, ...]:
    if severities[-1] > SEVEREST:
        raise ValueError(f"{severities[-1]} is no severity; use 1 to {SEVEREST}")
    return severities


Names = Annotated[tuple[Benchmark | Extra, ...], Field(min_length=1), AfterValidator(_in_one_order)]
Corruptions = Annotated[
    Annotated[Literal["benchmark", "all"], Tag("<word>")] | Annotated[Names, Tag("<other>")],
    word_or("a list of corruptions", "benchmark", "all"),
]


class Released(Value):
    """CIFAR-10-C or CIFAR-100-C as it is downloaded and unpacked."""

    npy: Place
    """Folder of `labels.npy` and `<corruption>.npy`, where every worker finds it. Its images must
    be those of the test split of `data`, in its order."""


Source = Annotated[
    Annotated[Literal["regenerated"], Tag("<word>")] | Annotated[Released, Tag("<other>")],
    word_or("`{npy: folder}`", "regenerated"),
]


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
    """Accuracy of every epoch on the test split as it is, and under corruptions.

    A model is tested on the dataset whose classes it was trained for. So is the pretrained one, if
    this job trains it; of one that comes from elsewhere nobody says what its classes are.
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
    source: Source = "regenerated"
    """`regenerated` from the clean images with the settings of CIFAR-10-C, which are made for
    32 x 32 pixels; or read from the published files. CIFAR is corrupted at 32 and enlarged then,
    all else at its dataset's `size`: a blur is as many pixels wide there as at 32."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the corruptions, in the benchmark's order however they were said."""
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
        """Of the published files; None if images are regenerated."""
        return None if isinstance(self.source, str) else self.source.npy
