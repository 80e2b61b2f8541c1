"""Accuracies on corrupted images: of the model's own head, on the same images for every epoch."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stir_ray.catalog.failures import unfinished
from stir_ray.catalog.inspection import inspected_in_lake, missing_tasks, resolve
from stir_ray.catalog.status import forecast, status_of
from stir_ray.catalog.verify import Finding, verify
from stir_ray.datasets.corruptions import test_set
from stir_ray.datasets.corruptions.test_set import corrupt_all
from stir_ray.datasets.sources import Dataset
from stir_ray.errors import InputError, JobError, TasksFailed
from stir_ray.job import ImageFolder, Job
from stir_ray.job.loader import validate_job
from stir_ray.lake.keys import artifact_key, result_folder, result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import ACCURACIES, ROBUSTNESS
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from stir_ray.results.study_reader import evaluations
from stir_ray.worker import inspect
from tests.broken import job_file, stir_ray
from tests.datasets.archives import load
from tests.small_job import ARCHITECTURE, EPOCHS, small_job
from workflows import robustness

WANTED: dict[str, Any] = {"corruptions": ["snow", "gaussian_noise"], "severities": [2, 5]}
CONDITIONS = 1 + 2 * 2
# Of the pretrained model the last epoch, and every epoch of the others, epoch 0 included.
TESTED = 1 + (EPOCHS + 1) + 2
CLEAN = ("clean", 0)


def robust_job(lake: Path | str, **changed: Any) -> Job:
    """The small job with robustness."""
    return small_job(lake, **({"robustness": WANTED} | changed))


def results(job: Job) -> pd.DataFrame:
    """The accuracies by model, epoch and condition."""
    table = open_lake(job.lake).read_object(ROBUSTNESS, result_key(job.name, "robustness"))
    return table.to_pandas().set_index(list(ROBUSTNESS.key)).sort_index()


def history(job: Job) -> pd.DataFrame:
    """Losses and accuracies that the trainings measured."""
    frame = pd.read_parquet(Path(job.lake) / result_key("small", "history"))
    return frame.set_index(["model", "epoch"])


def lose(job: Job, *, keep: int = 0) -> None:
    """Delete accuracies of the job's models but a few."""
    lake = open_lake(job.lake)
    for artifact_id in sorted(lake.stored(ACCURACIES))[keep:]:
        lake.objects.delete(artifact_key("accuracies", artifact_id))


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of a job whose models are tested. Not to be changed."""
    lake = tmp_path_factory.mktemp("tested")
    robustness.run(robust_job(lake), serial=True).require_tested()
    return lake


@pytest.fixture
def copy(tested: Path, tmp_path: Path) -> Callable[..., Job]:
    """The job on a lake in which its models are tested."""

    def make(**changed: Any) -> Job:
        lake = tmp_path / "lake"
        if not lake.exists():
            shutil.copytree(tested, lake)
        return robust_job(lake, **changed)

    return make


def test_every_epoch_has_a_number_in_every_condition(tested: Path) -> None:
    frame = results(robust_job(tested))
    assert len(frame) == TESTED * CONDITIONS
    assert len(open_lake(str(tested)).stored(ACCURACIES)) == TESTED
    assert set(frame["source"]) == {"clean", "regenerated"}
    assert frame["accuracy"].between(0, 1).all()
    # The noise of one severity is not that of another.
    assert frame.groupby(level=["model", "epoch"])["loss"].nunique().eq(CONDITIONS).all()


def test_without_corruption_a_model_is_as_good_as_in_its_training(tested: Path) -> None:
    job = robust_job(tested)
    clean = results(job).xs(CLEAN, level=("corruption", "severity"))
    trained = history(job).loc[clean.index]
    # All images are drawn where the split has fewer than asked for, as the training's test has.
    assert (clean["images"] > 100).all()
    assert (clean["accuracy"] == trained["test_accuracy"]).all()
    assert np.allclose(clean["loss"], trained["test_loss"], rtol=1e-6)


def test_models_that_differ_in_their_heads_alone_are_told_apart(tested: Path) -> None:
    planned = evaluations(resolve(robust_job(tested)), open_lake(str(tested)))
    pretrained, start = planned[0].model, planned[1].model
    assert (start.role, start.epoch) == ("finetuned", 0)
    assert pretrained.weights == start.weights
    assert len({task.outputs[0].id for task in planned}) == TESTED
    losses = results(robust_job(tested))["loss"].xs(CLEAN, level=("corruption", "severity"))
    assert losses["pretrained", 1] != losses["finetuned", 0]


def test_images_are_corrupted_once_and_shared_by_all_epochs(
    copy: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
    counts: Counter[tuple[object, ...]] = Counter()

    def counted(clean: Dataset, name: str, severity: int) -> Any:
        counts[clean.ids, name, severity] += 1
        return corrupt_all(clean, name, severity)

    monkeypatch.setattr(test_set, "corrupt_all", counted)
    job = copy(execution={"batch_size": 13, "threads_per_worker": 1})
    before = results(job)
    lose(job)
    robustness.run(job, serial=True).require_tested()
    # The pretrained model is tested on other digits than its finetuning.
    assert len(counts) == 2 * (CONDITIONS - 1)
    assert set(counts.values()) == {1}
    # Another batch size changes nothing but rounding.
    after = results(job)
    assert (after[["images", "accuracy"]] == before[["images", "accuracy"]]).all(axis=None)
    assert np.allclose(after["loss"], before["loss"], rtol=1e-5)


def test_a_tested_job_starts_no_task_and_the_verb_says_where_the_numbers_are(
    copy: Callable[..., Job], tmp_path: Path
) -> None:
    job = copy()
    code, output, _ = stir_ray("robustness", job_file(job, tmp_path), "--serial")
    assert code == 0
    assert output.startswith("No task ran: everything was in the lake.")
    assert f"{TESTED} of {TESTED} models are tested on corrupted images." in output
    assert f"Results: {tmp_path / 'lake' / result_folder(job.name)} " in output


def test_a_deleted_artifact_is_all_that_is_computed_again(copy: Callable[..., Job]) -> None:
    job = copy()
    lake, before = open_lake(job.lake), results(job)
    lost = max(lake.stored(ACCURACIES))
    table = lake.read(ACCURACIES, lost)
    lose(job, keep=TESTED - 1)
    assert dict(robustness.run(job, serial=True).tally.ran) == {"evaluate": 1}
    assert lake.read(ACCURACIES, lost).equals(table)
    assert results(job).equals(before)


def test_fewer_images_are_drawn_by_seed(copy: Callable[..., Job]) -> None:
    frames = []
    for seed in (0, 0, 1):
        job = copy(robustness=WANTED | {"images": 17, "seed": seed})
        ran = robustness.run(job, serial=True).tally.ran.get("evaluate", 0)
        frames.append(results(job))
        assert (frames[-1]["images"] == 17).all()
        assert ran == (0 if len(frames) == 2 else TESTED)
    assert frames[0].equals(frames[1])
    assert not frames[0]["loss"].equals(frames[2]["loss"])


def test_other_corruptions_leave_the_numbers_of_these_as_they_are(copy: Callable[..., Job]) -> None:
    before = results(copy())
    job = copy(robustness={"corruptions": ["fog", "snow"], "severities": [5]})
    robustness.run(job, serial=True)
    after = results(job)
    both = before.index.intersection(after.index)
    assert len(both) == TESTED * 2
    assert after.loc[both].equals(before.loc[both])


def test_a_job_that_asks_for_no_test_is_told_how_to(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no `robustness` in the job file; add"):
        robustness.run(small_job(tmp_path), serial=True)


def test_plan_and_status_show_the_stage(copy: Callable[..., Job]) -> None:
    job = copy()
    inspected = inspected_in_lake(resolve(job), open_lake(job.lake))
    assert inspected
    status = status_of(inspected)
    stage = status.stages[-1]
    assert (stage.stage, stage.planned, stage.done, stage.took.ran) == ("evaluate", *[TESTED] * 3)
    assert stage.took.flops > 0
    assert status.holdings["accuracies"].parts == TESTED
    lose(job, keep=TESTED - 2)
    planned = forecast(inspected).stages[-1]
    assert (planned.stage, planned.planned, planned.done) == ("evaluate", TESTED, TESTED - 2)
    assert planned.flops < 3 * CONDITIONS * inspected.evaluations[0].images * 1e9


def test_a_failed_test_stops_no_other_and_is_recorded(
    copy: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = copy(execution={"max_identical_failures": 2})
    lake, whole, calls = open_lake(job.lake), inspect.as_seen, []
    lose(job)

    def as_seen(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise ValueError("a broken image")
        return whole(*args)

    monkeypatch.setattr(inspect, "as_seen", as_seen)
    done = robustness.run(job, serial=True)
    with pytest.raises(TasksFailed, match="1 task failed, 1 model not tested"):
        done.require_tested()
    assert len(results(job)) == (TESTED - 1) * CONDITIONS
    (failed,) = unfinished(missing_tasks(resolve(job), lake), lake).failed
    assert (failed.task.label, failed.message) == ("test pretrained", "a broken image")
    robustness.run(job, serial=True).require_tested()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("accuracy", 1.001, "must stay in [0, 1]"), ("severity", 7, "must stay in [0, 5]")],
)
def test_a_value_out_of_its_range_is_found(
    copy: Callable[..., Job], column: str, value: float, expected: str
) -> None:
    job = copy()
    lake = open_lake(job.lake)
    artifact = evaluations(resolve(job), lake)[0].outputs[0]
    table = lake.read(ACCURACIES, artifact.id)
    index = table.column_names.index(column)
    values = [value, *table[column].to_pylist()[1:]]
    changed = table.set_column(index, table.schema.field(index), [values]).cast(table.schema)
    lake.write(ACCURACIES, artifact.id, changed, content=artifact.content, job="small")
    (finding,) = [each for each in verify(lake) if isinstance(each, Finding)]
    assert expected in finding.problem


def test_a_reconstruction_has_a_loss_and_no_accuracy(tmp_path: Path) -> None:
    train = {"train": {"task": "reconstruction", "epochs": 1, "learning_rate": 0.01}}
    job = robust_job(tmp_path / "lake", finetuned=train, from_scratch=None)
    robustness.run(job, serial=True).require_tested()
    frame = results(job).loc["finetuned"]
    assert frame["accuracy"].isna().all()
    clean = frame["loss"].xs(CLEAN, level=("corruption", "severity"))
    assert np.allclose(clean, history(job).loc["finetuned"]["test_loss"], rtol=1e-6)
    assert not [each for each in verify(open_lake(job.lake)) if isinstance(each, Finding)]


def colored(folder: Path) -> dict[str, Any]:
    """A folder of small photographs, 11 of them to test on, and a job about it."""
    drawn = np.random.default_rng(3)
    for split, count in (("train", 7), ("test", 11)):
        for number in range(count):
            path = folder / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth = drawn.integers(0, 256, (4, 4, 3)).astype(np.uint8)
            Image.fromarray(smooth).resize((16, 16)).save(path)
    arguments = ARCHITECTURE["arguments"] | {"in_chans": 3}
    train = {"epochs": 1, "batch_size": 4}
    return {
        "data": {"source": "folder", "path": str(folder), "size": 16},
        "images": {"count": 4},
        "pretrained": {"architecture": ARCHITECTURE | {"arguments": arguments}, "train": train},
        "finetuned": {"train": train},
        "from_scratch": None,
    }


def release(job: Job, folder: Path) -> None:
    """Write the published files as if the test images had been corrupted by us."""
    assert isinstance(job.data, ImageFolder)
    clean = load(job.data, "test")
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(clean.labels.numpy(), 5))
    for name in ("snow", "gaussian_noise"):
        levels = [corrupt_all(clean, name, severity) for severity in range(1, 6)]
        np.save(folder / f"{name}.npy", np.concatenate(levels))


def test_published_files_of_the_same_images_give_the_same_numbers(tmp_path: Path) -> None:
    described = colored(tmp_path / "images")
    regenerated = robust_job(tmp_path / "lake", robustness=WANTED | {"images": 7}, **described)
    robustness.run(regenerated, serial=True).require_tested()
    before = results(regenerated)
    files, moved = tmp_path / "CIFAR-10-C", tmp_path / "moved"
    release(regenerated, files)
    shutil.copytree(files, moved)
    job, elsewhere = (
        validate_job(
            regenerated.model_dump()
            | {"robustness": WANTED | {"images": 7, "source": {"npy": str(folder)}}},
            "",
        )
        for folder in (files, moved)
    )
    robustness.run(job, serial=True).require_tested()
    after = results(job)
    assert set(after["source"]) == {"clean", "released"}
    assert after.drop(columns="source").equals(before.drop(columns="source"))
    # Where the files lie is no part of what the result is.
    resolved = (ResolvedJob(each, dict.fromkeys(files_of(each), "v")) for each in (job, elsewhere))
    (here, *_), (there, *_) = ([test for _, test in each.corrupted_tests()] for each in resolved)
    assert here.content == there.content


def test_published_files_of_other_images_are_refused_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    described, files = colored(tmp_path / "images"), tmp_path / "CIFAR-10-C"
    published = {"robustness": WANTED | {"source": {"npy": str(files)}}}
    job = robust_job(tmp_path / "lake", **described | published)
    release(job, files)
    other = {"train": {"epochs": 1, "data": described["data"] | {"size": 17}}}
    with pytest.raises(JobError, match="published images are of `data`, and"):
        robustness.run(
            robust_job(tmp_path / "lake", **described | published | {"finetuned": other}),
            serial=True,
        )
    labels = np.load(files / "labels.npy")
    for wrong, expected in (
        (np.tile(labels[:11][::-1], 5), "image 0 of .* is of class 1, and that of the test"),
        (np.tile(labels[:7], 5), "snow.npy: expected uint8 of shape .35|gaussian_noise.npy: exp"),
    ):
        np.save(files / "labels.npy", wrong)
        with pytest.raises(InputError, match=expected):
            robustness.run(job, serial=True)
    (files / "snow.npy").unlink()
    np.save(files / "labels.npy", labels)
    with pytest.raises(InputError, match=r"no file .*snow\.npy"):
        robustness.run(job, serial=True)
    assert not open_lake(job.lake).objects.list("checkpoints")


def test_a_classifier_of_other_classes_is_refused(copy: Callable[..., Job]) -> None:
    job = copy()
    start = evaluations(resolve(job), open_lake(job.lake))[0].model
    file = Path(job.lake) / start.location.removeprefix("lake:")
    finetuned = {"checkpoints": f"{file.parent}/{{epoch}}{file.name[1:]}", "epochs": [1]}
    # The pretrained model knows three classes, and digits have ten.
    data = {"source": "digits", "size": 16}
    with pytest.raises(JobError, match=r"a classifier of 3 classes, and images of `data` are of"):
        robustness.run(copy(finetuned=finetuned, data=data), serial=True)
    job = copy(finetuned=finetuned)
    robustness.run(job, serial=True).require_tested()
    assert len(results(job).loc["finetuned"]) == CONDITIONS
