"""What a worker keeps between tasks: its lake, its device, models, images and caches."""

import os
import platform
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from cachetools import LRUCache
from torch import Tensor

from stir_ray import __version__
from stir_ray.datasets.corruptions.test_set import CorruptedTestSet, open_test_set
from stir_ray.errors import MissingArtifact
from stir_ray.execution.executor import Metrics
from stir_ray.identity import Artifact, bytes_digest
from stir_ray.lake.parquet import images_of, make_table, open_lake
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES
from stir_ray.measures import artifact_tables
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.microbatches import Microbatches, default_batch_size
from stir_ray.numerics.optimization import initialization_of
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.model_tasks import CorruptedTest
from stir_ray.plan.tasks import Task
from stir_ray.worker.model_cache import ModelCache
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.task_metrics import TaskMetrics

Value = TypeVar("Value")
_CACHED = 2
"""Large values of each kind: two models are shown images in a task."""
_REMEMBERED = 64
"""Small values of each kind."""
_PACKAGES = ("torch", "timm", "numpy", "pyarrow", "ray")


@dataclass(frozen=True)
class ImageSet:
    """The images that a job inverts: float32 (image, channel, height, width), and their ids."""

    images: Tensor
    ids: tuple[int, ...]


class WorkerContext:
    """The state of a worker. It saves time and changes no result.

    Attributes:
        settings: shared by all workers of a run.
        lake: of the artifacts.
        datasets: the lake of the datasets.
        device: a GPU if the worker has one.
        models: those that were loaded last.
        metrics: of the current task.
    """

    def __init__(self, settings: WorkerSettings, threads: int) -> None:
        torch.set_num_threads(threads)
        # Convolutions too are in full precision, wherever a representation is measured.
        torch.backends.cudnn.allow_tf32 = False
        self.settings = settings
        retry_s, cache_bytes = settings.storage_retry_s, settings.cache_bytes
        self.lake = open_lake(settings.lake, retry_s, cache_bytes=cache_bytes)
        self.datasets = open_lake(settings.datasets, retry_s) if settings.datasets else self.lake
        has_gpu = settings.gpu_share > 0 and torch.cuda.is_available()
        self.device = torch.device("cuda" if has_gpu else "cpu")
        # A worker on the CPU has as much of the memory as of the cores.
        of_cpu = min(1.0, threads / (os.cpu_count() or 1))
        self._memory_share = settings.gpu_share if has_gpu else of_cpu
        self.metrics = TaskMetrics(self.device, self.lake.objects)
        self.models = ModelCache(settings, self.lake, self.device, self.metrics)
        self._cached: defaultdict[Hashable, LRUCache] = defaultdict(lambda: LRUCache(_CACHED))
        self._remembered: defaultdict[Hashable, LRUCache] = defaultdict(
            lambda: LRUCache(_REMEMBERED)
        )
        self.begin("")

    def begin(self, label: str, attempt: int = 1, *, out_of_memory: int = 0) -> None:
        """Start a task.

        Args:
            label: of the task.
            attempt: number of this attempt, from 1.
            out_of_memory: earlier attempts that failed for want of memory; batches are halved as
                often.
        """
        self._label, self._attempt, self._halvings = label, attempt, out_of_memory
        self._start = time.monotonic()
        # Anew for every task: how often batches are halved must depend on the task alone.
        self._microbatches: dict[FrozenModel, Microbatches] = {}
        self.metrics.begin()

    def end(self) -> Metrics:
        """End a task; return its metrics."""
        self.metrics.set(halvings=self._batching()["halvings"])
        return self.metrics.read()

    def missing(self, task: Task) -> set[Artifact]:
        """Return the artifacts of a task that are not in the lake now.

        Another run may have stored some of them since the task was planned.
        """
        return {artifact for artifact in task.outputs if not self.is_stored(artifact)}

    def is_stored(self, artifact: Artifact) -> bool:
        """Return whether the lake has the artifact now."""
        return self.lake.has(artifact_tables()[artifact.table], artifact.id)

    def write(self, artifact: Artifact, columns: Mapping[str, Any], **footer: Any) -> None:
        """Store an artifact.

        Args:
            artifact: its table and id.
            columns: a sequence, or a scalar for every row, by column.
            **footer: what stands in the footer, besides code, machine and task.
        """
        schema = artifact_tables()[artifact.table]
        self.lake.write(
            schema,
            artifact.id,
            make_table(schema, columns),
            content=artifact.content,
            **_code_and_machine(),
            job=self.settings.job,
            task=self._label,
            attempt=self._attempt,
            **self._batching(),
            device=self.device_name,
            seconds=round(time.monotonic() - self._start, 3),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            **footer,
        )

    @property
    def device_name(self) -> str:
        """The GPU's name, or `cpu`."""
        return torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"

    def microbatches(self, model: FrozenModel, images: Tensor) -> Microbatches:
        """Return the slices in which images go through a model in this task."""
        if model not in self._microbatches:
            size = default_batch_size(model, images, share=self._memory_share)
            limit = self.settings.batch_size or size
            self._microbatches[model] = Microbatches(min(size, limit), halvings=self._halvings)
        return self._microbatches[model]

    def _batching(self) -> dict[str, int]:
        used = list(self._microbatches.values())
        return {
            "batch_size": min((micro.batch_size or 0 for micro in used), default=0),
            "halvings": max((micro.halvings for micro in used), default=self._halvings),
        }

    def image_set(self, spec: MeasurementSpec) -> ImageSet:
        """Return the images that are inverted, on the device.

        Raises:
            MissingArtifact: if they are not in the lake.
        """
        artifact = spec.image_artifact
        return self.cached("image set", artifact, lambda: self._read_image_set(artifact))

    def _read_image_set(self, artifact: Artifact) -> ImageSet:
        try:
            table = self.lake.read(IMAGE_SETS, artifact.id)
        except FileNotFoundError:
            raise MissingArtifact(
                "the images to be inverted are not in the lake; run again"
            ) from None
        shape = [table.column(name)[0].as_py() for name in ("channels", "height", "width")]
        pixels = np.stack(
            [np.frombuffer(cell.as_py(), np.float32).reshape(shape) for cell in table["image"]]
        )
        images = torch.from_numpy(pixels).to(self.device)
        return ImageSet(images, tuple(table.column("image_id").to_pylist()))

    def test_set(self, test: CorruptedTest) -> CorruptedTestSet:
        """Return the images that models are tested on, with their corruptions so far."""
        cache_bytes = self.settings.cache_bytes
        return self.cached(
            "test set",
            test,
            lambda: open_test_set(test.data, test.settings, self.datasets, cache_bytes=cache_bytes),
        )

    def stored_images(self, artifact: Artifact) -> Tensor:
        """Return stored inverted images on the device, float32.

        Raises:
            FileNotFoundError: if they are not stored.
        """
        pixels = images_of(self.lake.read(IMAGES, artifact.id))
        return torch.from_numpy(pixels.astype(np.float32)).to(self.device)

    def initial_images(self, spec: MeasurementSpec, seed: int) -> Tensor:
        """Return the image from which the inversion of every image starts, on the device."""
        real = self.image_set(spec)
        return initialization_of(
            spec.settings.init, images=real.images, image_ids=real.ids, seed=seed
        )

    def cached(self, kind: Hashable, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return a large value, made unless it is one of the last two of its kind."""
        return _get(self._cached[kind], key, make)

    def remembered(self, kind: Hashable, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return a small value, made unless it is one of the last 64 of its kind."""
        return _get(self._remembered[kind], key, make)


def _get(values: LRUCache, key: Hashable, make: Callable[[], Value]) -> Value:
    if key not in values:
        values[key] = make()
    return values[key]


@cache
def _code_and_machine() -> dict[str, Any]:
    return {
        "version": __version__,
        "code": _code_digest(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "host": f"{platform.system()} {platform.machine()}",
        "node": socket.gethostname(),
    }


def _code_digest() -> str:
    """Return the digest of the package's source, which a version number does not replace."""
    folder = Path(__file__).parents[1]
    paths = sorted(folder.rglob("*.py"))
    return bytes_digest(
        part
        for path in paths
        for part in (str(path.relative_to(folder)).encode(), path.read_bytes())
    )
