"""What a worker keeps between tasks: its lake, models, images, and what models made of them."""

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stir_ray.datasets.corruptions.test_set import CorruptedTestSet, open_test_set
from stir_ray.errors import LakeError, MissingPart, StorageUnavailable
from stir_ray.execution.executor import Metrics
from stir_ray.identity import Artifact
from stir_ray.lake.parquet import images_of, open_lake
from stir_ray.lake.schemas import ARTIFACT_TABLES, IMAGE_SETS, IMAGES
from stir_ray.models.memory import FEWEST, footprint
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.initialization import initialization_of
from stir_ray.plan.measurement import MeasurementSpec
from stir_ray.plan.robustness import CorruptedTest
from stir_ray.worker.lru_cache import Kept, LRUCache
from stir_ray.worker.model_cache import Models
from stir_ray.worker.phases import Phase
from stir_ray.worker.provenance import provenance
from stir_ray.worker.room import Needs, Room
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.task_metrics import TaskMetrics

_SCHEMAS = {schema.name: schema for schema in ARTIFACT_TABLES}
_KEPT = 2
"""Of each kind of thing: two models look at images in a task, and take turns."""
_NOTED = 64
"""Of each kind of small thing."""


@dataclass(frozen=True)
class ImageSet:
    """The images that a job inverts: float32 (image, channel, height, width), and their ids."""

    images: Tensor
    ids: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


class WorkerContext:
    """The tools of one worker. Nothing in here changes a result; it only saves time."""

    def __init__(self, settings: WorkerSettings, threads: int) -> None:
        """Set torch's threads and choose the device: a GPU if there is one for this worker."""
        torch.set_num_threads(threads)
        # Products of convolutions too are in full precision, wherever a representation is measured.
        torch.backends.cudnn.allow_tf32 = False
        self.settings = settings
        cached = settings.cache_bytes
        self.lake = open_lake(settings.lake, settings.storage_retry_s, cache_bytes=cached)
        elsewhere = settings.datasets
        self.datasets = open_lake(elsewhere, settings.storage_retry_s) if elsewhere else self.lake
        has_gpu = settings.gpu_share > 0 and torch.cuda.is_available()
        self.device = torch.device("cuda" if has_gpu else "cpu")
        self._image_sets = LRUCache(1)
        self._held_out = LRUCache(1)
        self._kept: defaultdict[Hashable, LRUCache] = defaultdict(lambda: LRUCache(_KEPT))
        self._noted: defaultdict[Hashable, LRUCache] = defaultdict(lambda: LRUCache(_NOTED))
        # Of the CPU's memory as of its cores; its other workers start at the same time.
        of_cpu = min(1.0, threads / (os.cpu_count() or 1))
        share = settings.gpu_share if self.device.type == "cuda" else of_cpu
        self._room = Room(self.device, self.device_name, share)
        self._began = time.monotonic()
        self._task, self._attempt = "", 1
        self.micro = Microbatches()
        self.meter = TaskMetrics(self.device, self.lake.objects)
        self.models = Models(settings, self.lake, self.device, self.meter)

    def begin(self, label: str, attempt: int = 1, *, out_of_memory: int = 0) -> None:
        """Start the clock of a task, and with as many images at once as should fit.

        Args:
            label: the task in words.
            attempt: number of this attempt at it, from 1.
            out_of_memory: earlier attempts at it for which memory did not suffice.
        """
        self._began = time.monotonic()
        self._task, self._attempt = label, attempt
        self.meter.begin()
        # Anew for every task: what fits depends on the layer, and a result on the task alone.
        self.micro = Microbatches(self.settings.batch_size, halvings=out_of_memory)

    def expect(self, work: Sequence[object], count: int, footprint: Callable[[], Needs]) -> None:
        """Let as many images at once go through the model next as are predicted to fit.

        Args:
            work: what the footprint depends on, besides the size of an image.
            count: images of the work.
            footprint: finds it, if no task before has.

        Raises:
            MemoryError: if one image at once is already too much.
        """
        with self.meter.spending(Phase.FORESEE):
            self.micro.fitting = self._room.for_images(self._task, work, count, footprint)

    def end(self) -> Metrics:
        """The task is done, and what it made is in the lake; its measures."""
        self.meter.note(halvings=self.micro.halvings)
        return self.meter.read()

    def is_stored(self, part: Artifact) -> bool:
        """Whether the lake has the part now."""
        return self.lake.has(_SCHEMAS[part.table], part.id)

    def write(self, part: Artifact, table: pa.Table, **more: Any) -> None:
        """Store a part with its provenance and `more` of it."""
        made = provenance(
            job=self.settings.job,
            task=self._task,
            attempt=self._attempt,
            batch_size=self.settings.batch_size,
            at_once=self.micro.fitting,
            halvings=self.micro.halvings,
            device=self.device_name,
            seconds=time.monotonic() - self._began,
        )
        with self.meter.spending(Phase.PUT):
            schema, provenance_ = _SCHEMAS[part.table], made | more
            self.lake.write(schema, part.id, table, content=part.content, **provenance_)

    def tidy(self, key: str) -> None:
        """Remove an object that nobody needs any more, if the lake answers.

        What stays costs space until `stir-ray gc` finds it, and is no reason to fail.
        """
        with contextlib.suppress(StorageUnavailable, LakeError):
            self.lake.objects.delete(key)

    @property
    def device_name(self) -> str:
        """The GPU's name, or `cpu`."""
        return torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"

    def held_out(self, test: CorruptedTest) -> CorruptedTestSet:
        """The images that models are tested on, and what was made of them before."""
        cached = self.settings.cache_bytes
        with self.meter.spending(Phase.READ):
            return self._held_out.get(
                test,
                lambda: open_test_set(test.data, test.settings, self.datasets, cache_bytes=cached),
            )

    def image_set(self, spec: MeasurementSpec) -> ImageSet:
        """The images that are asked about, on the device."""
        with self.meter.spending(Phase.READ):
            return self._image_sets.get(spec.image_artifact, lambda: self._gathered(spec))

    def inverted(self, part: Artifact) -> Tensor:
        """Stored inverted images on the device, float32.

        Raises:
            FileNotFoundError: if they are not stored.
        """
        with self.meter.spending(Phase.READ):
            pixels = images_of(self.lake.read(IMAGES, part.id))
            return torch.from_numpy(pixels.astype(np.float32)).to(self.device)

    def starts(self, spec: MeasurementSpec, seed: int) -> Tensor:
        """What the inversion of every image starts from, on the device."""
        gathered, start = self.image_set(spec), spec.settings.init
        return initialization_of(start, images=gathered.images, image_ids=gathered.ids, seed=seed)

    def kept(self, kind: Hashable, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What was made before if it is still at hand: the last few of each kind are.

        A cache each, for in one they would all drive each other out.
        """
        return self._kept[kind].get(key, make)

    def noted(self, kind: Hashable, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The same of what is as small as a number per image, and kept far longer."""
        return self._noted[kind].get(key, make)

    def through(
        self,
        work: Sequence[object],
        images: Tensor,
        look: Callable[[Tensor], Tensor],
        *,
        after: Callable[[Tensor], int] = lambda _: 0,
    ) -> Tensor:
        """What `look` makes of all images, as many at once as should fit, without gradients.

        Args:
            work: what its memory depends on, as of `expect`.
            images: to look at.
            look: makes something of each of several images.
            after: bytes per image that are needed besides, from what is made of one.
        """
        few = images[:1].repeat(FEWEST + 1, 1, 1, 1)
        with torch.no_grad():
            self.expect(
                work,
                len(images),
                lambda: footprint(lambda count: look(few[:count]), after=after(look(few[:1]))),
            )
            with self.meter.spending(Phase.LOOK):
                return torch.cat(self.micro.each(len(images), lambda part: look(images[part])))

    def _gathered(self, spec: MeasurementSpec) -> ImageSet:
        try:
            table = self.lake.read(IMAGE_SETS, spec.image_artifact.id)
        except FileNotFoundError:
            raise MissingPart("the images to be inverted are not in the lake; run again") from None
        shape = [table.column(name)[0].as_py() for name in ("channels", "height", "width")]
        pixels = np.stack(
            [np.frombuffer(cell.as_py(), np.float32).reshape(shape) for cell in table["image"]]
        )
        images = torch.from_numpy(pixels).to(self.device)
        return ImageSet(images, tuple(table.column("image_id").to_pylist()))
