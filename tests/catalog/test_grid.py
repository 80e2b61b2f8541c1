"""Jobs of one file side by side: what they share is computed once, what fails is its own."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from stir_ray.errors import CorruptArtifact, DataError, StorageUnavailable, TasksFailed
from stir_ray.job.loader import Grid, read_jobs
from stir_ray.lake.parquet import open_lake, provenance
from stir_ray.lake.schemas import TRAININGS
from stir_ray.lake.store import ObjectStore
from stir_ray.measures import result_tables
from stir_ray.plan.resolved_job import ResolvedJob
from stir_ray.report import summary
from stir_ray.results.dataset import open_results
from stir_ray.results.reduce import Reduced
from tests.broken import stir_ray
from tests.small_job import small_job
from workflows import finetune, invariance

OPTIMIZER, RATE = "finetuned.train.optimizer", "finetuned.train.learning_rate"
LAYERS, SEEDS, EPOCHS = 2, 3, 1
GRID = {OPTIMIZER: ["adam", "sgd"], RATE: [0.002, 0.01]}
NAMES = [
    f"small-optimizer={optimizer}-learning_rate={rate}"
    for optimizer, rate in product(*GRID.values())
]


def grid_file(folder: Path, grid: dict[str, list], **changed: Any) -> Path:
    """The small job without a baseline, on fewer layers and images, with a grid."""
    fast = {
        "finetuned": {"train": {"epochs": EPOCHS}},
        "from_scratch": None,
        "images": {"count": 5},
        "inversion": {"iterations": 2},
        "layers": [1, 3],
        "seeds": list(range(SEEDS)),
    }
    where = {"lake": str(folder / "lake"), **fast, **changed}
    job = small_job(**where).model_dump(mode="json", exclude_none=True)
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(job | {"grid": grid}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Grid, summary.RunSummary]:
    """A grid of four and what its run came to. Its lake is not to be changed."""
    grid = read_jobs(grid_file(tmp_path_factory.mktemp("grid"), GRID))
    return grid, invariance.run_all(grid, serial=True)


Done = tuple[Grid, summary.RunSummary]


def test_what_the_jobs_of_a_grid_share_is_computed_once(done: Done) -> None:
    grid, summaries = done
    jobs = len(grid.jobs)
    assert dict(summaries.tally.ran) == {
        "inspect": 2,
        "train": 1 + jobs,
        "invert": (1 + jobs * EPOCHS) * LAYERS * SEEDS,
        "compare": jobs * EPOCHS * SEEDS,
    }
    # An artifact tells which file requested it.
    lake = open_lake(grid.shared.lake)
    records = [lake.read(TRAININGS, artifact_id) for artifact_id in lake.stored(TRAININGS)]
    assert {provenance(table)["job"] for table in records} == {"small"}


def test_every_job_of_a_grid_is_complete_under_its_own_name(done: Done) -> None:
    grid, summaries = done
    assert list(summaries.jobs) == [job.name for job in grid.jobs] == NAMES
    summaries.require_complete()
    means = set()
    for name in NAMES:
        folder = Path(grid.shared.lake) / "jobs" / name
        assert {path.stem for path in folder.glob("*.parquet")} == {
            each.name for each in result_tables().values()
        }
        assert len(list((folder / "specs").iterdir())) == 1
        means.add(float(open_results(str(folder))["stir"].sel(epoch=EPOCHS).mean()))
    assert len(means) == len(NAMES)


def test_a_finished_grid_starts_no_task_and_neither_does_one_of_its_jobs(done: Done) -> None:
    grid, _ = done
    assert invariance.run_all(grid, serial=True).tally.tasks == 0
    assert invariance.run(grid.jobs[2], serial=True).tally.tasks == 0


def test_verbs_about_one_job_go_through_all_of_a_file(done: Done, tmp_path: Path) -> None:
    path = grid_file(tmp_path, GRID, lake=done[0].shared.lake)
    for verb in ("status", "reduce", "failures"):
        code, output, error = stir_ray(verb, path)
        assert code == 0, error
        assert [line[:-1] for line in output.splitlines() if line[:-1] in NAMES] == NAMES
    code, output, _ = stir_ray("failures", path, "--json")
    assert (code, json.loads(output)) == (
        0,
        {name: {"failed": [], "not_attempted": 0} for name in NAMES},
    )
    code, output, _ = stir_ray("reduce", path, "--set", f"{OPTIMIZER}=sgd", "--set", f"{RATE}=0.01")
    assert (code, f"/jobs/{NAMES[3]}" in output) == (0, True)
    assert NAMES[0] not in output
    code, output, _ = stir_ray("verify", path)
    assert (code, "0 are damaged, 0 do not belong" in output) == (0, True)
    code, output, _ = stir_ray("gc", path)
    assert (code, output) == (0, "Nothing is unused.\n")


def test_the_status_of_a_grid_lists_each_table_once(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = grid_file(tmp_path, GRID, lake=done[0].shared.lake)
    listings, original = Counter[str](), ObjectStore.list

    def count(store: ObjectStore, folder: str) -> dict[str, int]:
        listings[folder] += folder.startswith("artifacts/")
        return original(store, folder)

    monkeypatch.setattr(ObjectStore, "list", count)
    assert stir_ray("status", path)[0] == 0
    assert max(listings.values()) == 1


def test_what_is_wrong_with_a_job_of_a_file_is_an_error_and_no_output(tmp_path: Path) -> None:
    path = grid_file(tmp_path, {RATE: [0.002, 0.01]})
    code, output, error = stir_ray("reduce", path)
    names = [job.name for job in read_jobs(path).jobs]
    assert code != 0
    assert output.split() == [f"{name}:" for name in names]
    assert all(f"{name}: " in error for name in names)


def test_a_training_that_diverges_stops_no_other_job(tmp_path: Path) -> None:
    # As many as would stop a run, before the one that is sound.
    serial = {"max_identical_failures": 2, "threads_per_worker": 1}
    path = grid_file(tmp_path, {RATE: [1e30, 1e29, 0.01]}, execution=serial, seeds=[0])
    code, output, error = stir_ray("run", path, "--serial")
    assert code == 3, error
    last = error.strip().splitlines()[-1]
    wild, other, sound = (f"small-learning_rate={rate}" for rate in ("1e30", "1e29", "0.01"))
    assert f"2 tasks failed, 2 of 3 jobs are incomplete: {wild}, {other};" in last
    finetuned = {"epoch": EPOCHS, "direction": "ft|ft"}
    for name, has_numbers in ((sound, True), (wild, False)):
        stir = open_results(str(tmp_path / "lake" / "jobs" / name))["stir"]
        assert stir.sel(epoch=0).notnull().all()
        assert stir.sel(finetuned).notnull().any() == has_numbers
    code, output, _ = stir_ray("failures", path)
    of_wild, of_sound = output.split(f"{sound}:")
    assert f"--set {RATE}=1e30 --class permanent" in of_wild
    assert "No task of this job failed" in of_sound
    code, output, error = stir_ray("finetune", path, "--serial")
    assert (code, f"{wild}, {other}: " in error) == (3, True)
    assert "2 tasks ran, 2 failed" in output


def test_a_pretraining_that_fails_leaves_the_jobs_that_start_from_another(tmp_path: Path) -> None:
    rate = "pretrained.train.learning_rate"
    grid = read_jobs(grid_file(tmp_path, {rate: [1e30, 0.002]}, seeds=[0]))
    summaries = invariance.run_all(grid, serial=True)
    missing = [summary.reduced.missing for summary in summaries.jobs.values()]
    assert missing == [summaries.jobs["small-learning_rate=1e30"].reduced.cells, 0]
    with pytest.raises(TasksFailed, match="1 of 2 jobs are incomplete: small-learning_rate=1e30;"):
        summaries.require_complete()


def test_a_job_that_cannot_be_reduced_keeps_no_other_from_it_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = grid_file(tmp_path, {RATE: [0.002, 0.005, 0.01]}, seeds=[0])
    first, second, third = (f"small-learning_rate={rate}" for rate in ("0.002", "0.005", "0.01"))
    really, errors = (
        summary.reduce_job,
        {first: StorageUnavailable("late"), second: CorruptArtifact("part x")},
    )

    def reduce_job(resolved: ResolvedJob, *output: Any) -> Reduced:
        if resolved.job.name in errors:
            raise errors[resolved.job.name]
        return really(resolved, *output)

    monkeypatch.setattr(summary, "reduce_job", reduce_job)
    code, output, error = stir_ray("run", path, "--serial")
    last = error.strip().splitlines()[-1]
    assert code == StorageUnavailable.exit_code
    assert f"2 of 3 jobs have no results of this run: {first}, {second}; the first: late" in last
    assert (f"{second}: part x" in output, f"/{third}" in output) == (True, True)
    assert (tmp_path / "lake" / "jobs" / third / "results.parquet").is_file()
    # Alone, it is its own error.
    del errors[first]
    code, _, error = stir_ray("run", path, "--serial", "--set", f"{RATE}=0.005")
    assert code == CorruptArtifact.exit_code
    assert error.strip().splitlines()[-1].startswith("stir-ray: part x; ")


def test_a_plan_of_a_grid_counts_once_what_its_jobs_share(done: Done, tmp_path: Path) -> None:
    _, summaries = done
    path = grid_file(tmp_path, GRID)
    code, output, error = stir_ray("plan", path, "--json")
    assert code == 0, error
    *alone, total = json.loads(output).values()
    assert {each["stage"]: each["to_do"] for each in total["stages"]} == dict(summaries.tally.ran)
    compare = [each["stages"][-1]["flops"] for each in (*alone, total)]
    assert compare[-1] == pytest.approx(sum(compare[:-1]))
    assert total["total"]["flops"] < sum(each["total"]["flops"] for each in alone)
    code, output, _ = stir_ray("plan", path)
    assert (code, "All 4 jobs in one run, what they share counted once:" in output) == (0, True)


def test_a_job_that_does_not_fit_is_named_and_nothing_is_trained(tmp_path: Path) -> None:
    digits = {"source": "digits", "classes": [5, 6]}
    small, fits = ({**digits, "size": size} for size in (8, 16))
    path = grid_file(tmp_path, {"data": [{"label": "fits", "value": fits}, small]})
    grid = read_jobs(path)
    with pytest.raises(DataError, match=f"^{grid.jobs[1].name}: `data`: images are 1 x 8 x 8"):
        finetune.run_all(grid, serial=True)
    assert not open_lake(grid.shared.lake).stored(TRAININGS)
