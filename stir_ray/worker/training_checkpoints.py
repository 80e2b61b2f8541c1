"""Where a training goes on from after its worker died: the newest resume state that is whole."""

from dataclasses import dataclass

from torch import Tensor, nn

from stir_ray.errors import CorruptPart, ModelError
from stir_ray.lake.keys import parse_resume_key, resume_key, training_folder
from stir_ray.lake.schemas import TRAININGS
from stir_ray.models import checkpoints, optimizer_state, training_state
from stir_ray.models.training_state import ResumeState
from stir_ray.plan.checkpoints import LAKE
from stir_ray.plan.preparation import Train
from stir_ray.worker.context import WorkerContext

_COLUMNS = {column.name for column in TRAININGS.columns}


@dataclass(frozen=True)
class Resumed:
    """A training at the end of an epoch: what it goes on from, and the weights."""

    state: ResumeState
    weights: dict[str, Tensor]


class ResumeStates:
    """The resume states of one training in the lake; the newest is all that is kept."""

    def __init__(self, task: Train, bench: WorkerContext) -> None:
        """None is known of yet."""
        self._task, self._bench = task, bench
        self._keys: list[str] = []

    def newest(self, module: nn.Module) -> Resumed | None:
        """The newest one that is whole, belongs to `module` and has all its checkpoints, if any."""
        there = self._bench.lake.objects.list(training_folder(self._task.id))
        by_epoch = [(parsed[0], key) for key in there if (parsed := parse_resume_key(key))]
        self._keys = [key for _, key in sorted(by_epoch)]
        for key in reversed(self._keys):
            try:
                found = self._read(key)
            except (CorruptPart, ModelError, FileNotFoundError):
                continue
            lost = [row for row in found.state.rows if _key(row) not in there]
            if not lost and _fits(found, module):
                return found
        return None

    def keep(self, state: ResumeState) -> None:
        """Store a newer one, and then remove the others."""
        content = training_state.encode(state)
        key = resume_key(self._task.id, state.epoch, content)
        self._bench.lake.write_checkpoint(key, content)
        self._keys = [one for one in self._keys if one != key]
        self.remove()
        self._keys = [key]

    def remove(self) -> None:
        """Remove all that are known of: the training has ended, or there is a newer one."""
        for key in self._keys:
            self._bench.tidy(key)

    def _read(self, key: str) -> Resumed:
        lake = self._bench.lake
        state = training_state.decode(lake.read_checkpoint(key), key)
        if not state.rows or any(set(row) != _COLUMNS for row in state.rows):
            raise CorruptPart(f"{key}: its rows are not those of a record")
        last = _key(state.rows[-1])
        return Resumed(state, checkpoints.decode(lake.read_checkpoint(last), last))


def _key(row: dict) -> str:
    return str(row["location"]).removeprefix(LAKE)


def _fits(found: Resumed, module: nn.Module) -> bool:
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in found.weights.items()}
    return shapes == expected and optimizer_state.fit(found.state.optimizer, module)
