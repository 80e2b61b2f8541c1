"""The interface of a measure: its tables, computation, summary, cost and charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from stir_ray.lake.schemas import Column, TableSchema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import xarray as xr
    from torch import Tensor

    from stir_ray.charts.blocks import Chart
    from stir_ray.job import Job

Option = Any
"""What distinguishes several artifacts of a measure: a hashable dataclass, a number or None."""
Model = Literal["reference", "target"]
"""The reference was inverted; the target is shown the images."""
Images = Literal["real", "inverted", "earlier", "initial"]
"""`earlier`: inverted images after half of the steps; `initial`: those that inversions start from,
clipped to [0, 1]."""
Value = TypeVar("Value")


class Scope(StrEnum):
    """What an artifact of a measure is about."""

    COMPARISON = "comparison"  # a layer of the reference, a seed, and a target
    INVERSION = "inversion"  # a layer of the reference and a seed
    PAIR = "pair"  # the pretrained model and a compared one, the target; nothing is inverted


class Target(Protocol):
    """The checkpoint of a target, as far as its digests are concerned."""

    @property
    def weights(self) -> str: ...  # digest of architecture and block weights
    @property
    def content(self) -> str: ...  # digest of all weights, of the classifier too
    @property
    def has_classifier(self) -> bool: ...


class Subject(Protocol):
    """What an artifact is about, before anything is computed."""

    @property
    def target(self) -> Target: ...  # of scope `INVERSION` the reference
    @property
    def target_layers(self) -> tuple[int, ...]: ...  # measured layers of the target, from 1
    @property
    def layer(self) -> int: ...  # the inverted layer, from 1


SMALL_VALUES = 64
"""Values that a worker keeps of a kind, if they are small."""


class Views(Subject, Protocol):
    """What a worker computes of models and images: float32 features, float64 Gram matrices."""

    @property
    def seed(self) -> int: ...  # of the initial images
    @property
    def image_ids(self) -> tuple[int, ...]: ...  # indices of the images in their dataset
    @property
    def image_set(self) -> str: ...  # digest of the images

    # Measured layers of a model, from 1.
    def layers(self, model: Model) -> tuple[int, ...]: ...
    # A Gram matrix (image, image) per layer; none if initial images are all equal.
    def grams(self, model: Model, images: Images) -> list[Tensor]: ...
    # Of the reference and the real images in the inverted layer.
    def reference_gram(self) -> Tensor: ...
    # The reference's features (image, unit) in the inverted layer.
    def features(self, images: Images) -> Tensor: ...
    # A model's features (image, unit) of the real images, layer by layer.
    def all_features(self, model: Model) -> list[Tensor]: ...
    # Classes that the target predicts.
    def classes(self, images: Images) -> list[int]: ...
    # A value of a model and images, made unless the worker still has it. It keeps the last `size`.
    def cached(
        self, name: Option, model: Model, images: Images, make: Callable[[], Value], size: int = 2
    ) -> Value: ...


@dataclass(frozen=True)
class Place:
    """The columns that say where in the results an artifact stands."""

    model: str  # compared with the pretrained model, or inverted
    epoch: int  # of its training
    direction: str = ""  # `target|reference`; empty unless it is of scope `COMPARISON`
    shares_basis: bool = False  # whether the model was finetuned from the pretrained one


class Measure:
    """A measure; subclasses stand in a module each and in `stir_ray.measures.MEASURES`.

    Attributes:
        name: of the measure and of its table of artifacts.
        scope: what an artifact is about.
        recipe: raised by hand when the code starts to give other results.
        columns: of an artifact. The worker fills in `reference`, `target`, `reference_layer`,
            `seed` and `images`; `compute` returns all others.
        key: columns that tell the rows of an artifact apart.
        result: name of the table of results.
        result_columns: of it. `model`, `epoch` and `direction` are filled in; `summarize` returns
            all others.
        result_key: columns that tell the rows of the results apart.
        needs_classifier: whether only targets with a classifier are measured, and by it.
        needs_layer: whether only targets that have the inverted layer are measured.
        forward_passes: its cost: of all images, per artifact, besides those for Gram matrices.
        section: of the page, in which its charts stand; empty for none.
    """

    name: ClassVar[str]
    scope: ClassVar[Scope] = Scope.COMPARISON
    recipe: ClassVar[int] = 1
    columns: ClassVar[tuple[Column, ...]]
    key: ClassVar[tuple[str, ...]]
    result: ClassVar[str]
    result_columns: ClassVar[tuple[Column, ...]]
    result_key: ClassVar[tuple[str, ...]]
    needs_classifier: ClassVar[bool] = False
    needs_layer: ClassVar[bool] = False
    forward_passes: ClassVar[int] = 0
    section: ClassVar[str] = ""

    @property
    def table(self) -> TableSchema:
        """The schema of the artifacts."""
        return TableSchema(self.name, self.columns, self.key)

    @property
    def result_table(self) -> TableSchema:
        """The schema of the results."""
        return TableSchema(self.result, self.result_columns, self.result_key)

    def options(self, job: Job) -> Iterable[Option]:
        """Return an option per artifact that a job requests; none by default."""
        return (None,) if self.name in job.measures else ()

    def applies_to(self, subject: Subject) -> bool:
        """Return whether there is an artifact of a subject, if a job requests the measure."""
        has_classifier = subject.target.has_classifier or not self.needs_classifier
        return has_classifier and (subject.layer in subject.target_layers or not self.needs_layer)

    def content(self, subject: Subject, option: Option) -> Mapping[str, object]:  # noqa: ARG002
        """Return what the id of an artifact depends on besides its models, images and inversion."""
        return {}

    def compute(self, views: Views, option: Option) -> Mapping[str, Any]:
        """Return the columns of an artifact: a list or array, or a scalar for every row."""
        raise NotImplementedError

    def summarize(self, artifact: pa.Table, cell: Place) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the columns of the results; by default those of the artifact."""
        names = [column.name for column in self.result_columns]
        return {name: artifact[name].to_numpy() for name in artifact.column_names if name in names}

    def charts(
        self,
        results: xr.Dataset,  # noqa: ARG002
        table: pd.DataFrame,  # noqa: ARG002
    ) -> Iterable[tuple[str, Chart]]:
        """Yield charts of a job's dataset and table of results, with the stems of their files."""
        return ()


def rows_to_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of equal rows by column."""
    return {name: [row[name] for row in rows] for name in rows[0]}
