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
from stir_ray.identity import bytes_digest
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
    """One attempt, by a worker that knows nothing; its measures."""
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


def dies(task: Train, lake: Path, *, at: int, after: bool = False) -> list[str]:
    """An attempt that does not end; what it would have stored."""
    with puts(die_at=at, after=after) as keys, pytest.raises(Died):
        attempt(task, lake)
    return keys


def ends(task: Train, lake: Path) -> list[str]:
    """An attempt that ends; what it stored."""
    with puts() as keys:
        attempt(task, lake)
    return keys


def trained(keys: list[str]) -> list[int]:
    """Numbers of the epochs that were trained, in order."""
    numbers = [int(found[1]) for key in keys if (found := re.search(r"/(\d+)-\w+\.safet", key))]
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
    return [one.key for one in verify(open_lake(str(lake))) if isinstance(one, Finding)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """The record of a training that nothing befell, by its kind."""
    records: dict[str, list[str]] = {}

    def of(kind: str) -> list[str]:
        if kind not in records:
            lake, task = tmp_path_factory.mktemp("undisturbed"), task_of(kind)
            assert len(ends(task, lake)) == PUTS
            records[kind] = record(task, lake)
        return records[kind]

    return of


EVERY = [(kind, at) for kind in ("sgd", "adamw") for at in range(1, PUTS + 1)]


@pytest.mark.parametrize(
    ("kind", "at"),
    [*EVERY, ("augmented", 3), ("augmented", 6), ("reconstruction", 3), ("reconstruction", 6)],
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
    again = Counter(trained(first) + trained(second)) - Counter(range(1, EPOCHS + 1))
    assert again.total() <= 1
    assert resume_states(tmp_path) == findings(tmp_path) == []


def test_a_training_that_dies_in_every_epoch_trains_each_once(
    tmp_path: Path, undisturbed: Callable[[str], list[str]]
) -> None:
    task, epochs = task_of(), []
    # After the checkpoint of epoch 0, then epoch 1, then the resume state, and after that of 2.
    for at in (3, 2):
        epochs += trained(dies(task, tmp_path, at=at, after=True))
        assert len(resume_states(tmp_path)) >= 1
    epochs += trained(ends(task, tmp_path))
    assert epochs == [1, 2, 3]
    assert record(task, tmp_path) == undisturbed("adamw")


def test_a_training_that_goes_on_did_not_do_its_whole_work(tmp_path: Path) -> None:
    task = task_of()
    dies(task, tmp_path, at=6)
    assert "whole" not in attempt(task, tmp_path)


def test_the_newest_resume_state_is_all_that_is_kept(tmp_path: Path) -> None:
    task = task_of()
    # Of epoch 1, and then of epoch 2 with the third checkpoint about to follow.
    for at, epoch in ((4, 1), (3, 2)):
        dies(task, tmp_path, at=at)
        (key,) = resume_states(tmp_path)
        assert (resume_key.parse(key) or (0, 0))[1] == epoch
    ends(task, tmp_path)
    assert resume_states(tmp_path) == []


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-37])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_flip, _truncate, _empty])
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
    older, newest = resume_states(tmp_path)
    harm(tmp_path / newest)
    assert findings(tmp_path) == [newest]
    assert trained(ends(task, tmp_path)) == [2, 3]
    assert record(task, tmp_path) == undisturbed("adamw")
    assert not (tmp_path / newest).exists()
    assert not (tmp_path / older).exists()


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [_flip, _remove])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_without_its_checkpoints_a_resume_state_is_not_used(
    tmp_path: Path,
    undisturbed: Callable[[str], list[str]],
    harm: Callable[[Path], None],
    epoch: int,
) -> None:
    task = task_of()
    dies(task, tmp_path, at=6)
    checkpoints = [
        key for key in open_lake(str(tmp_path)).objects.list("checkpoints")
        if checkpoint_key.parse(key) and f"/{epoch}-" in key
    ]  # fmt: skip
    harm(tmp_path / checkpoints[0])
    # Which of the older checkpoints are whole is not looked at: it would cost reading all of them.
    is_seen = harm is _remove or epoch == 2
    assert trained(ends(task, tmp_path)) == ([1, 2, 3] if is_seen else [3])
    assert record(task, tmp_path) == undisturbed("adamw")
    assert bool(findings(tmp_path)) is not is_seen


@pytest.mark.parametrize(
    ("optimizer", "changed"),
    [
        ({"blocks.7.norm1.bias.exp_avg": torch.zeros(16)}, {}),
        ({"blocks.1.norm1.bias.exp_avg": torch.zeros(17)}, {}),
        ({}, {"rows": []}),
        ({}, {"rows": [{"epoch": 2}]}),
    ],
)
def test_a_whole_resume_state_of_something_else_is_not_used(
    tmp_path: Path,
    undisturbed: Callable[[str], list[str]],
    optimizer: dict[str, torch.Tensor],
    changed: dict[str, Any],
) -> None:
    task, lake = task_of(), open_lake(str(tmp_path))
    dies(task, tmp_path, at=6)
    (key,) = resume_states(tmp_path)
    found = ResumeState.decode(lake.read_checkpoint(key), key)
    rows = changed.get("rows", found.rows)
    content = ResumeState(rows, 67, 0, found.optimizer | optimizer).encode()
    lake.objects.delete(key)
    lake.objects.put(resume_key(task.id, 2, bytes_digest([content])), content)
    assert trained(ends(task, tmp_path)) == [1, 2, 3]
    assert record(task, tmp_path) == undisturbed("adamw")


def test_a_resume_state_is_read_as_it_was_written() -> None:
    rows = [
        {"epoch": 7, "weights": "w", "location": "l"}
        | {"train_loss": 0.1 + 0.2, "test_loss": 1e-9, "test_accuracy": None}
    ]
    tensors = {"a.exp_avg": torch.rand(3, 5), "a.step": torch.tensor(11.0)}
    content = ResumeState(rows, 11, 2, tensors).encode()
    assert ResumeState(rows, 11, 2, dict(reversed(tensors.items()))).encode() == content
    found = ResumeState.decode(content, "here")
    assert (found.rows, found.halvings, found.batch_size, found.epoch) == (rows, 2, 11, 7)
    assert set(found.optimizer) == set(tensors)
    assert all(torch.equal(found.optimizer[name], tensors[name]) for name in tensors)


def test_what_memory_did_not_suffice_for_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, lakes = task_of("sgd"), (tmp_path / "whole", tmp_path / "parts")
    backward, steps = torch.Tensor.backward, []

    def without_memory(loss: torch.Tensor) -> None:
        steps.append(1)
        if len(steps) == 1:
            raise torch.OutOfMemoryError
        backward(loss)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", without_memory)
        attempt(task, lakes[0])
        steps.clear()
        dies(task, lakes[1], at=4)
    attempt(task, lakes[1])
    # Slices of another size would round differently, and draw other masks.
    assert record(task, lakes[1]) == record(task, lakes[0])


def test_a_training_goes_on_with_as_many_images_at_once_wherever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, lakes = task_of("sgd"), (tmp_path / "whole", tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(context, "default_batch_size", lambda *_, **__: 32)
        attempt(task, lakes[0])
        dies(task, lakes[1], at=4)
    (key,) = resume_states(lakes[1])
    kept = ResumeState.decode(open_lake(str(lakes[1])).read_checkpoint(key), key)
    assert kept.batch_size == 32
    # On a machine where whole batches fit.
    attempt(task, lakes[1])
    assert record(task, lakes[1]) == record(task, lakes[0])
