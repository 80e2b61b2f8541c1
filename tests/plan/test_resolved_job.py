"""A job and the versions of its files are all it takes to plan it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.job.loader import validate_job
from stir_ray.plan.models import finetunings, independent_trainings, inspections
from stir_ray.plan.resolved_job import ResolvedJob, files_of
from tests.plan.examples import PRETRAINED, job

FOLDER = {"source": "folder", "path": "images", "size": 8}
OTHER_FOLDER = {"source": "folder", "path": "others", "size": 8}
CHECKPOINT = {"architecture": {"timm": "resnet18"}, "checkpoint": "s3://bucket/pt"}
EPOCHS_ON_DISK = {"checkpoints": "s3://bucket/{epoch}.safetensors", "epochs": [2, 7, 11]}
JOBS: list[dict[str, Any]] = [
    {},
    {"data": FOLDER},
    {"data": FOLDER, "finetuned": {"train": {"epochs": 2, "data": OTHER_FOLDER}}},
    {"pretrained": CHECKPOINT},
    {"data": {"source": "cifar10", "root": "here"}, "images": {"seed": 3}},
    {"data": {"source": "lake", "name": "pets", "size": 224}, "images": {"seed": None}},
    {"pretrained": CHECKPOINT, "finetuned": EPOCHS_ON_DISK, "data": FOLDER},
    {"pretrained": {"timm": "resnet18.a1_in1k"}, "from_scratch": None},
]


@pytest.mark.parametrize("changed", JOBS)
def test_a_plan_asks_for_the_files_of_the_job_and_for_no_others(changed: dict[str, Any]) -> None:
    looked: list[str] = []

    def version(path: str) -> str:
        looked.append(path)
        return ""

    said = job(**changed)
    list(inspections(said, version))
    list(independent_trainings(said, version))
    list(finetunings(said, PRETRAINED, version))
    assert set(looked) == set(files_of(said))
    assert len(files_of(said)) == len(set(files_of(said)))


def asked(**changed: Any) -> ResolvedJob:
    """What is asked by a job whose files have these versions."""
    said = job(**changed)
    return ResolvedJob(said, {path: f"version of {path}" for path in files_of(said)})


@pytest.mark.parametrize("changed", JOBS)
def test_what_was_said_says_the_same_again(changed: dict[str, Any]) -> None:
    one = asked(**changed)
    read = json.loads(json.dumps(one.canonical_spec))
    again = ResolvedJob(validate_job({**read, "lake": "elsewhere"}, "record"), dict(one.versions))
    assert again.id == one.id
    assert again.canonical_spec == one.canonical_spec


def test_neither_place_nor_machines_are_part_of_what_is_asked() -> None:
    other = asked(lake="s3://bucket", execution={"workers": 7, "batch_size": 3})
    assert other.id == asked().id


@given(seeds=st.sets(st.integers(0, 99), min_size=1), version=st.text(max_size=3))
def test_other_wishes_or_files_are_another_content(seeds: set[int], version: str) -> None:
    one = asked(data=FOLDER, seeds=[3, 101])
    other = asked(data=FOLDER, seeds=[3, *sorted(seeds - {3})])
    assert one.id != other.id
    assert one.id != ResolvedJob(one.job, {"images": version}).id
