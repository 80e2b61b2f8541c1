"""The models of a worker: from where their weights lie onto its device."""

import torch
from torch import Tensor, nn

from stir_ray.errors import LakeError, MissingPart, ModelError
from stir_ray.lake.files import read_file
from stir_ray.lake.parquet import Lake
from stir_ray.models import architectures, checkpoints
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.cpu_attention import with_cpu_attention
from stir_ray.models.decoder import with_decoder_of
from stir_ray.plan.checkpoints import LAKE, Checkpoint
from stir_ray.plan.robustness import Objective
from stir_ray.redaction import without_secrets
from stir_ray.worker.lru_cache import LRUCache
from stir_ray.worker.phases import Phase
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.task_metrics import TaskMetrics

_FROZEN_KEPT = 3
_CLASSIFIERS_KEPT = 2


class Models:
    """Loads models, and keeps the last few."""

    def __init__(
        self, settings: WorkerSettings, lake: Lake, device: torch.device, meter: TaskMetrics
    ) -> None:
        """None is loaded yet.

        Args:
            settings: of the worker.
            lake: that holds the checkpoints of trainings.
            device: that models are loaded onto.
            meter: of the time that takes.
        """
        self._settings, self._lake, self._device, self._meter = settings, lake, device, meter
        self._frozen = LRUCache(_FROZEN_KEPT)
        self._classifiers = LRUCache(_CLASSIFIERS_KEPT)

    def frozen(self, checkpoint: Checkpoint) -> FrozenModel:
        """The checkpoint's model on the device."""
        with self._meter.spending(Phase.LOAD):
            return self._frozen.get(checkpoint.weights, lambda: self._loaded(checkpoint))

    def whole(self, checkpoint: Checkpoint, objective: Objective) -> FrozenModel:
        """The checkpoint's model on the device, with its own classifier or decoder.

        Raises:
            ModelError: if what was inspected is no longer there.
        """
        with self._meter.spending(Phase.LOAD):
            return self._loaded_whole(checkpoint, objective)

    def classifier(self, checkpoint: Checkpoint) -> FrozenModel:
        """The same of a classifier, kept for the next time: `frozen` may be one of equal blocks."""
        return self._classifiers.get(
            checkpoint.content, lambda: self.whole(checkpoint, "classification")
        )

    def read(self, location: str) -> dict[str, Tensor]:
        """The state dict at a lake key, path, URL or timm name.

        Raises:
            ModelError: if there is none or it is damaged.
            MissingPart, CorruptPart: the same of a checkpoint in the lake, which can be made again.
        """
        if location.startswith("timm:"):
            return checkpoints.download(location.removeprefix("timm:"))
        if location.startswith(LAKE):
            return checkpoints.decode(self._own_checkpoint(location), location)
        try:
            settings = self._settings
            content = read_file(
                location, settings.storage_retry_s, cache_bytes=settings.cache_bytes
            )
        except (FileNotFoundError, LakeError) as error:
            told = without_secrets(f"checkpoint {location}: cannot be read ({error})")
            raise ModelError(told) from None
        self._meter.add("read_bytes", len(content))
        return checkpoints.decode(content, without_secrets(location))

    def _own_checkpoint(self, location: str) -> bytes:
        try:
            return self._lake.read_checkpoint(location.removeprefix(LAKE))
        except FileNotFoundError:
            raise MissingPart(
                f"checkpoint {location}: not in the lake; `stir-ray verify --repair` and run again"
            ) from None

    def _loaded(self, checkpoint: Checkpoint) -> FrozenModel:
        state = self.read(checkpoint.location)
        found = checkpoints.digest(state, checkpoint.architecture)
        if found != checkpoint.weights:
            raise ModelError(_changed(checkpoint))
        module = checkpoints.load(state, checkpoint.architecture, checkpoint.location)
        return self._frozen_on_device(module, checkpoint)

    def _loaded_whole(self, checkpoint: Checkpoint, objective: Objective) -> FrozenModel:
        state = self.read(checkpoint.location)
        architecture = checkpoint.architecture
        # What lies in the lake was held against the digest in its key.
        is_own = checkpoint.location.startswith(LAKE)
        if not is_own and checkpoints.content_digest(state, architecture) != checkpoint.content:
            raise ModelError(_changed(checkpoint))
        module = checkpoints.load(state, architecture, checkpoint.location)
        if objective == "reconstruction":
            shape = architectures.describe(architecture).input_shape
            module = with_decoder_of(module, state, image_shape=shape)
        return self._frozen_on_device(module, checkpoint)

    def _frozen_on_device(self, module: nn.Module, checkpoint: Checkpoint) -> FrozenModel:
        model = checkpoints.freeze(module, checkpoint.architecture, self._device)
        with_cpu_attention(model.module)
        return model


def _changed(checkpoint: Checkpoint) -> str:
    return f"checkpoint {checkpoint.location}: its weights changed since it was inspected"
