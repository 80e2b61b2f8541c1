"""Mistakes in a job file are told in one line with file, key, value and remedy."""

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


def complaint(path: Path, content: str | dict[str, Any] | None = None) -> str:
    """Write a job file and return the line with which it is refused."""
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text.replace("NaN", ".nan").replace("Infinity", ".inf"), encoding="utf-8")
    with pytest.raises(JobError) as caught:
        read_job(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    assert caught.value.exit_code == 2
    assert "hunter2" not in message
    return message


def with_value(key: str, value: object) -> dict[str, Any]:
    """Return the smallest job with another value at a dotted key."""
    content = copy.deepcopy(SMALLEST)
    *parents, last = key.split(".")
    level = content
    for parent in parents:
        level = level.setdefault(parent, {})
    level[last] = value
    return content


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("lakes", "x", ["unknown key `lakes`", "did you mean `lake`?"]),
        ("finetuned.train.epoch", 3, ["`finetuned.train.epoch`", "did you mean `epochs`?"]),
        ("zzzz", 3, ["unknown key `zzzz`", "stir-ray schema"]),
        ("execution.gpus_per_worker", 2, ["`execution.gpus_per_worker: 2`", "equal to 1"]),
        ("finetuned.train.epochs", "many", ['`finetuned.train.epochs: "many"`', "integer"]),
        ("finetuned.train.warmup_epochs", 3, ["finetuned.train", "warmup_epochs", "below", "(3)"]),
        ("finetuned.train.learning_rate", 0, ["`finetuned.train.learning_rate: 0`", "than 0"]),
        ("finetuned.train.optimizer", "lion", ["optimizer", "lion", "'sgd'", "'adam'", "'adamw'"]),
        ("layers", [3, 0], ["layers", "0", "greater than 0"]),
        ("robustness.severities", [1, 6], ["robustness.severities", "6 is no severity", "1 to 5"]),
        ("robustness.corruptions", "some", ["`benchmark`", "`all`", "list of corruptions"]),
        ("robustness.corruptions", ["mist"], ["robustness.corruptions.0", "mist", "'fog'"]),
        ("robustness.corruptions", ["fog", "fog"], ["fog is given twice"]),
        ("robustness.source", "npy", ["`regenerated`", "`{npy: folder}`"]),
        ("similarities", ["pwcca"], ["similarities.0", "pwcca", "`procrustes`", "bandwidth"]),
        ("similarities", ["rbf_cka", {"rbf_cka": 1}], ["rbf_cka of bandwidth 1", "twice"]),
        ("layers", "last", ['`layers: "last"`', "`all`", "layer numbers"]),
        ("layers", [], ["`layers: []`", "at least 1"]),
        ("layers", [2, 5, 2], ["`layers: [2, 5, 2]`", "2 is given twice"]),
        ("seeds", [7, 3, 7], ["`seeds: [7, 3, 7]`", "7 is given twice"]),
        ("seeds", [2**63], ["seeds", "9223372036854775808", "less than"]),
        (
            "inversion",
            {"init": "gray", "preset": "paper"},
            ["`inversion.init: gray` is one start for all seeds"],
        ),
        ("images.count", 3, ["`images.count: 3`", "4"]),
        ("images", ["test", 64], ["`images: [", "`split`, `count`"]),
        ("execution.time_limits_s", 60, ["`execution.time_limits_s: 60`", "`train`, `invert`"]),
        ("data.source", "cifar", ["cifar", "`source: digits`", "`source: folder`"]),
        ("data", "digits", ['`data: "digits"`', "`source: digits`"]),
        ("data.classes", [5, 12], ["data", "class 12", "0 to 9"]),
        ("finetuned", {"checkpoints": "a.pt", "epochs": [1]}, ["finetuned", "a.pt", "{epoch}"]),
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
        ("pretrained", {"checkpoint": "a"}, ["`pretrained.architecture` is missing"]),
        ("name", "a/b", ['`name: "a/b"`', "match"]),
        ("schema_version", 2, ["`schema_version: 2`", "1"]),
        ("keep_images", "some", ['`keep_images: "some"`', "`none`", "`all`", "`{sample: n}`"]),
        ("inversion.iterations", 1, ["`inversion.iterations: 1`", "greater than or equal to 2"]),
        ("inversion.step_size", float("nan"), ["`inversion.step_size: NaN`", "finite"]),
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
    ],
)
def test_a_mistake_is_told_by_file_key_value_and_expectation(
    tmp_path: Path, key: str, value: object, parts: list[str]
) -> None:
    message = complaint(tmp_path / "job.yaml", with_value(key, value))
    assert [part for part in parts if part not in message] == [], message


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
@pytest.mark.parametrize("key", URLS)
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, key: str, url: str) -> None:
    content = SMALLEST | {key.partition(".")[0]: URLS[key](url)}
    assert f"`{key}`: {SECRETS[url]}" in complaint(tmp_path / "job.yaml", content)
    with pytest.raises(ValidationError) as caught:
        Job.model_validate(content)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_where_no_url_stands_is_not_repeated(tmp_path: Path, url: str) -> None:
    path = tmp_path / "job.yaml"
    for key in ("name", "pretrained.url", "seeds", "layers"):
        complaint(path, with_value(key, url))
    complaint(path, SMALLEST | {"pretrained": {url: url}})
    with pytest.raises(JobError) as caught:
        read_job(path, [url.replace("=", "")])
    assert "hunter2" not in str(caught.value)


def test_a_container_of_an_account_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    lake = "abfs://container@account.dfs.core.windows.net/lake"
    path.write_text(json.dumps(SMALLEST | {"lake": lake}), encoding="utf-8")
    assert read_job(path).lake == lake


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nseeds: [0]\nname: b\n", ["line 3", "`name`", "twice"]),
        ("data:\n  size: 3\n  source: digits\n  size: 5\n", ["line 4", "`size`", "twice"]),
        ("data: {size: 3, size: 3}\n", ["line 1", "`size`", "twice"]),
        ("a: b: c", ["line 1, column 5, `a: b: c`:", "expected YAML"]),
        ("seeds: [3,\n\n", ["line 3, column 1, after the end:", "expected YAML"]),
        ("lake: s3://me:hunter2@bucket: c", ["line 1, column", "expected YAML"]),
        ("name: \x00", ["expected YAML"]),
        ("name: !!python/object/apply:os.getcwd []", ["line 1", "expected YAML"]),
        ("", ["key: value", "NoneType"]),
        ("- name\n- lake\n", ["key: value", "list"]),
        ("only words", ["key: value", "str"]),
    ],
)
def test_other_text_than_a_mapping_is_refused_with_its_line(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    message = complaint(tmp_path / "job.yaml", text)
    assert [part for part in parts if part not in message] == [], message


def test_an_unreadable_file_is_named_with_the_reason(tmp_path: Path) -> None:
    assert "No such file" in complaint(tmp_path / "absent.yaml")
    assert "directory" in complaint(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in complaint(binary)


def test_the_first_of_several_mistakes_is_told_and_the_others_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    for key in SMALLEST:
        assert f"`{key}`" in complaint(path, {k: v for k, v in SMALLEST.items() if k != key})
    # A misspelt key comes before the one that is missing because of it.
    misspelt = {key.replace("finetuned", "fintuned"): value for key, value in SMALLEST.items()}
    expected = "unknown key `fintuned`; did you mean `finetuned`? (and 1 more)"
    assert expected in complaint(path, misspelt)
    assert "2 more" in complaint(path, SMALLEST | {"name": 5, "seeds": [1, 1], "x": 3})
    # A long value is cut short.
    assert len(complaint(path, SMALLEST | {"name": "a b" * 997})) < len(str(path)) + 200
