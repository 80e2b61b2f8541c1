"""Accuracies on corrupted images: of the model's own head, on the same images for every epoch."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from stir_ray.catalog.failures import unfinished
from stir_ray.catalog.inspection import inspected_in_lake, missing_tasks, resolve
from stir_ray.catalog.status import forecast, status_of
from stir_ray.catalog.verify import verify
from stir_ray.cli import app
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
from stir_ray.results.contents import evaluations
from stir_ray.worker import inspect
from tests.broken import with_figures
from tests.datasets.archives import load
from tests.small_job import ARCHITECTURE, EPOCHS, small_job
from workflows import robustness

ASKED: dict[str, Any] = {"corruptions": ["snow", "gaussian_noise"], "severities": [2, 5]}
CONDITIONS = 1 + 2 * 2
# Of the pretrained model the last epoch, and every epoch of the others, epoch 0 included.
TESTED = 1 + (EPOCHS + 1) + 2


def asking(lake: Path | str, **changed: Any) -> Job:
    """The small job with robustness."""
    return small_job(lake, **({"robustness": ASKED} | changed))


def results(job: Job) -> pd.DataFrame:
    """What the job came to, by place."""
    key = result_key(job.name, "robustness")
    found = open_lake(job.lake).read_object(ROBUSTNESS, key).to_pandas()
    return found.set_index(list(ROBUSTNESS.key)).sort_index()


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of a job whose models are tested. Not to be changed."""
    lake = tmp_path_factory.mktemp("tested")
    robustness.run(asking(lake), serial=True).require_tested()
    return lake


@pytest.fixture
def copy(tested: Path, tmp_path: Path) -> Callable[..., Job]:
    """The job on a lake of its own, in which its models are tested."""

    def of(**changed: Any) -> Job:
        lake = tmp_path / "lake"
        if not lake.exists():
            shutil.copytree(tested, lake)
        return asking(lake, **changed)

    return of


def test_every_epoch_has_a_number_in_every_condition(tested: Path) -> None:
    found = results(asking(tested))
    assert len(found) == TESTED * CONDITIONS
    assert len(open_lake(str(tested)).stored(ACCURACIES)) == TESTED
    assert set(found["source"]) == {"clean", "regenerated"}
    assert found["accuracy"].between(0, 1).all()
    # The noise of one severity is not that of another.
    assert found.groupby(level=["model", "epoch"])["loss"].nunique().eq(CONDITIONS).all()


def test_all_epochs_share_the_images_that_were_corrupted_once(
    tested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STIR_RAY_CACHE", str(tmp_path / "cache"))
    made: Counter[tuple[object, ...]] = Counter()

    def counted(clean: Dataset, name: str, severity: int) -> Any:
        made[clean.ids, name, severity] += 1
        return corrupt_all(clean, name, severity)

    monkeypatch.setattr(test_set, "corrupt_all", counted)
    job = asking(tmp_path / "lake")
    robustness.run(job, serial=True).require_tested()
    # The pretrained model is tested on other digits than its finetuning.
    assert len(made) == 2 * (CONDITIONS - 1)
    assert set(made.values()) == {1}
    assert results(job).equals(results(asking(tested)))


def test_without_corruption_a_model_is_as_good_as_its_training_found(tested: Path) -> None:
    clean = results(asking(tested)).xs(("clean", 0), level=("corruption", "severity"))
    history = pd.read_parquet(tested / result_key("small", "history"))
    trained = history.set_index(["model", "epoch"]).loc[clean.index]
    # All images are drawn where the split has fewer than asked for, as the training's test has.
    assert (clean["images"] > 100).all()
    assert (clean["accuracy"] == trained["test_accuracy"]).all()
    assert np.allclose(clean["loss"], trained["test_loss"], rtol=1e-6)


def test_models_that_differ_in_their_heads_alone_are_told_apart(tested: Path) -> None:
    found = results(asking(tested))
    asked = resolve(asking(tested))
    every = evaluations(asked, open_lake(str(tested)))
    pretrained, start = every[0].model, every[1].model
    assert (start.role, start.epoch) == ("finetuned", 0)
    assert pretrained.weights == start.weights
    assert len({one.outputs[0].id for one in every}) == TESTED
    losses = found["loss"].xs(("clean", 0), level=("corruption", "severity"))
    assert losses["pretrained", 1] != losses["finetuned", 0]


def test_a_tested_job_starts_no_task(copy: Callable[..., Job]) -> None:
    again = robustness.run(copy(), serial=True)
    assert again.tally.tasks == 0
    again.require_tested()


def test_the_verb_says_where_the_numbers_are_and_draws_them(
    copy: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_figures(monkeypatch)
    job = copy()
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_none=True)))
    result = CliRunner().invoke(app, ["robustness", str(path), "--serial"])
    assert result.exit_code == 0
    assert f"{TESTED} of {TESTED} models are tested on corrupted images." in result.stdout
    assert f"Results: {tmp_path / 'lake' / result_folder(job.name)} " in result.stdout
    figures = {file.name for file in tmp_path.glob("lake/jobs/*/figures/9-*")}
    assert {
        f"9-accuracy-on-corrupted-images-finetuned.{kind}" for kind in ("png", "svg", "pdf")
    } <= figures


def test_a_deleted_part_is_all_that_is_computed_again(copy: Callable[..., Job]) -> None:
    job = copy()
    lake, before = open_lake(job.lake), results(job)
    lost = sorted(lake.stored(ACCURACIES))[2]
    part = lake.read(ACCURACIES, lost)
    lake.objects.delete(artifact_key("accuracies", lost))
    assert dict(robustness.run(job, serial=True).tally.ran) == {"evaluate": 1}
    assert lake.read(ACCURACIES, lost).equals(part)
    assert results(job).equals(before)


def test_the_batch_size_changes_nothing_but_rounding(copy: Callable[..., Job]) -> None:
    job = copy(execution={"batch_size": 13, "threads_per_worker": 1})
    lake, before = open_lake(job.lake), results(job)
    for one in lake.stored(ACCURACIES):
        lake.objects.delete(artifact_key("accuracies", one))
    robustness.run(job, serial=True)
    after = results(job)
    assert (after["images"] == before["images"]).all()
    assert (after["accuracy"] == before["accuracy"]).all()
    assert np.allclose(after["loss"], before["loss"], rtol=1e-5)


def test_fewer_images_are_drawn_by_seed(copy: Callable[..., Job]) -> None:
    frames = []
    for seed in (0, 0, 1):
        job = copy(robustness=ASKED | {"images": 17, "seed": seed})
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


def test_a_job_that_asks_for_no_test_is_told_how_to(copy: Callable[..., Job]) -> None:
    with pytest.raises(JobError, match="no `robustness` in the job file; add"):
        robustness.run(copy(robustness=None), serial=True)


def test_plan_and_status_show_the_stage(copy: Callable[..., Job]) -> None:
    job = copy()
    lake = open_lake(job.lake)
    known = inspected_in_lake(resolve(job), lake)
    assert known
    stage = status_of(known).stages[-1]
    assert (stage.stage, stage.planned, stage.done, stage.took.ran) == ("evaluate", *[TESTED] * 3)
    assert stage.took.flops > 0
    assert status_of(known).holdings["accuracies"].parts == TESTED
    for one in list(lake.stored(ACCURACIES))[:2]:
        lake.objects.delete(artifact_key("accuracies", one))
    planned = forecast(known).stages[-1]
    assert (planned.stage, planned.planned, planned.done) == ("evaluate", TESTED, TESTED - 2)
    card = evaluations(known.resolved, lake)[0]
    assert planned.flops < 3 * CONDITIONS * card.images * 1e9


def test_a_failed_test_stops_no_other_and_is_recorded(
    copy: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = copy(execution={"max_identical_failures": 2})
    lake = open_lake(job.lake)
    for one in lake.stored(ACCURACIES):
        lake.objects.delete(artifact_key("accuracies", one))
    whole = inspect.as_seen

    def seen(*args: Any) -> Any:
        if seen.calls == 3:
            seen.calls += 1
            raise ValueError("a broken image")
        seen.calls += 1
        return whole(*args)

    seen.calls = 0  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(inspect, "as_seen", seen)
    done = robustness.run(job, serial=True)
    with pytest.raises(TasksFailed, match="1 task failed, 1 model not tested"):
        done.require_tested()
    assert len(results(job)) == (TESTED - 1) * CONDITIONS
    (failed,) = unfinished(missing_tasks(resolve(job), lake), lake).failed
    assert (failed.task.label, failed.message) == ("test pretrained", "a broken image")
    robustness.run(job, serial=True).require_tested()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("accuracy", 1.001, "must stay in [0, 1]"),
        ("loss", -0.5, "must stay in [0, inf)"),
        ("severity", 7, "must stay in [0, 5]"),
    ],
)
def test_a_value_out_of_its_range_is_found(
    copy: Callable[..., Job], column: str, value: float, expected: str
) -> None:
    job = copy()
    lake = open_lake(job.lake)
    task = evaluations(resolve(job), lake)[0]
    part_id = task.outputs[0].id
    part = lake.read(ACCURACIES, part_id)
    place = part.column_names.index(column)
    values = part[column].to_pylist()
    values[0] = value
    field = part.schema.field(place)
    changed = part.set_column(place, field, [values])
    content = task.outputs[0].content
    lake.write(ACCURACIES, part_id, changed.cast(part.schema), content=content, job="small")
    (wrong,) = [seen for seen in verify(lake) if not isinstance(seen, str)]
    assert expected in wrong.problem


def test_a_reconstruction_has_a_loss_and_no_accuracy(tmp_path: Path) -> None:
    said = {"train": {"task": "reconstruction", "epochs": 1, "learning_rate": 0.01}}
    job = asking(tmp_path / "lake", finetuned=said, from_scratch=None)
    robustness.run(job, serial=True).require_tested()
    found = results(job).loc["finetuned"]
    assert found["accuracy"].isna().all()
    history = pd.read_parquet(Path(job.lake) / result_key("small", "history"))
    trained = history[history["model"] == "finetuned"]["test_loss"]
    clean = found["loss"].xs(("clean", 0), level=("corruption", "severity"))
    assert np.allclose(clean, trained, rtol=1e-6)
    assert not [one for one in verify(open_lake(job.lake)) if not isinstance(one, str)]


def coloured(folder: Path) -> dict[str, Any]:
    """A folder of small photographs, 11 of them to test on, and a job about it."""
    drawn = np.random.default_rng(3)
    for split, count in (("train", 7), ("test", 11)):
        for number in range(count):
            place = folder / split / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            smooth = drawn.integers(0, 256, (4, 4, 3)).astype(np.uint8)
            Image.fromarray(smooth).resize((16, 16)).save(place / f"{number}.png")
    arguments = ARCHITECTURE["arguments"] | {"in_chans": 3}
    train = {"epochs": 1, "batch_size": 4}
    return {
        "data": {"source": "folder", "path": str(folder), "size": 16},
        "images": {"count": 4},
        "pretrained": {"architecture": ARCHITECTURE | {"arguments": arguments}, "train": train},
        "finetuned": {"train": train},
        "from_scratch": None,
    }


def released(job: Job, folder: Path) -> None:
    """Write the published files as if the test images had been corrupted by us."""
    assert isinstance(job.data, ImageFolder)
    clean = load(job.data, "test")
    np.save(folder / "labels.npy", np.tile(clean.labels.numpy(), 5))
    for name in ("snow", "gaussian_noise"):
        levels = [corrupt_all(clean, name, severity) for severity in range(1, 6)]
        np.save(folder / f"{name}.npy", np.concatenate(levels))


def test_published_files_of_the_same_images_give_the_same_numbers(tmp_path: Path) -> None:
    said = coloured(tmp_path / "images")
    asked = ASKED | {"images": 7}
    job = asking(tmp_path / "lake", robustness=asked, **said)
    robustness.run(job, serial=True).require_tested()
    made = results(job)
    files = tmp_path / "CIFAR-10-C"
    files.mkdir()
    released(job, files)
    published = asked | {"source": {"npy": str(files)}}
    job = asking(tmp_path / "lake", robustness=published, **said)
    robustness.run(job, serial=True).require_tested()
    read = results(job)
    assert set(read["source"]) == {"clean", "released"}
    assert read.drop(columns="source").equals(made.drop(columns="source"))
    # Where the files lie is no part of what the result is.
    moved = tmp_path / "moved"
    shutil.copytree(files, moved)
    there = validate_job(
        job.model_dump() | {"robustness": published | {"source": {"npy": str(moved)}}}, ""
    )

    def resolved(job: Job) -> ResolvedJob:
        return ResolvedJob(job, dict.fromkeys(files_of(job), "version"))

    (one, *_), (other, *_) = (
        [test for _, test in resolved(each).corrupted_tests()] for each in (job, there)
    )
    assert one.content == other.content


def test_published_files_are_not_of_a_finetuning_on_other_images(tmp_path: Path) -> None:
    said = coloured(tmp_path / "images")
    other = {**said["data"], "size": 17}
    finetuned = {"train": {"epochs": 1, "data": other}}
    published = ASKED | {"source": {"npy": str(tmp_path)}}
    job = asking(tmp_path / "lake", **said | {"robustness": published, "finetuned": finetuned})
    with pytest.raises(JobError, match="published images are of `data`, and"):
        robustness.run(job, serial=True)


def test_files_of_other_images_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    said = coloured(tmp_path / "images")
    files = tmp_path / "CIFAR-10-C"
    files.mkdir()
    job = asking(tmp_path / "lake", robustness=ASKED | {"source": {"npy": str(files)}}, **said)
    released(job, files)
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


def test_a_classifier_of_other_classes_is_refused(
    copy: Callable[..., Job],
) -> None:
    job = copy()
    lake = Path(job.lake)
    start = evaluations(resolve(job), open_lake(job.lake))[0].model
    three_classes = lake / start.location.removeprefix("lake:")
    said = {
        "checkpoints": f"{three_classes.parent}/{{epoch}}{three_classes.name[1:]}",
        "epochs": [1],
    }
    # The pretrained model knows three classes, and digits have ten.
    data = {"source": "digits", "size": 16}
    with pytest.raises(JobError, match=r"a classifier of 3 classes, and images of `data` are of"):
        robustness.run(copy(finetuned=said, data=data), serial=True)
    found = copy(finetuned=said)
    robustness.run(found, serial=True).require_tested()
    assert len(results(found).loc["finetuned"]) == CONDITIONS
