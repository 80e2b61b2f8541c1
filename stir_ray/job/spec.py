"""The job file itself."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from stir_ray.job.grammar import NAME, Numbers, Place, Value
from stir_ray.job.images import Data, Selection
from stir_ray.job.models import Finetuned, FromScratch, Pretrained
from stir_ray.job.robustness import Robustness
from stir_ray.job.settings import Execution, InversionChoice, KeptImages, Layers, Sample
from stir_ray.job.similarities import Similarities, measure_of
from stir_ray.numerics.settings import Initialization
from stir_ray.numerics.similarity_measures import Measure

LONGEST_NAME = 100
_FEWEST_HALVES = 40
"""Of which one lies beyond each end of a 95 % interval."""
_HALVED = 8
"""Images that have halves of 4, as the unbiased estimator needs."""


def _enough(halves: int) -> int:
    if 0 < halves < _FEWEST_HALVES:
        raise ValueError(
            f"{halves} halves make no 95 % interval; use {_FEWEST_HALVES} or more (200 are good), "
            "or 0 for none"
        )
    return halves


class Job(Value):
    """One study: a pretrained model, what became of it, and the images to ask with."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=NAME, max_length=LONGEST_NAME)]
    """Names the folder of results in the lake."""
    lake: Annotated[Place, Field(min_length=1)]
    """Folder or URL (`s3://bucket/prefix`) of everything computed."""
    data: Data
    """The dataset of the task that is finetuned for."""
    images: Selection = Selection()
    """Which of its images are inverted."""
    pretrained: Pretrained
    finetuned: Finetuned
    from_scratch: FromScratch | None = None
    layers: Layers = "all"
    """Blocks counted from 1: `all` that each model has, or a list or `1-6` that every one has."""
    representation: Literal["tokens", "token_mean", "cls", "patch_mean"] = "tokens"
    """Of the residual stream after a block: all tokens side by side, their mean, the class token,
    or the mean of the patch tokens. With `tokens`, equal tokens of one layer make all deeper layers
    equal. No layer then has an exact invariance of its own, beyond what the patch embedding drops,
    and STIR measures what a layer nearly ignores, at the residual that its inversion reached. The
    others drop most of a layer, and leave it invariances of its own."""
    seeds: Numbers = (0,)
    """One noise start per seed; 0, 1 and 2 with `inversion.preset: paper`."""
    inversion: InversionChoice = InversionChoice()
    assume_self_stir_one: bool = False
    """Take STIR of a model on its own inversions as 1 on the diagonal, as the paper does, instead
    of what was measured. Changes the matrices only."""
    subspace_directions: Annotated[int, Field(ge=1)] = 10
    """Principal directions of a layer whose subspaces are compared; all it has if that is fewer."""
    similarities: Similarities = ()
    """Measured besides linear CKA, of the same views: `rbf_cka`, `{rbf_cka: bandwidth}` or
    `procrustes`, in a table of their own. Inversions are shared with jobs that do not ask."""
    predictions: bool = False
    """Whether the class that each model predicts stays the same on inverted images: a reading of
    shared invariance without CKA. Of models that have a classifier."""
    metamers: bool = False
    """Whether the inverted model finds each inverted image nearer to its original than any two
    different images are: the first criterion of Feather et al. 2023. The second, that the class
    stays, is `predictions`."""
    half_samples: Annotated[NonNegativeInt, AfterValidator(_enough)] = 0
    """So many random halves of the images, of each of which STIR and CKA of equal layers are
    measured too, and with `robustness` which test images every model gets right: then
    `stir-ray analyse` says how far a correlation could have been off, had other images been drawn.
    200 are good; 0 is none."""
    keep_images: KeptImages = Sample(sample=8)
    """Inverted images kept of each finetuned checkpoint. Those of the pretrained model are always
    kept: every epoch looks at them."""
    robustness: Robustness | None = None
    """Left out, no accuracy on corrupted images is computed."""
    execution: Execution = Execution()

    @model_validator(mode="before")
    @classmethod
    def _as_the_paper(cls, said: Any) -> Any:
        match said:
            case {"inversion": {"preset": "paper"}}:
                images = said.get("images", {})
                if isinstance(images, dict):
                    images = {"count": 500, **images}
                return {"seeds": [0, 1, 2], **said, "images": images}
            case _:
                return said

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Job":
        if self.inversion.init is Initialization.GRAY and len(self.seeds) > 1:
            raise ValueError("`inversion.init: gray` is one start for all seeds; give one of them")
        return self

    @model_validator(mode="after")
    def _images_have_halves(self) -> "Job":
        if self.half_samples and self.images.count < _HALVED:
            raise ValueError(
                f"`half_samples` of `images.count: {self.images.count}`: a half needs 4 images; "
                f"use {_HALVED} or more, or leave `half_samples` out"
            )
        return self

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What `similarities` asks for."""
        return tuple(measure_of(one) for one in self.similarities)
