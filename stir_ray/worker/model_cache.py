"""The models of a worker: from their checkpoints onto its device."""

import torch
from cachetools import LRUCache
from torch import Tensor, nn

from stir_ray.errors import LakeError, MissingArtifact, ModelError
from stir_ray.formatting import without_secrets
from stir_ray.lake.files import read_file
from stir_ray.lake.parquet import Lake
from stir_ray.models import architectures, checkpoints
from stir_ray.models.checkpoints import FrozenModel
from stir_ray.models.decoder import with_decoder_of
from stir_ray.models.fast_layers import with_cpu_attention
from stir_ray.plan.model_tasks import Objective
from stir_ray.plan.tasks import LAKE, Checkpoint
from stir_ray.worker.settings import WorkerSettings
from stir_ray.worker.task_metrics import TaskMetrics


class ModelCache:
    """Loads models, and keeps the last few."""

    def __init__(
        self, settings: WorkerSettings, lake: Lake, device: torch.device, metrics: TaskMetrics
    ) -> None:
        """Start with no model.

        Args:
            settings: of the worker.
            lake: of the checkpoints of trainings.
            device: onto which models are loaded.
            metrics: of the bytes that are read from elsewhere.
        """
        self._settings, self._lake, self._device, self._metrics = settings, lake, device, metrics
        self._frozen: LRUCache[str, FrozenModel] = LRUCache(3)
        self._classifiers: LRUCache[str, FrozenModel] = LRUCache(2)

    def frozen(self, checkpoint: Checkpoint) -> FrozenModel:
        """Return the checkpoint's model on the device; its classifier may be another's.

        Raises:
            ModelError: if the weights are not those that were inspected.
        """
        key = checkpoint.weights
        if key not in self._frozen:
            state = self.read(checkpoint.location)
            if checkpoints.weights_digest(state, checkpoint.architecture) != key:
                raise ModelError(_changed(checkpoint))
            module = checkpoints.load(state, checkpoint.architecture, checkpoint.location)
            self._frozen[key] = self._on_device(module, checkpoint)
        return self._frozen[key]

    def classifier(self, checkpoint: Checkpoint) -> FrozenModel:
        """Return the checkpoint's model with its own classifier, from the cache."""
        key = checkpoint.content
        if key not in self._classifiers:
            self._classifiers[key] = self.whole(checkpoint, "classification")
        return self._classifiers[key]

    def whole(self, checkpoint: Checkpoint, objective: Objective) -> FrozenModel:
        """Return the checkpoint's model with its own classifier or decoder.

        Raises:
            ModelError: if the weights are not those that were inspected.
        """
        state = self.read(checkpoint.location)
        architecture = checkpoint.architecture
        # Files in the lake were checked against the digest in their key.
        is_checked = checkpoint.location.startswith(LAKE)
        if not is_checked and (
            checkpoints.checkpoint_digest(state, architecture) != checkpoint.content
        ):
            raise ModelError(_changed(checkpoint))
        module = checkpoints.load(state, architecture, checkpoint.location)
        if objective == "reconstruction":
            shape = architectures.describe(architecture).input_shape
            module = with_decoder_of(module, state, image_shape=shape)
        return self._on_device(module, checkpoint)

    def read(self, location: str) -> dict[str, Tensor]:
        """Return the state dict at a lake key, path, URL or timm name.

        Raises:
            ModelError: if there is none or it is damaged.
            MissingArtifact, CorruptArtifact: of a checkpoint in the lake, which can be made again.
        """
        if location.startswith("timm:"):
            return checkpoints.download(location.removeprefix("timm:"))
        if location.startswith(LAKE):
            return checkpoints.decode(self._read_from_lake(location), location)
        retry_s, cache_bytes = self._settings.storage_retry_s, self._settings.cache_bytes
        try:
            content = read_file(location, retry_s, cache_bytes=cache_bytes)
        except (FileNotFoundError, LakeError) as error:
            reason = without_secrets(f"checkpoint {location}: cannot be read ({error})")
            raise ModelError(reason) from None
        self._metrics.add("read_bytes", len(content))
        return checkpoints.decode(content, without_secrets(location))

    def _read_from_lake(self, location: str) -> bytes:
        try:
            return self._lake.read_checkpoint(location.removeprefix(LAKE))
        except FileNotFoundError:
            raise MissingArtifact(
                f"checkpoint {location}: not in the lake; `stir-ray verify --repair` and run again"
            ) from None

    def _on_device(self, module: nn.Module, checkpoint: Checkpoint) -> FrozenModel:
        model = checkpoints.freeze(module, checkpoint.architecture, self._device)
        with_cpu_attention(model.module)
        return model


def _changed(checkpoint: Checkpoint) -> str:
    return f"checkpoint {checkpoint.location}: its weights changed since it was inspected"
