"""The job file: what to compute, on which models and images."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, Tag, model_validator

from stir_ray.job.fields import NAME, LayerNumbers, Location, Numbers, Value, word_or
from stir_ray.job.options import (
    Execution,
    InversionChoice,
    Robustness,
    Similarities,
    measure_of,
)
from stir_ray.job.study_inputs import Data, Finetuned, FromScratch, Pretrained
from stir_ray.numerics.settings import Initialization, SimilarityMeasure

LONGEST_NAME = 100
_LEAST_HALF_SAMPLES = 40
"""Of which one lies beyond each end of a 95 % interval."""
_LEAST_IMAGES = 8
"""Images that have halves of 4, as the unbiased estimator needs."""


class Selection(Value):
    """Which images of the dataset are inverted."""

    split: Literal["train", "test"] = "test"
    """Which part of the dataset."""
    count: Annotated[int, Field(ge=4)] = 256
    """How many; the unbiased estimator needs at least 4. The paper uses 500, and so does
    `inversion.preset: paper`."""
    seed: NonNegativeInt | None = None
    """null takes the first images, in the dataset's own order; a number draws them."""


class Sample(Value):
    """Keep the first few images of every inversion, enough for a gallery."""

    sample: PositiveInt


def _enough_halves(halves: int) -> int:
    if 0 < halves < _LEAST_HALF_SAMPLES:
        raise ValueError(
            f"{halves} halves make no 95 % interval; use {_LEAST_HALF_SAMPLES} or more (200 are "
            "good), or 0 for none"
        )
    return halves


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
    similarities: Similarities = ()
    """Measured besides linear CKA, of the same Gram matrices: `rbf_cka`, `{rbf_cka: bandwidth}` or
    `procrustes`, in a table of their own. Inversions are shared with jobs without them."""
    predictions: bool = False
    """Whether the class that each model predicts stays the same on inverted images: shared
    invariance without CKA. Of models that have a classifier."""
    metamers: bool = False
    """Whether the representation of each inverted image is nearer to that of its original than any
    two different images are: the first criterion of Feather et al. 2023. The second, that the class
    stays, is `predictions`."""
    half_samples: Annotated[NonNegativeInt, AfterValidator(_enough_halves)] = 0
    """So many random halves of the images, of each of which STIR and CKA of equal layers are
    measured too, and with `robustness` which test images every model gets right: then
    `stir-ray analyse` reports how far a correlation could have been off with other images.
    200 are good; 0 is none."""
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
        if self.half_samples and self.images.count < _LEAST_IMAGES:
            raise ValueError(
                f"`half_samples` of `images.count: {self.images.count}`: a half needs 4 images; "
                f"use {_LEAST_IMAGES} or more, or leave `half_samples` out"
            )
        return self

    @property
    def similarity_measures(self) -> tuple[SimilarityMeasure, ...]:
        """The similarities besides linear CKA."""
        return tuple(measure_of(choice) for choice in self.similarities)
