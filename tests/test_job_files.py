"""Laws of job files: what stands there is what is run, and files in jobs/ can be run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.job.loader import read_job, read_jobs, schema_text, validate_job

JOBS = Path(__file__).parents[1] / "jobs"
DIGITS = JOBS / "digits.yaml"
FILES = sorted(path for path in JOBS.rglob("*.yaml") if path.parent.name != "kubernetes")

SMALLEST: dict[str, Any] = {
    "schema_version": 1,
    "name": "smallest",
    "lake": "./lake",
    "data": {"source": "digits"},
    "pretrained": {"timm": "vit_base_patch32_224.augreg_in1k"},
    "finetuned": {"train": {"epochs": 3}},
}


@pytest.fixture(params=FILES, ids=lambda path: path.relative_to(JOBS).as_posix())
def file(request: pytest.FixtureRequest) -> Path:
    """Every job file that ships with the project."""
    return request.param


def test_a_job_file_can_be_run_names_the_schema_and_survives_being_written(file: Path) -> None:
    for job in read_jobs(file).jobs:
        assert Job.model_validate(job.model_dump()) == job
        assert Job.model_validate_json(job.model_dump_json()) == job
    mark, schema = file.read_text(encoding="utf-8").splitlines()[0].split("$schema=")
    assert mark == "# yaml-language-server: "
    assert (file.parent / schema).resolve() == JOBS / "schema.json"


def test_no_two_job_files_have_one_name() -> None:
    # They would write their results into the same folder of a lake.
    names = [point.job.name for file in FILES for point in read_jobs(file).points]
    assert len(set(names)) == len(names)


def test_the_shipped_schema_is_that_of_the_code_and_has_every_key() -> None:
    shipped = (JOBS / "schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(), "run `stir-ray schema > jobs/schema.json`"
    schema = json.loads(schema_text())
    assert set(schema["properties"]) == {*Job.model_fields, "grid"}
    assert set(schema["else"]["required"]) == set(SMALLEST)
    # What the grid gives may be missing elsewhere.
    assert schema["if"] == {"required": ["grid"]}
    assert set(schema["then"]["required"]) == {"schema_version", "name", "lake"}


@pytest.mark.parametrize(
    "values",
    [
        {"finetuned": {"checkpoints": "s3://bucket/{epoch}.safetensors", "epochs": "2-5"}},
        {"pretrained": {"architecture": {"timm": "resnet18"}, "checkpoint": "weights"}},
        {"pretrained": {"architecture": {"timm": "resnet18"}, "train": {"epochs": 2}}},
        {"data": {"source": "folder", "path": "images", "size": 7, "channels": 1}},
        {"layers": [5, 2, 3], "keep_images": "all", "seeds": "3-7"},
        {"keep_images": {"sample": 3}, "layers": "all", "from_scratch": {"train": {"epochs": 2}}},
    ],
)
def test_every_member_of_a_union_survives_being_written_and_read_again(
    values: dict[str, Any],
) -> None:
    job = validate_job(SMALLEST | values, "here")
    assert job != validate_job(SMALLEST, "here")
    assert Job.model_validate_json(job.model_dump_json()) == job


@given(first=st.integers(0, 40), count=st.integers(1, 40), space=st.sampled_from(["", " "]))
def test_a_range_means_the_list_of_its_numbers(first: int, count: int, space: str) -> None:
    last = first + count - 1
    numbers = list(range(first, last + 1))
    spelled = f"{first}{space}-{space}{last}"
    assert list(validate_job(SMALLEST | {"seeds": spelled}, "here").seeds) == numbers
    assert validate_job(SMALLEST | {"seeds": numbers}, "here").seeds == tuple(numbers)
    layers = f"{first + 1}{space}-{space}{last + 1}"
    assert validate_job(SMALLEST | {"layers": layers}, "here").layers == tuple(
        number + 1 for number in numbers
    )


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("name=other", "name", "other"),
        ("finetuned.train.learning_rate=3e-2", "finetuned.train.learning_rate", 0.03),
        ("seeds=3-5", "seeds", (3, 4, 5)),
        ("layers=all", "layers", "all"),
        ("layers=[5, 2, 3]", "layers", (2, 3, 5)),
        ("from_scratch=", "from_scratch", None),
        ("keep_images={sample: 5}", "keep_images.sample", 5),
        ("lake=s3://bucket/a=b", "lake", "s3://bucket/a=b"),
    ],
)
def test_an_override_says_what_the_file_could_have_said(
    override: str, key: str, expected: object
) -> None:
    value: Any = read_job(DIGITS, [override])
    for name in key.split("."):
        value = getattr(value, name)
    assert value == expected


def test_an_override_makes_the_levels_that_the_file_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(SMALLEST), encoding="utf-8")
    job = read_job(file, ["from_scratch.train.epochs=5", "images.split=train"])
    assert job.from_scratch is not None
    assert (job.from_scratch.train.epochs, job.images.split) == (5, "train")


def test_an_override_changes_nothing_else_and_the_last_one_wins() -> None:
    job = read_job(DIGITS)
    changed = read_job(DIGITS, ["images.count=5", "images.count=7"])
    expected = job.images.model_copy(update={"count": 7})
    assert changed == job.model_copy(update={"images": expected})


@pytest.mark.parametrize(
    "override", ["layers", "=3", "images..count=3", ".=3", "name.first=x", "seeds=[0", "a=b: c: d"]
)
def test_a_malformed_override_is_named(override: str) -> None:
    with pytest.raises(JobError) as caught:
        read_job(DIGITS, [override])
    assert f"--set {override}" in str(caught.value)
    assert "\n" not in str(caught.value)
