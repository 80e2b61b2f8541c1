"""A job and the versions of its files are all it takes to plan its inspections and trainings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.job.loader import validate_job
from stir_ray.plan.model_tasks import CollectImages, InspectModel, Train
from stir_ray.plan.resolved_job import ResolvedJob, files_of, is_finetuned
from tests.plan.examples import PRETRAINED, job

FOLDER = {"source": "folder", "path": "images", "size": 8}
OTHER_FOLDER = {"source": "folder", "path": "others", "size": 8}
CHECKPOINT = {"architecture": {"timm": "resnet18"}, "checkpoint": "s3://bucket/pt"}
EPOCHS_ON_DISK = {"checkpoints": "s3://bucket/{epoch}/{epoch}.safetensors", "epochs": [2, 7]}
JOBS: list[dict[str, Any]] = [
    {},
    {"data": FOLDER, "finetuned": {"train": {"epochs": 2, "data": OTHER_FOLDER}}},
    {"data": {"source": "cifar10", "root": "here"}, "images": {"seed": 3}},
    {"data": {"source": "lake", "name": "pets", "size": 224}, "images": {"seed": None}},
    {"pretrained": CHECKPOINT, "finetuned": EPOCHS_ON_DISK, "data": FOLDER},
    {"pretrained": {"timm": "resnet18.a1_in1k"}, "from_scratch": None},
]


def resolved(**changed: Any) -> ResolvedJob:
    """The job with whole top-level keys changed; each file's version names the file."""
    given = job(**changed)
    return ResolvedJob(given, {path: f"version of {path}" for path in files_of(given)})


def trainings(**changed: Any) -> dict[str, Train]:
    """Every training of a job, by name."""
    asked = resolved(**changed)
    tasks = [*asked.independent_trainings(), *asked.finetunings(PRETRAINED)]
    return {task.name: task for task in tasks}


@pytest.mark.parametrize("changed", JOBS)
def test_a_plan_reads_all_versions_and_is_the_same_from_its_own_text(
    changed: dict[str, Any],
) -> None:
    looked: set[str] = set()

    class Versions(dict[str, str]):
        def __getitem__(self, path: str) -> str:
            looked.add(path)
            return super().__getitem__(path)

    first = resolved(**changed)
    asked = ResolvedJob(first.job, Versions(first.versions))
    planned = [*asked.inspections(), *asked.independent_trainings()]
    planned += asked.finetunings(PRETRAINED)
    assert looked == set(first.versions)
    text = json.loads(json.dumps(first.canonical_spec))
    again = ResolvedJob(validate_job({**text, "lake": "elsewhere"}, ""), first.versions)
    assert again.id == first.id
    tasks = [*again.inspections(), *again.independent_trainings(), *again.finetunings(PRETRAINED)]
    assert tasks == planned


@given(seeds=st.sets(st.integers(0, 99), min_size=1), version=st.text(max_size=3))
def test_other_settings_or_files_are_another_job(seeds: set[int], version: str) -> None:
    first = resolved(data=FOLDER, seeds=[3, 101])
    assert resolved(data=FOLDER, seeds=[3, *sorted(seeds - {3})]).id != first.id
    assert ResolvedJob(first.job, {"images": version}).id != first.id


def test_name_lake_and_machines_change_no_task() -> None:
    other = resolved(lake="s3://bucket", execution={"workers": 7, "batch_size": 3})
    assert other.id == resolved().id
    named = resolved(name="other", lake="s3://bucket")
    assert list(named.inspections()) == list(resolved().inspections())
    assert list(named.independent_trainings()) == list(resolved().independent_trainings())


@pytest.mark.parametrize(
    ("pretrained", "finetuned", "expected"),
    [
        (CHECKPOINT, EPOCHS_ON_DISK, True),
        (CHECKPOINT, {**EPOCHS_ON_DISK, "architecture": {"timm": "resnet34"}}, False),
        # Trained on from timm's weights, whose name says the architecture too.
        (
            {"timm": "resnet18.a1_in1k"},
            {"checkpoint": "s3://bucket/ft", "architecture": {"timm": "resnet18"}},
            True,
        ),
        ({"timm": "resnet18.a1_in1k"}, {"timm": "resnet18.a2_in1k"}, False),
        (CHECKPOINT, {"train": {"epochs": 2}}, True),
        (CHECKPOINT, {"architecture": {"timm": "resnet18"}, "random_init": {"seed": 9}}, False),
    ],
)
def test_a_model_that_began_elsewhere_is_not_finetuned(
    pretrained: dict[str, Any], finetuned: dict[str, Any], expected: bool
) -> None:
    assert is_finetuned(job(pretrained=pretrained, finetuned=finetuned)) is expected


def test_every_model_is_inspected_once_with_the_version_of_its_file() -> None:
    collect, model = resolved().inspections()
    assert isinstance(collect, CollectImages)
    assert isinstance(model, InspectModel)
    assert (model.weights, model.version) == ("", "")
    asked = resolved(pretrained=CHECKPOINT, finetuned=EPOCHS_ON_DISK)
    tasks = [task for task in asked.inspections() if isinstance(task, InspectModel)]
    paths = ["s3://bucket/pt", "s3://bucket/2/2.safetensors", "s3://bucket/7/7.safetensors"]
    assert [task.weights for task in tasks] == paths
    assert [task.version for task in tasks] == [f"version of {path}" for path in paths]
    assert len({task.label for task in tasks}) == 3
    # The architecture is that of the pretrained model.
    assert {task.architecture.timm for task in tasks} == {"resnet18"}
    same = resolved(pretrained=CHECKPOINT, finetuned={"checkpoint": "s3://bucket/pt"})
    assert len(list(same.inspections())) == 2


def test_random_weights_are_identified_by_architecture_and_seed_alone() -> None:
    def drawn(seed: int, **changed: Any) -> InspectModel:
        init = {"architecture": {"timm": "resnet18"}, "random_init": {"seed": seed}}
        return resolved(pretrained=init, **changed).inspect_pretrained

    assert drawn(3).id == drawn(3, data={"source": "digits", "classes": [1, 8]}).id
    assert drawn(3).id != drawn(5).id


def test_where_a_dataset_lies_and_its_name_in_the_lake_change_no_id() -> None:
    def outputs(**data: Any) -> list[Any]:
        asked = job(data={"size": 8, **data})
        plan = ResolvedJob(asked, dict.fromkeys(files_of(asked), "same"))
        return [task.outputs for task in (*plan.inspections(), *plan.independent_trainings())]

    assert outputs(source="pets", root="here") == outputs(source="pets", root="there")
    assert outputs(source="lake", name="a") == outputs(source="lake", name="b")
    assert outputs(source="lake", name="a") != outputs(source="pets", root="here")


def test_another_seed_draws_other_images() -> None:
    def image_set(**images: Any) -> Any:
        return resolved(images={"count": 7, **images}).collect_images.outputs

    assert image_set() == image_set(seed=None)
    assert len({image_set(seed=seed) for seed in (None, 0, 1, 2)}) == 4


def test_only_what_does_not_exist_is_trained_and_the_finetuning_from_the_pretrained_model() -> None:
    starts = {name: task.start for name, task in trainings().items()}
    assert starts == {"pretrained": None, "from_scratch": None, "finetuned": PRETRAINED}
    assert set(trainings(pretrained=CHECKPOINT)) == {"finetuned", "from_scratch"}
    assert set(trainings(from_scratch=None)) == {"pretrained", "finetuned"}
    assert set(trainings(finetuned=EPOCHS_ON_DISK)) == {"pretrained", "from_scratch"}


def test_a_training_uses_its_own_data_or_else_that_of_the_job() -> None:
    tasks = trainings(data=FOLDER)
    assert tasks["pretrained"].data.model_dump()["classes"] == (0, 2)
    assert tasks["finetuned"].data == tasks["from_scratch"].data == job(data=FOLDER).data
    versions = {name: task.version for name, task in tasks.items()}
    of_folder = "version of images"
    assert versions == {"pretrained": "", "finetuned": of_folder, "from_scratch": of_folder}


@pytest.mark.parametrize("name", ["finetuned", "from_scratch"])
def test_data_spelled_out_or_left_to_the_job_is_the_same_training(name: str) -> None:
    asked = job()
    spelled_out = asked.model_dump(mode="json")[name]
    spelled_out["train"]["data"] = asked.data.model_dump(mode="json")
    assert trainings(**{name: spelled_out})[name].id == trainings()[name].id


@pytest.mark.parametrize("timm", ["resnet18", "resnet18.a1_in1k"])
def test_all_models_share_the_architecture_of_the_pretrained_one(timm: str) -> None:
    tasks = trainings(pretrained={"timm": timm})
    assert {task.architecture.timm for task in tasks.values()} == {timm}
