"""What a person reads who made a mistake in a job file: one line with file, key, value, remedy."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.job.loader import read_job
from tests.test_job_files import SMALLEST

ARCHITECTURE = {"timm": "resnet18"}


def complaint(path: Path) -> str:
    """What is said of a file that cannot be run: one line that begins with its name."""
    with pytest.raises(JobError) as caught:
        read_job(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    assert caught.value.exit_code == 2
    return message


def with_value(place: str, value: object) -> dict[str, Any]:
    """The smallest job with one value in place of its own; missing levels are made."""
    said = copy.deepcopy(SMALLEST)
    *parents, last = place.split(".")
    level = said
    for key in parents:
        level = level.setdefault(key, {})
    level[last] = value
    return said


@pytest.mark.parametrize(
    ("place", "value", "parts"),
    [
        ("lakes", "x", ["unknown key `lakes`", "did you mean `lake`?"]),
        ("finetuned.train.epoch", 3, ["`finetuned.train.epoch`", "did you mean `epochs`?"]),
        ("zzzz", 3, ["unknown key `zzzz`", "stir-ray schema"]),
        ("execution.gpus_per_worker", 2, ["`execution.gpus_per_worker: 2", "0 to 1", "`workers`"]),
        ("execution.gpus_per_worker", -1, ["`execution.gpus_per_worker: -1", "equal to 0"]),
        ("finetuned.train.epochs", "many", ['`finetuned.train.epochs: "many"`', "integer"]),
        ("finetuned.train.epochs", 2.5, ["`finetuned.train.epochs: 2.5`", "integer"]),
        ("finetuned.train.warmup_epochs", 3, ["finetuned.train", "warmup_epochs", "below", "(3)"]),
        ("finetuned.train.learning_rate", 0, ["`finetuned.train.learning_rate: 0`", "than 0"]),
        ("finetuned.train.optimizer", "lion", ["optimizer", "lion", "'sgd'", "'adam'", "'adamw'"]),
        ("finetuned.train", None, ["`finetuned.train: null`"]),
        ("layers", [3, 0], ["layers", "0", "greater than 0"]),
        ("layers", "0-3", ["layers", "0", "greater than 0"]),
        ("robustness.severities", [1, 6], ["robustness.severities", "6 is no severity", "1 to 5"]),
        ("robustness.corruptions", "some", ["`benchmark`", "`all`", "list of corruptions"]),
        ("robustness.corruptions", ["mist"], ["robustness.corruptions.0", "mist", "'fog'"]),
        ("robustness.corruptions", ["fog", "fog"], ["fog stands there twice"]),
        ("robustness.source", "npy", ["`regenerated`", "`{npy: folder}`"]),
        ("similarities", ["pwcca"], ["similarities.0", "pwcca", "`procrustes`", "bandwidth"]),
        ("similarities", "procrustes", ["`similarities", "procrustes"]),
        ("similarities", [{"rbf_cka": 0}], ["rbf_cka", "0", "greater than 0"]),
        ("similarities", ["rbf_cka", {"rbf_cka": 1}], ["rbf_cka of bandwidth 1", "twice"]),
        ("layers", "last", ['`layers: "last"`', "`all`", "layer numbers"]),
        ("layers", 7, ["`layers: 7`", "list", "range"]),
        ("layers", [], ["`layers: []`", "at least 1"]),
        ("layers", "5-3", ['`layers: "5-3"`', "at least 1"]),
        ("layers", [2, 5, 2], ["`layers: [2, 5, 2]`", "2 stands there twice"]),
        ("seeds", [7, 3, 7], ["`seeds: [7, 3, 7]`", "7 stands there twice"]),
        ("seeds", [-1], ["seeds", "-1", "0"]),
        ("seeds", [2**63], ["seeds", "9223372036854775808", "less than"]),
        (
            "inversion",
            {"init": "gray", "preset": "paper"},
            ["`inversion.init: gray` is one start for all seeds"],
        ),
        ("seedz", 3, ["unknown key `seedz`", "did you mean `seeds`?"]),
        ("lake", "", ['`lake: ""`', "at least 1"]),
        ("images.count", 3, ["`images.count: 3`", "4"]),
        ("images", ["test", 64], ["`images: [", "`split`, `count`"]),
        ("execution.time_limits_s", 60, ["`execution.time_limits_s: 60`", "`train`, `invert`"]),
        ("images.split", "validation", ["images.split", "validation", "'train' or 'test'"]),
        ("data.source", "cifar", ["cifar", "`source: digits`", "`source: folder`"]),
        ("data", "digits", ['`data: "digits"`', "`source: digits`"]),
        ("data.classes", [5, 12], ["data", "class 12", "0 to 9"]),
        ("data.classes", [5], ["data.classes", "at least 2"]),
        ("data.path", "images", ["unknown key `data.path`"]),
        ("finetuned", {"checkpoints": "a.pt", "epochs": [1]}, ["finetuned", "a.pt", "{epoch}"]),
        ("finetuned", None, ["`finetuned: null`", "`train`", "`checkpoints`"]),
        ("pretrained", "vit", ['`pretrained: "vit"`', "`train`", "`checkpoint`", "`timm`"]),
        (
            "finetuned",
            {"checkpoints": "{epoch}.safetensors", "epochs": [2, 5, 3]},
            ["finetuned", "epochs must ascend"],
        ),
        (
            "finetuned",
            {"train": {"epochs": 9}, "epochs": [0, 10]},
            ["finetuned", "`epochs`: 10 is past the last (9)"],
        ),
        ("finetuned", {"train": {"epochs": 9}, "epochs": "last"}, ["epochs", "`all` or a list"]),
        ("finetuned", {}, ["`finetuned: {}`", "`train`", "`checkpoints`"]),
        ("pretrained", {}, ["`pretrained: {}`", "`train`", "`checkpoint`", "`timm`"]),
        ("pretrained", {"architecture": ARCHITECTURE}, ["`train`", "`checkpoint`", "`timm`"]),
        ("pretrained", {"train": {"epochs": 3}}, ["`pretrained.architecture` is missing"]),
        ("pretrained", {"checkpoint": "a"}, ["`pretrained.architecture` is missing"]),
        ("name", "a/b", ['`name: "a/b"`', "match"]),
        ("name", "", ['`name: ""`']),
        ("name", 5, ["`name: 5`", "string"]),
        ("schema_version", 2, ["`schema_version: 2`", "1"]),
        ("keep_images", "some", ['`keep_images: "some"`', "`none`", "`all`", "`{sample: n}`"]),
        ("keep_images", {"sample": 0}, ["`keep_images.sample: 0`", "greater than 0"]),
        ("representation", "pixels", ["representation", "pixels", "'tokens'", "'patch_mean'"]),
        ("inversion.preset", "papers", ["inversion.preset", "papers", "'default' or 'paper'"]),
        ("inversion.iterations", 1, ["`inversion.iterations: 1`", "greater than or equal to 2"]),
        ("inversion.step_size", float("nan"), ["`inversion.step_size: NaN`", "finite"]),
        ("inversion.step_size", float("inf"), ["`inversion.step_size: Infinity`", "finite"]),
        (
            "pretrained",
            {"architecture": ARCHITECTURE | {"mean": [float("nan")]}, "checkpoint": "a"},
            ["`pretrained.architecture.mean.0: NaN`", "finite"],
        ),
        (
            "pretrained",
            {"architecture": ARCHITECTURE | {"arguments": {"pretrained": True}}, "checkpoint": "a"},
            ["pretrained.architecture", "`pretrained` is no argument of an architecture"],
        ),
        ("execution.workers", 0, ["`execution.workers: 0`", "greater than 0"]),
    ],
)
def test_a_mistake_is_told_by_file_key_value_and_expectation(
    tmp_path: Path, place: str, value: object, parts: list[str]
) -> None:
    path = tmp_path / "job.yaml"
    text = json.dumps(with_value(place, value)).replace("NaN", ".nan").replace("Infinity", ".inf")
    path.write_text(text, encoding="utf-8")
    message = complaint(path)
    missing = [part for part in parts if part not in message]
    assert not missing, message


SECRETS = {
    "s3://me:hunter2@bucket/{epoch}": "a password",
    "s3://AKIA:ab/hunter2@bucket/{epoch}": "a password",
    "https://hunter2@host/{epoch}": "a user name or token",
    "https://host/{epoch}?X-Amz-Signature=hunter2": "a query",
    "az://container/{epoch}?sig=hunter2": "a query",
    "s3://bucket/{epoch}?token=hunter2": "a query",
}
URLS: dict[str, Callable[[str], object]] = {
    "lake": lambda url: url,
    "data.path": lambda url: {"source": "folder", "path": url, "size": 8},
    "pretrained.timm": lambda url: {"timm": url},
    "pretrained.checkpoint": lambda url: {"architecture": ARCHITECTURE, "checkpoint": url},
    "pretrained.architecture.timm": lambda url: {"architecture": {"timm": url}, "checkpoint": "a"},
    "pretrained.architecture.arguments.url": lambda url: {
        "architecture": ARCHITECTURE | {"arguments": {"url": url}},
        "checkpoint": "a",
    },
    "finetuned.checkpoints": lambda url: {"checkpoints": url, "epochs": [3]},
    "finetuned.train.data.path": lambda url: {
        "train": {"epochs": 3, "data": {"source": "folder", "path": url, "size": 8}}
    },
}
"""Every place of a job at which a URL may stand, and what its first key says then."""


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.parametrize("place", URLS)
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, place: str, url: str) -> None:
    path = tmp_path / "job.yaml"
    said = SMALLEST | {place.partition(".")[0]: URLS[place](url)}
    path.write_text(json.dumps(said), encoding="utf-8")
    message = complaint(path)
    assert f"`{place}`: {SECRETS[url]}" in message
    assert "hunter2" not in message
    with pytest.raises(ValidationError) as caught:
        Job.model_validate(said)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", SECRETS)
@pytest.mark.parametrize("place", ["name", "pretrained.url", "seeds", "layers"])
def test_a_secret_where_no_url_stands_is_not_repeated(tmp_path: Path, place: str, url: str) -> None:
    path = tmp_path / "job.yaml"
    for said in (with_value(place, url), SMALLEST | {"pretrained": {url: url}}):
        path.write_text(json.dumps(said), encoding="utf-8")
        assert "hunter2" not in complaint(path)
    with pytest.raises(JobError) as caught:
        read_job(path, [url.replace("=", "")])
    assert "hunter2" not in str(caught.value)


def test_a_container_of_an_account_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    lake = "abfs://container@account.dfs.core.windows.net/lake"
    path.write_text(json.dumps(SMALLEST | {"lake": lake}), encoding="utf-8")
    assert read_job(path).lake == lake


@pytest.mark.parametrize("key", SMALLEST)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps({k: v for k, v in SMALLEST.items() if k != key}), encoding="utf-8")
    assert f"`{key}`" in complaint(path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nseeds: [0]\nname: b\n", ["line 3", "`name`", "twice"]),
        ("data:\n  size: 3\n  source: digits\n  size: 5\n", ["line 4", "`size`", "twice"]),
        ("data: {size: 3, size: 3}\n", ["line 1", "`size`", "twice"]),
        ("name: [a\n", ["expected YAML"]),
        ("a: b: c", ["line 1, column 5, `a: b: c`:", "expected YAML"]),
        ("seeds: [3,\n\n", ["line 3, column 1, after the end:", "expected YAML"]),
        ("lake: s3://me:hunter2@bucket: c", ["line 1, column", "expected YAML"]),
        ("\tname: a", ["line 1", "expected YAML"]),
        ("name: \x00", ["expected YAML"]),
        ("name: !!python/object/apply:os.getcwd []", ["line 1", "expected YAML"]),
        ("", ["key: value", "NoneType"]),
        ("- name\n- lake\n", ["key: value", "list"]),
        ("only words", ["key: value", "str"]),
    ],
)
def test_what_is_no_mapping_is_told_with_its_line(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    message = complaint(path)
    missing = [part for part in parts if part not in message]
    assert not missing, message
    assert "hunter2" not in message


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    assert "No such file" in complaint(tmp_path / "absent.yaml")
    assert "directory" in complaint(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in complaint(binary)


def test_a_misspelt_key_is_told_before_the_one_that_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    said = {key.replace("finetuned", "fintuned"): value for key, value in SMALLEST.items()}
    path.write_text(json.dumps(said), encoding="utf-8")
    assert "unknown key `fintuned`; did you mean `finetuned`? (and 1 more)" in complaint(path)


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(SMALLEST | {"name": 5, "seeds": [1, 1], "x": 3}), encoding="utf-8")
    assert "2 more" in complaint(path)


def test_a_long_value_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(SMALLEST | {"name": "a b" * 997}), encoding="utf-8")
    assert len(complaint(path)) < len(str(path)) + 200
