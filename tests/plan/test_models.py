"""Laws of what comes before measuring: inspections and trainings."""

from __future__ import annotations

from typing import Any

import pytest

from stir_ray.plan.models import (
    architecture_of,
    finetunings,
    independent_trainings,
    inspect_pretrained,
    inspections,
    is_finetuned,
)
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from tests.plan.examples import PRETRAINED, job

CHECKPOINT = {"architecture": {"timm": "resnet18"}, "checkpoint": "s3://bucket/pt"}
EPOCHS_ON_DISK = {"checkpoints": "s3://bucket/{epoch}/{epoch}.safetensors", "epochs": [2, 7]}


def version(path: str) -> str:
    """A stand-in that says which file was asked about."""
    return f"version of {path}"


def trainings(**changed: Any) -> dict[str, Train]:
    """Every training of a job, by name."""
    asked = job(**changed)
    tasks = [*independent_trainings(asked, version), *finetunings(asked, PRETRAINED, version)]
    return {task.name: task for task in tasks}


def test_a_job_that_trains_everything_inspects_images_and_architecture() -> None:
    gather, model = inspections(job(), version)
    assert isinstance(gather, CollectImages)
    assert isinstance(model, InspectModel)
    assert (model.weights, model.version) == ("", "")


A, B = {"timm": "resnet18"}, {"timm": "resnet34"}


@pytest.mark.parametrize(
    ("pretrained", "finetuned", "expected"),
    [
        (CHECKPOINT, EPOCHS_ON_DISK, True),
        (CHECKPOINT, {**EPOCHS_ON_DISK, "architecture": B}, False),
        (CHECKPOINT, {"checkpoint": "s3://bucket/ft"}, True),
        # Trained on from timm's weights, whose name says the architecture too.
        ({"timm": "resnet18.a1_in1k"}, {"checkpoint": "s3://bucket/ft", "architecture": A}, True),
        ({"timm": "resnet18.a1_in1k"}, {"timm": "resnet18.a2_in1k"}, False),
        ({"architecture": A, "random_init": {"seed": 3}}, {"train": {"epochs": 2}}, True),
        (
            {"architecture": A, "random_init": {"seed": 3}},
            {"architecture": A, "random_init": {"seed": 9}},
            False,
        ),
    ],
)
def test_a_model_that_began_elsewhere_is_not_finetuned(
    pretrained: dict[str, Any], finetuned: dict[str, Any], expected: bool
) -> None:
    assert is_finetuned(job(pretrained=pretrained, finetuned=finetuned)) is expected


def test_random_weights_are_known_by_architecture_and_seed_alone() -> None:
    def drawn(seed: int, **changed: Any) -> InspectModel:
        untrained = {"architecture": {"timm": "resnet18"}, "random_init": {"seed": seed}}
        return inspect_pretrained(job(pretrained=untrained, **changed), version)

    assert drawn(3).id == drawn(3, data={"source": "digits", "classes": [1, 8]}).id
    assert drawn(3).id != drawn(5).id
    assert drawn(3).version == ""


def test_every_checkpoint_on_disk_is_inspected_with_its_version() -> None:
    asked = job(pretrained=CHECKPOINT, finetuned=EPOCHS_ON_DISK)
    found = [task for task in inspections(asked, version) if isinstance(task, InspectModel)]
    paths = ["s3://bucket/pt", "s3://bucket/2/2.safetensors", "s3://bucket/7/7.safetensors"]
    assert [task.weights for task in found] == paths
    assert [task.version for task in found] == [version(path) for path in paths]
    assert len({task.label for task in found}) == 3
    assert {task.architecture.timm for task in found} == {"resnet18"}


def test_a_folder_of_images_is_gathered_and_trained_on_by_its_version() -> None:
    folder = {"source": "folder", "path": "images", "size": 8}
    gather, _ = inspections(job(data=folder), version)
    assert isinstance(gather, CollectImages)
    assert gather.version == version("images")
    versions = {name: task.version for name, task in trainings(data=folder).items()}
    # The pretrained model is trained on digits, which ship with a package.
    assert versions == {
        "pretrained": "",
        "finetuned": version("images"),
        "from_scratch": version("images"),
    }


def test_where_a_dataset_lies_and_its_name_in_the_lake_change_no_id() -> None:
    def parts(data: dict[str, Any]) -> list[Any]:
        asked = job(data=data)
        tasks = [*inspections(asked, lambda _: "same"), *independent_trainings(asked, lambda _: "")]
        return [task.outputs for task in tasks]

    pets = {"source": "pets", "size": 8}
    assert parts({**pets, "root": "here"}) == parts({**pets, "root": "there"})
    in_lake = {"source": "lake", "size": 8}
    assert parts({**in_lake, "name": "one"}) == parts({**in_lake, "name": "other"})
    assert parts({**in_lake, "name": "one"}) != parts({**pets, "root": "here"})


def test_another_seed_draws_other_images() -> None:
    def image_set(**images: Any) -> Any:
        gather, _ = inspections(job(images={"count": 7, **images}), version)
        return gather.outputs

    assert image_set() == image_set(seed=None) != image_set(seed=0)
    assert len({image_set(seed=seed) for seed in range(5)}) == 5


def test_weights_by_timms_name_have_no_file_to_ask_about() -> None:
    def refuse(path: str) -> str:
        raise AssertionError(path)

    task = inspect_pretrained(job(pretrained={"timm": "resnet18.a1_in1k"}), refuse)
    untrained = inspect_pretrained(job(), refuse)
    assert task.architecture.timm == "resnet18.a1_in1k"
    assert task.weights
    assert task.outputs != untrained.outputs


def test_name_lake_and_machines_of_a_job_change_no_id() -> None:
    other = job(name="other", lake="s3://bucket", execution={"workers": 7, "batch_size": 3})
    ids = [task.outputs for task in inspections(job(), version)]
    assert [task.outputs for task in inspections(other, version)] == ids
    assert [task.id for task in independent_trainings(other, version)] == [
        task.id for task in independent_trainings(job(), version)
    ]


def test_only_the_finetuning_starts_from_the_pretrained_model() -> None:
    starts = {name: task.start for name, task in trainings().items()}
    assert starts == {"pretrained": None, "from_scratch": None, "finetuned": PRETRAINED}


def test_what_exists_already_is_not_trained() -> None:
    assert set(trainings(pretrained=CHECKPOINT)) == {"finetuned", "from_scratch"}
    assert set(trainings(from_scratch=None)) == {"pretrained", "finetuned"}
    assert set(trainings(finetuned=EPOCHS_ON_DISK)) == {"pretrained", "from_scratch"}


def test_a_training_sees_its_own_data_or_else_that_of_the_job() -> None:
    tasks = trainings()
    assert tasks["pretrained"].data.model_dump()["classes"] == (0, 2)
    assert tasks["finetuned"].data == tasks["from_scratch"].data == job().data


@pytest.mark.parametrize("name", ["finetuned", "from_scratch"])
def test_data_spelled_out_or_left_to_the_job_is_the_same_training(name: str) -> None:
    asked = job()
    said = asked.model_dump(mode="json")[name]
    said["train"]["data"] = asked.data.model_dump(mode="json")
    assert trainings(**{name: said})[name].id == trainings()[name].id


@pytest.mark.parametrize(
    ("pretrained", "expected"),
    [(CHECKPOINT, "resnet18"), ({"timm": "resnet18.a1_in1k"}, "resnet18.a1_in1k")],
)
def test_all_models_share_the_architecture_of_the_pretrained_one(
    pretrained: dict[str, Any], expected: str
) -> None:
    assert architecture_of(job(pretrained=pretrained)).timm == expected
    tasks = trainings(pretrained=pretrained)
    assert {task.architecture.timm for task in tasks.values()} == {expected}
