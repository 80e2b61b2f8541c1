"""A job from beginning to end: complete, resumed by subtraction, the same however it was run."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stir_ray import open_results
from stir_ray.catalog.inspection import resolve
from stir_ray.errors import MissingArtifact, TasksFailed
from stir_ray.job import Job, TrainedFinetuning, Training
from stir_ray.job.loader import Grid
from stir_ray.lake.keys import artifact_key, result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import (
    COMPARISONS,
    IMAGE_SETS,
    IMAGES,
    INVERSIONS,
    MODELS,
    RESULTS,
    TRAININGS,
)
from stir_ray.models import training
from stir_ray.models.training import Epoch
from stir_ray.plan.measurement import Invert
from stir_ray.results.reduce import reduce_job
from stir_ray.results.study_reader import read_study
from stir_ray.worker import invert
from stir_ray.worker.context import WorkerContext
from tests.small_job import ARCHITECTURE, COUNT, EPOCHS, LAYERS, SEEDS, small_job
from workflows import finetune, invariance

STORED = IMAGE_SETS, MODELS, TRAININGS, INVERSIONS, IMAGES, COMPARISONS
# Pretrained and from scratch, and each epoch of the finetuning; its epoch 0 is the pretrained one.
MODELS_INVERTED = 2 + EPOCHS


def test_a_job_stores_each_artifact_once(finished: Path) -> None:
    lake = open_lake(str(finished))
    inversions = MODELS_INVERTED * LAYERS * SEEDS
    # A model looks at its own inversions, and pretrained and compared ones look at each other's.
    comparisons = (1 + 3 * (MODELS_INVERTED - 1)) * LAYERS * SEEDS
    assert len(lake.stored(INVERSIONS)) == inversions
    # The pretrained model's images are kept as they were after half of the steps, too.
    assert len(lake.stored(IMAGES)) == inversions + LAYERS * SEEDS
    assert len(lake.stored(COMPARISONS)) == comparisons
    assert len(lake.stored(TRAININGS)) == 3


def test_fewer_epochs_of_a_finetuning_are_compared_if_the_job_names_them(
    finished_copy: Callable[[], Job],
) -> None:
    whole = finished_copy()
    lake = Path(whole.lake)
    finetuned = whole.finetuned.model_dump() | {"epochs": [0, EPOCHS]}
    job = small_job(lake, name="fewer", finetuned=finetuned)
    assert invariance.run(job, serial=True).tally.tasks == 0
    results = (open_results(str(lake / "jobs" / name)) for name in ("fewer", "small"))
    compared = (result["stir"].sel(model="finetuned") for result in results)
    fewer, every_epoch = (stir.dropna("epoch", how="all") for stir in compared)
    assert every_epoch.epoch.values.tolist() == list(range(EPOCHS + 1))
    assert fewer.epoch.values.tolist() == [0, EPOCHS]
    assert fewer.equals(every_epoch.sel(epoch=[0, EPOCHS]))


def test_deleted_artifacts_are_all_that_is_computed_again(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    lake, before = open_lake(job.lake), _written(job)
    lost = {schema: min(lake.stored(schema)) for schema in STORED}
    tables = {schema: lake.read(schema, artifact_id) for schema, artifact_id in lost.items()}
    keys = {artifact_key(schema.name, artifact_id) for schema, artifact_id in lost.items()}
    for key in keys:
        lake.objects.delete(key)
    assert invariance.run(job, serial=True).tally.tasks <= len(keys)
    # Bitwise: one process, as many threads, the same batch.
    for schema, table in tables.items():
        assert lake.read(schema, lost[schema]).equals(table), schema.name
    after = _written(job)
    changed = {name for name in after if after[name] != before.get(name)}
    # A training stores its checkpoints again before its record.
    assert {name for name in changed if not name.startswith("checkpoints")} == keys


def _written(job: Job) -> dict[str, int]:
    """Artifacts and checkpoints by key, with the time they were written."""
    root = Path(job.lake)
    files = [path for top in ("artifacts", "checkpoints") for path in (root / top).rglob("*.*")]
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def test_ray_makes_bitwise_the_same_results(
    finished: Path, tmp_path: Path, local_ray: None
) -> None:
    invariance.run(small_job(tmp_path))
    here, there = (open_lake(str(lake)) for lake in (finished, tmp_path))
    key = result_key("small", RESULTS.name)
    assert here.read_object(RESULTS, key).equals(there.read_object(RESULTS, key))


def test_the_batch_size_changes_no_score_by_more_than_rounding(
    finished: Path, tmp_path: Path
) -> None:
    job = small_job(tmp_path, execution={"threads_per_worker": 1, "batch_size": 5})
    invariance.run(job, serial=True)
    whole, parts = (open_results(str(lake / "jobs" / "small")) for lake in (finished, tmp_path))
    # Products of other sizes round differently, and each step of an inversion builds on the last.
    np.testing.assert_allclose(parts["stir"], whole["stir"], atol=1e-3)


def test_results_have_all_cells_and_epoch_0_is_the_pretrained_model(finished: Path) -> None:
    results = open_results(str(finished / "jobs" / "small"))
    finetuned = results.sel(model="finetuned", epoch=[0, 1, 2])
    assert finetuned["stir"].shape == (4, 3, SEEDS, LAYERS, LAYERS)
    assert finetuned["stir"].notnull().all()
    assert (finetuned["images"] == COUNT).all()
    for metric in ("learning", "forgetting", "cka_divergence"):
        # The same artifacts on both sides of the difference.
        assert (finetuned[metric].sel(epoch=0) == 0).all()
    assert results["forgetting"].sel(model="from_scratch", epoch=1).notnull().all()
    assert results["test_accuracy"].sel(trained_model="finetuned", training_epoch=2).notnull()


def test_a_cell_without_its_artifact_is_missing_and_never_zero(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    lake = open_lake(job.lake)
    study = read_study(resolve(job), lake)
    task = next(iter(study.comparisons()))
    lost = task.comparisons[1]
    lake.objects.delete(artifact_key("comparisons", lost.artifact.id))
    reduced = reduce_job(resolve(job), study, lake)
    assert reduced.missing == 1
    results = open_results(f"{job.lake}/jobs/small")
    at = {"model": "finetuned", "direction": "ft|pt", "epoch": task.target.epoch}
    of_layer = results["stir"].sel(**at, reference_layer=lost.layer)
    assert of_layer.sel(seed=task.seed).isnull().all()
    assert of_layer.drop_sel(seed=task.seed).notnull().all()
    spread = results["forgetting_seeds"].sel(model="finetuned", epoch=task.target.epoch)
    assert (spread.sel(column_layer=lost.layer) == SEEDS - 1).all()
    assert (spread.drop_sel(column_layer=lost.layer) == SEEDS).all()


def test_a_failed_training_says_what_failed(tmp_path: Path) -> None:
    wild = {"train": {"epochs": 1, "learning_rate": 1e30}}
    job = small_job(tmp_path, pretrained={"architecture": ARCHITECTURE, **wild})
    with pytest.raises(TasksFailed, match="lower the learning rate"):
        invariance.run(job, serial=True)


def test_a_failed_finetuning_leaves_the_rest_of_the_study(
    finished_copy: Callable[[], Job],
) -> None:
    wild = Training(epochs=1, learning_rate=1e30)
    job = finished_copy().model_copy(update={"finetuned": TrainedFinetuning(train=wild)})
    done = invariance.run_all(Grid.of(job), serial=True)
    summary = done.jobs["small"]
    assert dict(summary.tally.ran) == {"train": 1}
    results = open_results(f"{job.lake}/jobs/small")
    # Its epoch 0 is the pretrained model, so it is there all the same.
    assert set(results["model"].values.tolist()) == {"finetuned", "from_scratch"}
    assert results["stir"].sel(model="finetuned", epoch=0).notnull().all()
    # Of its epoch 1, in all directions that are not the pretrained model's own.
    assert summary.reduced.missing == 3 * SEEDS * LAYERS
    with pytest.raises(TasksFailed, match=r"1 task failed, 18 of \d+ cells are missing"):
        done.require_complete()


def test_a_driver_says_what_ran_and_where_the_results_are(
    finished_copy: Callable[[], Job],
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = finished_copy()
    invariance.program(Grid.of(job), serial=True)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "No task ran: everything was in the lake."
    cells = (EPOCHS + 2) * 4 * SEEDS * LAYERS
    assert f"{cells} of {cells} cells have a number." in others


def test_a_layer_that_cannot_be_inverted_leaves_the_others(
    finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = invert.invert_layer

    def invert_layer(task: Invert, ctx: WorkerContext) -> None:
        if task.layer == 2:
            raise FloatingPointError("no such layer today")
        really(task, ctx)

    monkeypatch.setattr("stir_ray.worker.invert.invert_layer", invert_layer)
    job = finished_copy().model_copy(update={"seeds": (5,)})
    summary = invariance.run(job, serial=True)
    results = open_results(f"{job.lake}/jobs/small")["stir"].sel(seed=5)
    assert summary.reduced.missing == summary.reduced.cells / 3
    assert set(results["reference_layer"].values.tolist()) == {1, 3}


def test_the_record_of_a_training_that_another_run_ended_first_stays(
    finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_copy()
    key = min(open_lake(job.lake).objects.list("artifacts/trainings"))
    record = Path(job.lake) / key
    other_record = record.read_bytes()
    record.unlink()
    really = training.train

    def train(*args: Any, **named: Any) -> Iterator[Epoch]:
        yield from really(*args, **named)
        record.write_bytes(other_record)

    monkeypatch.setattr(training, "train", train)
    assert invariance.run(job, serial=True).tally.tasks == 1
    assert record.read_bytes() == other_record


def test_results_are_not_made_of_weights_that_another_run_replaced(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    resolved, lake = resolve(job), open_lake(job.lake)
    study = read_study(resolved, lake)
    changed = replace(study.pretrained, weights="0" * 32)
    with pytest.raises(MissingArtifact, match="another run repeated this training"):
        reduce_job(resolved, replace(study, pretrained=changed), lake)


def test_finetuning_alone_trains_and_measures_nothing(tmp_path: Path) -> None:
    job = small_job(tmp_path, finetuned={"train": {"epochs": 1}})
    tally = finetune.run(job, serial=True)
    lake = open_lake(job.lake)
    assert dict(tally.ran) == {"inspect": 2, "train": 3}
    assert len(lake.stored(TRAININGS)) == 3
    assert not lake.stored(INVERSIONS)
    assert len(lake.objects.list("checkpoints")) == 2 + 2 + 2


def test_two_jobs_share_the_inversions_of_their_pretrained_model(
    finished_copy: Callable[[], Job],
) -> None:
    job = finished_copy()
    other = job.model_copy(update={"name": "other", "from_scratch": None, "seeds": (0,)})
    assert invariance.run(other, serial=True).tally.tasks == 0
