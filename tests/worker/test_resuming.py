"""A training whose worker dies goes on from its last epoch, and ends as if nothing had happened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from stir_ray.catalog.verify import Finding, verify
from stir_ray.execution.executor import Metrics
from stir_ray.job import Architecture, Digits, Training
from stir_ray.lake.keys import checkpoint_key, resume_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import TRAININGS
from stir_ray.lake.store import ObjectStore
from stir_ray.plan.model_tasks import Train
from stir_ray.worker import context
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from stir_ray.worker.train import ResumeState, train_model
from tests.small_job import ARCHITECTURE

EPOCHS = 3
PUTS = (EPOCHS + 1) + (EPOCHS - 1) + 1
"""Of checkpoints, of resume states between epochs, and of the record."""
DATA = Digits(source="digits", classes=(5, 6), size=16)
DROPPING = {"proj_drop_rate": 0.2, "attn_drop_rate": 0.1, "drop_path_rate": 0.3}
KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.01, "gradient_clip": 0.5},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.002, "warmup_epochs": 1},
    "augmented": {"optimizer": "nesterov", "learning_rate": 0.01, "augmentation": "standard"},
    "reconstruction": {
        "task": "reconstruction",
        "optimizer": "adam",
        "learning_rate": 0.002,
        "mixed_precision": "bf16",
    },
}


class Died(BaseException):
    """In place of the end of a process."""


def task_of(kind: str = "adamw") -> Train:
    """A short training of the small job's model, with dropout and drop path."""
    arguments = ARCHITECTURE["arguments"] | DROPPING
    architecture = Architecture(timm=ARCHITECTURE["timm"], arguments=arguments)
    settings = Training(epochs=EPOCHS, batch_size=67, seed=3, **KINDS[kind])
    return Train("from_scratch", architecture, settings, DATA)


def attempt(task: Train, lake: Path) -> Metrics:
    """One attempt, by a worker that knows nothing; its metrics."""
    ctx = WorkerContext(WorkerSettings(str(lake), "", None, 0.0), threads=1)
    ctx.begin(task.label)
    train_model(task, ctx)
    return ctx.end()


@contextmanager
def puts(*, die_at: int = 0, after: bool = False) -> Iterator[list[str]]:
    """Keys in the order in which they are stored; it dies before, or after, one of them."""
    really, keys = ObjectStore.put, []

    def put(self: ObjectStore, key: str, content: bytes) -> None:
        keys.append(key)
        if len(keys) == die_at and not after:
            raise Died
        really(self, key, content)
        if len(keys) == die_at:
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ObjectStore, "put", put)
        yield keys


def dies(task: Train, lake: Path, *, at: int, after: bool = False) -> list[int]:
    """An attempt that does not end; the epochs that it trained."""
    with puts(die_at=at, after=after) as keys, pytest.raises(Died):
        attempt(task, lake)
    return trained(keys)


def ends(task: Train, lake: Path) -> list[int]:
    """An attempt that ends; the epochs that it trained."""
    with puts() as keys:
        attempt(task, lake)
    return trained(keys)


def trained(keys: list[str]) -> list[int]:
    """Numbers of the epochs of which a checkpoint was about to be stored, in order."""
    numbers = [int(match[1]) for key in keys if (match := re.search(r"/(\d+)-\w+\.safet", key))]
    return [number for number in numbers if number > 0]


def record(task: Train, lake: Path) -> list[str]:
    """Every row as text, in which NaN is NaN; locations tell the bytes of every checkpoint."""
    return [repr(row) for row in open_lake(str(lake)).read(TRAININGS, task.id).to_pylist()]


def resume_states(lake: Path) -> list[str]:
    """Keys of them, by epoch."""
    keys = open_lake(str(lake)).objects.list("checkpoints")
    return sorted(key for key in keys if resume_key.parse(key))


def findings(lake: Path) -> list[str]:
    """Keys of what is not right."""
    return [item.key for item in verify(open_lake(str(lake))) if isinstance(item, Finding)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """The record of a training that nothing befell, by its kind."""
    records: dict[str, list[str]] = {}

    def of_kind(kind: str) -> list[str]:
        if kind not in records:
            lake, task = tmp_path_factory.mktemp("undisturbed"), task_of(kind)
            assert ends(task, lake) == [1, 2, 3]
            records[kind] = record(task, lake)
        return records[kind]

    return of_kind


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        *(("adamw", at) for at in range(1, PUTS + 1)),
        *(("sgd", 4), ("augmented", 6), ("reconstruction", 6)),
    ],
)
def test_a_training_that_died_ends_bitwise_as_if_it_had_not(
    tmp_path: Path, undisturbed: Callable[[str], list[str]], kind: str, at: int
) -> None:
    expected, task = undisturbed(kind), task_of(kind)
    torch.manual_seed(at)  # what others have drawn must not matter
    first = dies(task, tmp_path, at=at)
    torch.manual_seed(at + 100)
    second = ends(task, tmp_path)
    assert record(task, tmp_path) == expected
    # The epoch in hand is trained again, and no other.
    again = Counter(first + second) - Counter(range(1, EPOCHS + 1))
    assert again.total() <= 1
    assert resume_states(tmp_path) == findings(tmp_path) == []


def test_a_training_that_dies_in_every_epoch_trains_each_once_and_keeps_one_state(
    tmp_path: Path, undisturbed: Callable[[str], list[str]]
) -> None:
    task, epochs = task_of(), []
    # After the checkpoint of epoch 0, then epoch 1, then the resume state, and after that of 2.
    for at, epoch in ((3, 1), (2, 2)):
        epochs += dies(task, tmp_path, at=at, after=True)
        states = resume_states(tmp_path)
        # Those before are removed when the newest is stored.
        assert (resume_key.parse(states[-1]) or (0, 0))[1] == epoch
    metrics = attempt(task, tmp_path)
    # It did not do its whole work.
    assert "whole" not in metrics
    assert epochs == [1, 2]
    assert record(task, tmp_path) == undisturbed("adamw")
    assert resume_states(tmp_path) == []


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-37])


@pytest.mark.parametrize("harm", [_flip, _truncate])
def test_a_damaged_resume_state_is_named_and_an_older_one_is_taken(
    tmp_path: Path,
    undisturbed: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Path], None],
) -> None:
    task = task_of()
    with monkeypatch.context() as patch:
        # It dies before it has removed the older one.
        patch.setattr(ObjectStore, "delete", lambda *_: None)
        dies(task, tmp_path, at=6)
    _, newest = resume_states(tmp_path)
    harm(tmp_path / newest)
    assert findings(tmp_path) == [newest]
    assert ends(task, tmp_path) == [2, 3]
    assert record(task, tmp_path) == undisturbed("adamw")
    assert resume_states(tmp_path) == []


@pytest.mark.parametrize(
    ("harm", "epoch", "is_seen"),
    # Which of the older checkpoints are whole is not read: it would cost reading all of them.
    [(Path.unlink, 0, True), (Path.unlink, 2, True), (_flip, 1, False), (_flip, 2, True)],
)
def test_without_its_checkpoints_a_resume_state_is_not_used(
    tmp_path: Path,
    undisturbed: Callable[[str], list[str]],
    harm: Callable[[Path], None],
    epoch: int,
    *,
    is_seen: bool,
) -> None:
    task = task_of()
    dies(task, tmp_path, at=6)
    keys = open_lake(str(tmp_path)).objects.list("checkpoints")
    (key,) = (key for key in keys if checkpoint_key.parse(key) and f"/{epoch}-" in key)
    harm(tmp_path / key)
    assert ends(task, tmp_path) == ([1, 2, 3] if is_seen else [3])
    assert record(task, tmp_path) == undisturbed("adamw")
    assert bool(findings(tmp_path)) is not is_seen


@pytest.mark.parametrize(
    ("optimizer", "rows"),
    [
        ({"blocks.7.norm1.bias.exp_avg": torch.zeros(16)}, None),
        ({"blocks.1.norm1.bias.exp_avg": torch.zeros(17)}, None),
        ({}, [{"epoch": 2}]),
    ],
)
def test_a_whole_resume_state_of_something_else_is_not_used(
    tmp_path: Path,
    undisturbed: Callable[[str], list[str]],
    optimizer: dict[str, torch.Tensor],
    rows: list[dict[str, Any]] | None,
) -> None:
    task, lake = task_of(), open_lake(str(tmp_path))
    dies(task, tmp_path, at=6)
    (key,) = resume_states(tmp_path)
    state = ResumeState.decode(lake.read_checkpoint(key), key)
    other = ResumeState(rows or state.rows, 67, 0, state.optimizer | optimizer)
    lake.objects.delete(key)
    lake.write_checkpoint(resume_key, task.id, 2, other.encode())
    assert ends(task, tmp_path) == [1, 2, 3]
    assert record(task, tmp_path) == undisturbed("adamw")


def test_a_resume_state_is_the_same_bytes_whatever_the_order_of_its_tensors(tmp_path: Path) -> None:
    dies(task_of(), tmp_path, at=4)
    (key,) = resume_states(tmp_path)
    content = open_lake(str(tmp_path)).read_checkpoint(key)
    state = ResumeState.decode(content, key)
    tensors = dict(reversed(state.optimizer.items()))
    assert ResumeState(state.rows, state.batch_size, state.halvings, tensors).encode() == content


@pytest.mark.parametrize("is_halved", [True, False], ids=["halved", "another machine"])
def test_a_training_goes_on_with_as_many_images_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_halved: bool
) -> None:
    task, lakes = task_of("sgd"), (tmp_path / "whole", tmp_path / "parts")
    backward, steps = torch.Tensor.backward, []

    def without_memory(loss: torch.Tensor) -> None:
        steps.append(1)
        if len(steps) == 1:
            raise torch.OutOfMemoryError
        backward(loss)

    with monkeypatch.context() as patch:
        if is_halved:
            patch.setattr(torch.Tensor, "backward", without_memory)
        else:
            patch.setattr(context, "default_batch_size", lambda *_, **__: 32)
        attempt(task, lakes[0])
        steps.clear()
        dies(task, lakes[1], at=4)
    # Whole batches fit here; slices of another size would round differently, and draw other masks.
    attempt(task, lakes[1])
    assert record(task, lakes[1]) == record(task, lakes[0])
