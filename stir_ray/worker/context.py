"""What a worker keeps between tasks: its lake, its device, models and images."""

import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Callable, Hashable, Mapping
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
from stir_ray.datasets.sources import Dataset
from stir_ray.errors import LakeError, MissingArtifact, ModelError
from stir_ray.execution.executor import Metrics
from stir_ray.formatting import without_secrets
from stir_ray.identity import Artifact, bytes_digest
from stir_ray.lake.parquet import Lake, images_of, make_table, open_lake
from stir_ray.lake.schemas import IMAGE_SETS, IMAGES
from stir_ray.lake.store import read_file
from stir_ray.measures import artifact_tables
from stir_ray.models import state_dicts
from stir_ray.models.architectures import describe, with_cpu_attention
from stir_ray.models.features import FrozenModel
from stir_ray.models.microbatches import Microbatches, default_batch_size
from stir_ray.models.objectives import with_new_decoder
from stir_ray.numerics.optimization import initialization_of
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.model_tasks import CorruptedTest, Objective
from stir_ray.plan.tasks import LAKE, Checkpoint, Task
from stir_ray.worker.dispatch import WorkerSettings

_Value = TypeVar("_Value")
_PACKAGES = ("torch", "timm", "numpy", "pyarrow", "ray")


class WorkerContext:
    """The state of a worker. It saves time and changes no result.

    `metrics` are those that a task sets itself, such as `whole`: 1 if none of its artifacts was
    stored before, so that it did all of its work.
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
        cpu_share = min(1.0, threads / (os.cpu_count() or 1))
        self._memory_share = settings.gpu_share if has_gpu else cpu_share
        self.metrics: dict[str, float] = {}
        self.models = ModelCache(settings, self.lake, self.device, self.metrics)
        self._caches: dict[Hashable, LRUCache] = {}
        self.begin("")

    def begin(self, label: str, attempt: int = 1, *, out_of_memory: int = 0) -> None:
        """Start an attempt at a task; batches are halved as often as earlier ones lacked memory."""
        self._label, self._attempt, self._halvings = label, attempt, out_of_memory
        self._start = time.monotonic()
        # Anew for every task: how often batches are halved must depend on the task alone.
        self._microbatches: dict[FrozenModel, Microbatches] = {}
        self.metrics.clear()
        self._transferred = self._read_counters()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def end(self) -> Metrics:
        """End a task; return its metrics, with its memory and the bytes it read and stored."""
        for name, count in self._read_counters().items():
            before = self._transferred[name]
            self.metrics[name] = self.metrics.get(name, 0.0) + (count - before)
        halvings = self._batching()["halvings"]
        return {**_memory(self.device), **self.metrics, "halvings": halvings}

    def _read_counters(self) -> dict[str, float]:
        # Bytes, and seconds of waiting for a store that did not answer.
        names = "read_bytes", "stored_bytes", "waited_s"
        return {name: getattr(self.lake.objects, name) for name in names}

    def missing(self, task: Task) -> set[Artifact]:
        """Return the artifacts of a task that are not in the lake now."""
        # Another run may have stored some of them since the task was planned.
        return {artifact for artifact in task.outputs if not self.is_stored(artifact)}

    def is_stored(self, artifact: Artifact) -> bool:
        return self.lake.has(artifact_tables()[artifact.table], artifact.id)

    def write(self, artifact: Artifact, columns: Mapping[str, Any], **footer: Any) -> None:
        """Store an artifact: a sequence, or a scalar for every row, by column."""
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

    def image_set(self, spec: MeasurementSpec) -> Dataset:
        """Return the images that are inverted, on the device."""

        def read() -> Dataset:
            try:
                table = self.lake.read(IMAGE_SETS, spec.image_artifact.id)
            except FileNotFoundError:
                raise MissingArtifact(
                    "the images to be inverted are not in the lake; run again"
                ) from None
            shape = [table[name][0].as_py() for name in ("channels", "height", "width")]
            pixels = [np.frombuffer(cell.as_py(), np.float32) for cell in table["image"]]
            images = torch.from_numpy(np.stack(pixels).reshape(-1, *shape)).to(self.device)
            labels = torch.tensor(table["label"].to_pylist())
            return Dataset(images, labels, tuple(table["image_id"].to_pylist()))

        return self.cached("image set", spec.image_artifact, read)

    def test_set(self, test: CorruptedTest) -> CorruptedTestSet:
        """Return the images that models are tested on, with their corruptions so far."""

        def read() -> CorruptedTestSet:
            cache_bytes = self.settings.cache_bytes
            return open_test_set(test.data, test.settings, self.datasets, cache_bytes=cache_bytes)

        return self.cached("test set", test, read)

    def stored_images(self, artifact: Artifact) -> Tensor:
        """Return stored inverted images on the device, float32."""
        pixels = images_of(self.lake.read(IMAGES, artifact.id))
        return torch.from_numpy(pixels.astype(np.float32)).to(self.device)

    def initial_images(self, spec: MeasurementSpec, seed: int) -> Tensor:
        """Return the image from which the inversion of every image starts, on the device."""
        real = self.image_set(spec)
        init = spec.settings.init
        return initialization_of(init, images=real.images, image_ids=real.ids, seed=seed)

    def cached(
        self, kind: Hashable, key: Hashable, make: Callable[[], _Value], *, size: int = 2
    ) -> _Value:
        """Return a value, made unless it is one of the last `size` of its kind.

        Two large ones, by default: two models are shown images in a task.
        """
        values = self._caches.setdefault(kind, LRUCache(size))
        if key not in values:
            values[key] = make()
        return values[key]


class ModelCache:
    """Loads models onto the device of a worker, and keeps the last few.

    All methods raise `ModelError` if the weights are not those that were inspected.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        lake: Lake,
        device: torch.device,
        metrics: dict[str, float],
    ) -> None:
        self._settings, self._lake, self._device, self._metrics = settings, lake, device, metrics
        self._frozen: LRUCache[str, FrozenModel] = LRUCache(3)
        self._classifiers: LRUCache[str, FrozenModel] = LRUCache(2)

    def frozen(self, checkpoint: Checkpoint) -> FrozenModel:
        """Return the checkpoint's model on the device; its classifier may be another's."""
        key = checkpoint.weights
        if key not in self._frozen:
            state = self.read(checkpoint.location)
            if state_dicts.weights_digest(state, checkpoint.architecture) != key:
                raise _weights_changed(checkpoint)
            self._frozen[key] = self._load(state, checkpoint)
        return self._frozen[key]

    def classifier(self, checkpoint: Checkpoint) -> FrozenModel:
        """Return the checkpoint's model with its own classifier, from the cache."""
        key = checkpoint.content
        if key not in self._classifiers:
            self._classifiers[key] = self.whole(checkpoint, "classification")
        return self._classifiers[key]

    def whole(self, checkpoint: Checkpoint, objective: Objective) -> FrozenModel:
        """Return the checkpoint's model with its own classifier or decoder."""
        state = self.read(checkpoint.location)
        # Files in the lake were checked against the digest in their key.
        if not checkpoint.location.startswith(LAKE) and (
            state_dicts.checkpoint_digest(state, checkpoint.architecture) != checkpoint.content
        ):
            raise _weights_changed(checkpoint)
        return self._load(state, checkpoint, has_decoder=objective == "reconstruction")

    def _load(
        self, state: dict[str, Tensor], checkpoint: Checkpoint, *, has_decoder: bool = False
    ) -> FrozenModel:
        module = state_dicts.load(state, checkpoint.architecture, checkpoint.location)
        if has_decoder:
            shape = describe(checkpoint.architecture).input_shape
            with_new_decoder(module, image_shape=shape, seed=0).load_state_dict(state)
        model = state_dicts.freeze(module, checkpoint.architecture, self._device)
        with_cpu_attention(model.module)
        return model

    def read(self, location: str) -> dict[str, Tensor]:
        """Return the state dict at a lake key, path, URL or timm name.

        Raises:
            ModelError: if there is none or it is damaged.
            MissingArtifact, CorruptArtifact: of a checkpoint in the lake, which can be made again.
        """
        if location.startswith("timm:"):
            return state_dicts.download(location.removeprefix("timm:"))
        if location.startswith(LAKE):
            try:
                content = self._lake.read_checkpoint(location.removeprefix(LAKE))
            except FileNotFoundError:
                raise MissingArtifact(
                    f"checkpoint {location}: not in the lake; `stir-ray verify --repair` and run "
                    "again"
                ) from None
            return state_dicts.decode(content, location)
        retry_s, cache_bytes = self._settings.storage_retry_s, self._settings.cache_bytes
        try:
            content = read_file(location, retry_s, cache_bytes=cache_bytes)
        except (FileNotFoundError, LakeError) as error:
            reason = without_secrets(f"checkpoint {location}: cannot be read ({error})")
            raise ModelError(reason) from None
        self._metrics["read_bytes"] = self._metrics.get("read_bytes", 0.0) + len(content)
        return state_dicts.decode(content, without_secrets(location))


def _weights_changed(checkpoint: Checkpoint) -> ModelError:
    return ModelError(
        f"checkpoint {checkpoint.location}: its weights changed since it was inspected"
    )


def _memory(device: torch.device) -> dict[str, float]:
    # The most that the task held on the GPU; on a CPU the most that the process ever held, which
    # the operating system tells of all its tasks together.
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        total = torch.cuda.get_device_properties(device).total_memory
    else:
        # In KiB, but on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"device_memory_bytes": peak, "device_memory_total_bytes": total}


@cache
def _code_and_machine() -> dict[str, Any]:
    # A version number does not say which code ran: the digest of the package's source does.
    folder = Path(__file__).parents[1]
    paths = sorted(folder.rglob("*.py"))
    pieces = ((str(path.relative_to(folder)).encode(), path.read_bytes()) for path in paths)
    return {
        "version": __version__,
        "code": bytes_digest(piece for pair in pieces for piece in pair),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "host": f"{platform.system()} {platform.machine()}",
        "node": socket.gethostname(),
    }
