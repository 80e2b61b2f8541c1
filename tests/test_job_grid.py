"""Laws of grids: a job for every combination of values, each with a name that leads back to it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import JobError
from stir_ray.job.loader import MOST_POINTS, label_of, read_content, read_job, read_jobs
from stir_ray.job.spec import LONGEST_NAME, Job
from tests.test_job_files import SMALLEST

RATE, OPTIMIZER = "finetuned.train.learning_rate", "finetuned.train.optimizer"
DIGITS, LARGE = {"source": "digits"}, {"source": "digits", "size": 24}
VALUES: dict[str, st.SearchStrategy] = {
    RATE: st.floats(1e-30, 1e30),
    OPTIMIZER: st.sampled_from(["sgd", "adam", "adamw"]),
    "pretrained.timm": st.text("/ab:=-.é ", min_size=1),
    "finetuned.train.data": st.sampled_from([None, DIGITS, LARGE]),
    "from_scratch.train.epochs": st.integers(1, 10**30),
    "seeds": st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True),
    "assume_self_stir_one": st.booleans(),
}
GRIDS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True).flatmap(
    lambda paths: st.fixed_dictionaries(
        {path: st.lists(VALUES[path], min_size=1, max_size=2, unique_by=label_of) for path in paths}
    )
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid") / "job.yaml"


def written(path: Path, grid: object, **changed: Any) -> Path:
    """A file with the smallest job and a grid."""
    path.write_text(json.dumps(SMALLEST | changed | {"grid": grid}), encoding="utf-8")
    return path


def value_at(job: Job, path: str) -> Any:
    value: Any = job
    for key in path.split("."):
        value = getattr(value, key)
    return value


@given(grid=GRIDS, name=st.sampled_from(["a", "b" * (LONGEST_NAME - 9), "c" * LONGEST_NAME]))
def test_a_grid_has_a_job_of_its_own_name_for_every_combination(
    path: Path, grid: dict[str, list], name: str
) -> None:
    jobs = read_jobs(written(path, grid, name=name)).jobs
    names = {job.name for job in jobs}
    assert len(jobs) == len(names) == math.prod(len(values) for values in grid.values())
    assert all(len(each) <= LONGEST_NAME and each.startswith(name[:80]) for each in names)


@given(grid=GRIDS)
def test_pins_choose_a_job_and_a_file_with_overrides_can_be_written(
    path: Path, grid: dict[str, list]
) -> None:
    points = read_jobs(written(path, grid)).points
    for point in (points[0], points[len(points) // 2], points[-1]):
        assert read_jobs(path, point.pins).points == (point,)
    overrides = [*points[-1].pins[:1], "images.count=7"]
    expected = read_jobs(path, overrides)
    content = read_content(path, overrides)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    assert read_jobs(path) == expected


def test_the_last_key_changes_first_and_only_what_the_grid_says(path: Path) -> None:
    grid = {OPTIMIZER: ["adam", "sgd"], RATE: [0.5, 1e-3, 7]}
    jobs = read_jobs(written(path, grid)).jobs
    values = [(value_at(job, OPTIMIZER), value_at(job, RATE)) for job in jobs]
    assert values == [(name, rate) for name in ("adam", "sgd") for rate in (0.5, 1e-3, 7)]
    assert jobs[3].name == "smallest-optimizer=sgd-learning_rate=0.5"
    alone = path.with_name("alone.yaml")
    alone.write_text(json.dumps(SMALLEST), encoding="utf-8")
    sets = [f"{OPTIMIZER}=sgd", f"{RATE}=0.5", f"name={jobs[3].name}"]
    assert read_job(alone, sets) == jobs[3]


@pytest.mark.parametrize("choice", ["0.01", "1e-2", "1.0e-2", ".01", "0.0100"])
def test_a_number_is_chosen_however_it_is_written(path: Path, choice: str) -> None:
    written(path, {RATE: [0.01, 0.1]})
    assert read_job(path, [f"{RATE}={choice}"]).name == "smallest-learning_rate=0.01"


@pytest.mark.parametrize("choice", ["large", "{source: digits, size: 24}", json.dumps(LARGE)])
def test_a_label_stands_for_its_value(path: Path, choice: str) -> None:
    written(path, {"data": [DIGITS, {"label": "large", "value": LARGE}]})
    job = read_job(path, [f"data={choice}"])
    assert (job.name, job.data.size) == ("smallest-data=large", 24)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (f"{OPTIMIZER}=adamw", ["the grid has sgd, adam", "did you mean `adam`?"]),
        (f"{RATE}=7", ["the grid has 0.01, 0.1", "add it to the file"]),
        (f"{OPTIMIZER}=https://me:hunter2@host/", ["the grid has sgd, adam"]),
    ],
)
def test_a_value_that_the_grid_does_not_have_is_refused(
    path: Path, override: str, parts: list[str]
) -> None:
    written(path, {OPTIMIZER: ["sgd", "adam"], RATE: [0.01, 0.1]})
    with pytest.raises(JobError, match=f"^--set {override.partition('=')[0]}=") as caught:
        read_jobs(path, [override])
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message
    assert "hunter2" not in message


def test_a_grid_may_give_what_stands_nowhere_else(path: Path) -> None:
    written(path, {"data": [DIGITS]}, data=None)
    content = json.loads(path.read_text())
    del content["data"]
    path.write_text(json.dumps(content))
    assert [job.data.source for job in read_jobs(path).jobs] == ["digits"]


def test_without_a_grid_there_is_one_job_and_it_keeps_its_name(path: Path) -> None:
    grid = read_jobs(written(path, None))
    assert grid.jobs == (read_job(path),)
    assert grid.name == grid.jobs[0].name == "smallest"
    assert read_jobs(written(path, {RATE: [1, 2]}), ["grid="]) == grid


def test_who_needs_one_job_is_told_how_to_choose_it(path: Path) -> None:
    written(path, {OPTIMIZER: ["sgd", "adam"], RATE: [0.01, 0.1, 1]})
    with pytest.raises(JobError, match="a grid of 6 jobs") as caught:
        read_job(path)
    assert f"--set {OPTIMIZER}=sgd --set {RATE}=0.01" in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ({}, ["grid", "a.b.c: [value"]),
        ({RATE: 0.5}, [RATE, "expected a list"]),
        ({RATE: [0.5, 1, 0.5]}, [RATE, "0.5 is given twice"]),
        ({RATE: [0.001, "1e-3"]}, [RATE, "0.001 is given twice"]),
        ({"data": [DIGITS, DIGITS]}, ["`data`", "is given twice"]),
        ({"data": [{"label": "a b", "value": DIGITS}]}, ["`data`", "label `a b`", "letters"]),
        ({"data": [DIGITS], "data.size": [8]}, ["`data.size` lies inside `data`"]),
        ({"finetuned..epochs": [3]}, ["`finetuned..epochs`", "dotted path"]),
        ({"lake": ["a", "b"]}, ["`lake`", "share"]),
        ({"execution.workers": [1, 2]}, ["`execution.workers`", "share `execution`"]),
        ({"lake_x": [3]}, ["smallest-lake_x=3", "unknown key `lake_x`"]),
        (
            {"finetuned.train.optimiser": ["sgd", "adam"]},
            ["smallest-optimiser=sgd: unknown key `finetuned.train.optimiser`", "`optimizer`"],
        ),
        (
            {RATE: [0.1, 0], OPTIMIZER: ["sgd"]},
            [f"smallest-learning_rate=0-optimizer=sgd: `{RATE}: 0`", "greater than 0"],
        ),
        ({"images.count.x": [3]}, ["images.count.x", "inside a value"]),
        (
            {"seeds": [[n] for n in range(1009)], RATE: list(range(11))},
            ["1009 x 11 = 11099 jobs", f"at most {MOST_POINTS}"],
        ),
        (
            {"pretrained.timm": ["https://host/a?sig=hunter2", "b"]},
            ["pretrained.timm", "keep it in the machine's environment"],
        ),
    ],
)
def test_a_bad_grid_is_told_by_file_point_key_value_and_expectation(
    path: Path, grid: object, parts: list[str]
) -> None:
    written(path, grid, images={"count": 8})
    with pytest.raises(JobError) as caught:
        read_jobs(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert [part for part in parts if part not in message] == [], message
    assert "hunter2" not in message


@pytest.mark.parametrize("override", ["data.size=24", f"grid.{RATE}=1", "grid.data.size=3"])
def test_an_override_that_a_grid_would_undo_is_refused(path: Path, override: str) -> None:
    written(path, {"data": [DIGITS, LARGE], RATE: [1, 2]})
    with pytest.raises(JobError, match=f"--set {override}") as caught:
        read_jobs(path, [override])
    assert "\n" not in str(caught.value)
