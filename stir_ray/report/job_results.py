"""What is shown of a reduced job: numbers, tables, inverted images, the study."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr

from stir_ray.charts.gallery import Gallery, InvertedLayer
from stir_ray.charts.readings import compared_models
from stir_ray.identity import Artifact
from stir_ray.job import Job, TimmModel
from stir_ray.lake.keys import result_folder, result_key
from stir_ray.lake.parquet import Lake, images_of, provenance
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES, INVERSIONS, ROBUSTNESS, TableSchema
from stir_ray.measures import MEASURES
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.plan.measurement import Comparison, Inversion
from stir_ray.plan.resolved_job import ResolvedJob, is_finetuned, known_datasets
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import FINETUNED, PRETRAINED, Checkpoint, Role
from stir_ray.results.correlation_study import StoredAnalysis, is_analysed, read_analysis
from stir_ray.results.dataset import open_results
from stir_ray.results.reduce import Reduced

SHOWN = 8
"""Images in the gallery."""


@dataclass(frozen=True)
class JobResults:
    """What is shown of a job; None where there is nothing."""

    results: xr.Dataset | None = None  # as `open_results` gives them, if there is a number
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # of measures, by name
    tested: pd.DataFrame | None = None  # the table `robustness`
    images: Gallery | None = None
    analysed: StoredAnalysis | None = None  # the correlation study


@dataclass(frozen=True)
class ReducedJob:
    """A reduced job; what is shown of it is read when it is first needed."""

    resolved: ResolvedJob
    study: Study
    lake: Lake
    reduced: Reduced

    @property
    def job(self) -> Job:
        return self.resolved.job

    @cached_property
    def results(self) -> xr.Dataset | None:
        """None where neither model has seen inversions of the other."""
        if not self.reduced.present:
            return None
        results = open_results(self.lake.objects.location(result_folder(self.job.name)))
        if not is_finetuned(self.job):
            results.attrs["compared_as"] = "compared"
        return results if compared_models(results) else None

    @property
    def is_analysed(self) -> bool:
        """Whether the correlation study is of these results."""
        return bool(self.reduced.present) and is_analysed(self.job, self.lake, self.reduced)

    @cached_property
    def shown(self) -> JobResults:
        """All that charts and page show."""
        tables, tested, images, analysed = {}, None, None, None
        for measure in MEASURES.values():
            # There is no table of a measure that was added after the job was reduced.
            with suppress(FileNotFoundError):
                if measure.section:
                    tables[measure.result] = self._table(measure.result_table)
        if self.reduced.tested:
            tested = self._table(ROBUSTNESS)
        if self.results is not None:
            images = read_gallery(self.job, self.study.without_untrained(), self.lake)
        if self.is_analysed:
            analysed = read_analysis(self.job, self.study, self.lake)
        tables = {name: table for name, table in tables.items() if len(table)}
        return JobResults(self.results, tables, tested, images, analysed)

    def _table(self, schema: TableSchema) -> pd.DataFrame:
        return self.lake.read_object(schema, result_key(self.job.name, schema.name)).to_pandas()


def read_gallery(job: Job, study: Study, lake: Lake) -> Gallery:
    """Return the first images, and what the pretrained and the last compared model made of them."""
    table = lake.read(IMAGE_SETS, study.spec.image_artifact.id)
    first, classes = table.slice(0, SHOWN), provenance(table).get("class_names", [])
    shape = [first[name][0].as_py() for name in ("channels", "height", "width")]
    pixels = [np.frombuffer(image.as_py(), np.float32) for image in first["image"]]
    originals = np.stack(pixels).reshape(-1, *shape)
    reader = _GalleryReader(job, study, lake, classes)
    shown: list[tuple[Checkpoint, int | None]] = [(study.pretrained, None)]
    if study.keep != 0:
        shown += [(checkpoint, study.keep) for checkpoint in reader.compared[:1]]
    return Gallery(
        originals,
        {reader.title(c): list(reader.layers(c, keep, originals.shape)) for c, keep in shown},
        [reader.class_name(label) for label in first["label"].to_pylist()] if classes else (),
    )


@dataclass(frozen=True)
class _GalleryReader:
    job: Job
    study: Study
    lake: Lake
    classes: list[str]  # of the images; empty where the lake has no names

    @cached_property
    def compared(self) -> list[Checkpoint]:
        """The last checkpoint of each compared model, the finetuned one first."""
        return [checkpoints[-1] for checkpoints in self.study.compared.values() if checkpoints]

    def title(self, model: Checkpoint) -> str:
        epoch = "" if model.role == PRETRAINED else f", epoch {model.epoch}"
        is_compared = model.role == FINETUNED and not is_finetuned(self.job)
        name = "compared" if is_compared else model.role.replace("_", " ")
        return f"{name.capitalize()} model{epoch}"

    def layers(
        self, model: Checkpoint, keep: int | None, shape: tuple[int, ...]
    ) -> Iterator[InvertedLayer]:
        """Yield a model's inversions with the first seed; what is not stored is missing."""
        spec, seed = self.study.spec, self.study.seeds[0]
        for layer in spec.layers_of(model):
            kept = self._read(IMAGES, Inversion(spec, model, layer, seed).images(keep))
            record = self._read(INVERSIONS, Inversion(spec, model, layer, seed).inversion)
            images, residuals = np.full(shape, np.nan, np.float32), np.full(shape[0], np.nan)
            if kept is not None and record is not None:
                stored = images_of(kept)[: shape[0]]
                images[: len(stored)] = stored
                residuals[: len(stored)] = record["centered_residual"].to_numpy()[: len(stored)]
            sentences = zip(*self._predicted(model, layer), strict=False)
            yield InvertedLayer(layer, images, residuals, list(map(" ".join, sentences)))

    def _predicted(self, reference: Checkpoint, layer: int) -> Iterator[list[str]]:
        """Yield sentences on the classes that each model which sees the inversions predicts."""
        study = self.study
        others = self.compared if reference.role == PRETRAINED else [study.pretrained]
        for target in (reference, *others):
            comparison = Comparison(study.spec, reference, layer, study.seeds[0], target)
            for name, _, artifact in comparison.measurements:
                if name == PREDICTIONS.name and self.lake.has(PREDICTIONS.table, artifact.id):
                    table = self.lake.read(PREDICTIONS.table, artifact.id).slice(0, SHOWN)
                    yield [
                        f"{self.title(target)}: original {self.class_name(was, target.role)}, "
                        f"inverted {self.class_name(now, target.role)} "
                        f"({'kept' if was == now else 'changed'})."
                        for was, now in zip(
                            table["class_of_image"].to_pylist(),
                            table["class_of_inverted"].to_pylist(),
                            strict=True,
                        )
                    ]

    def class_name(self, number: int, role: Role | None = None) -> str:
        """Return what a model calls a class; the images' own name if no model is named."""
        if role is not None:
            # Weights of timm's come with their own classes.
            is_of_timm = role == FINETUNED and isinstance(self.job.finetuned, TimmModel)
            if is_of_timm or known_datasets(self.job).get(role) != self.job.data:
                return f"class {number} of its own"
        return self.classes[number] if number < len(self.classes) else f"class {number}"

    def _read(self, schema: TableSchema, artifact: Artifact) -> pa.Table | None:
        return self.lake.read(schema, artifact.id) if self.lake.has(schema, artifact.id) else None
