"""A cluster is sent all that a driver needs, and nothing that is secret or large."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from stir_ray.cli import app
from stir_ray.errors import InputError, JobError
from stir_ray.job.loader import Grid, read_content, read_jobs
from tests.small_job import ARCHITECTURE, small_job
from workflows import packaging

ROOT = Path(__file__).parents[1]
BUCKET = "s3://bucket/lake"
CHECKPOINT = {"architecture": ARCHITECTURE, "checkpoint": "s3://bucket/weights.safetensors"}
CONTENT = small_job(BUCKET).model_dump(mode="json", exclude_none=True)
FOLDER = {"source": "folder", "size": 16, "channels": 1}
RATES = {"grid": {"finetuned.train.learning_rate": [1e-05, 0.1], "layers": ["1-2", "all"]}}


@pytest.mark.parametrize(
    ("changed", "overrides"),
    [
        ({"inversion": {"step_size": 1e-05}, "seeds": [3, 5]}, ["inversion.iterations=3"]),
        ({"name": "1e5", "lake": "s3://bücket/no: yes #3"}, ["from_scratch=", "name=2e5"]),
        ({"pretrained": CHECKPOINT, "keep_images": "all"}, ["seeds=3-5"]),
        (RATES, ["finetuned.train.learning_rate=1e-5"]),
    ],
)
def test_the_jobs_that_arrive_are_those_that_were_sent(
    changed: dict[str, Any], overrides: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(CONTENT | changed, allow_unicode=True), encoding="utf-8")
    packaging.pack(read_content(file, overrides), tmp_path)
    assert read_jobs(tmp_path / packaging.JOB_FILE) == read_jobs(file, overrides)


def test_code_goes_along_and_nothing_else_and_runs_by_itself(tmp_path: Path) -> None:
    packaging.pack(CONTENT | {"lake": "nowhere://bucket"}, tmp_path)
    sent = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    code = {
        path.relative_to(ROOT)
        for room in ("stir_ray", "workflows")
        for kind in ("*.py", "static/*.*")
        for path in ROOT.glob(f"{room}/**/{kind}")
    }
    assert sent == code | {Path(packaging.JOB_FILE)}
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for finetune in (True, False):
        line = packaging.command(finetune=finetune).replace("python", f"{sys.executable} -v", 1)
        ended = subprocess.run(
            line.split(), cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        # As far as its job lets it, with the code that was sent and no other.
        assert ended.returncode == 2
        assert "stir-ray: lake nowhere://bucket" in ended.stderr
        origins = {
            word for word in ended.stderr.split() if "stir_ray/" in word and word.endswith(".py")
        }
        assert origins
        assert all(str(tmp_path) in origin for origin in origins)


@pytest.mark.parametrize(
    ("lake", "shared", "is_sent"),
    [
        ("./lake", True, False),
        ("~/lake", True, False),
        ("memory://lake", True, False),
        ("/data/lake", False, False),
        ("/data/lake", True, True),
        ("file:///data/lake", False, False),
        ("file:///data/lake", True, True),
        (BUCKET, False, True),
    ],
)
def test_a_lake_must_be_shared_by_all_machines(lake: str, shared: bool, is_sent: bool) -> None:
    refused = pytest.raises(JobError, match=r"s3://BUCKET/PREFIX.*--shared")
    with nullcontext() if is_sent else refused:
        packaging.check_paths(small_job(lake), shared=shared)


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("data.path", {"data": FOLDER | {"path": "images"}}),
        ("data.root", {"data": {"source": "cifar10", "root": "downloads"}}),
        ("robustness.source.npy", {"robustness": {"source": {"npy": "CIFAR-10-C"}}}),
        ("pretrained.checkpoint", {"pretrained": CHECKPOINT | {"checkpoint": "./x.safetensors"}}),
        ("finetuned.checkpoints", {"finetuned": {"checkpoints": "~/{epoch}", "epochs": [3]}}),
        (
            "from_scratch.train.data.path",
            {"from_scratch": {"train": {"epochs": 2, "data": FOLDER | {"path": "../images"}}}},
        ),
    ],
)
def test_a_path_on_the_sending_machine_is_refused(key: str, changed: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=rf"`{key}: "):
        packaging.check_paths(small_job(BUCKET, **changed), shared=False)


def test_absolute_paths_and_urls_are_sent() -> None:
    changed: dict[str, Any] = {
        "data": FOLDER | {"path": "/data/images"},
        "pretrained": CHECKPOINT,
        "finetuned": {"checkpoints": "/data/{epoch}.safetensors", "epochs": [3]},
    }
    packaging.check_paths(small_job(BUCKET, **changed), shared=False)


def test_the_address_of_the_store_is_sent_and_its_keys_are_not() -> None:
    store = {"AWS_ENDPOINT_URL": "https://minio.example.org", "AWS_REGION": "eu-north-1"}
    secret = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    sent = packaging.environment({**store, **secret, "RAY_AUTH_TOKEN": "r", "HF_TOKEN": "h"})
    assert store.items() <= sent.items()
    assert not set("kstrh") & set(sent.values())
    with pytest.raises(InputError, match=r"^AWS_ENDPOINT_URL: contains a password(?!.*hidden)"):
        packaging.environment({"AWS_ENDPOINT_URL": "https://me:hidden@minio.example.org"})


def test_each_submission_has_a_new_id_that_names_the_job() -> None:
    job, other = Grid.of(small_job(BUCKET)), Grid.of(small_job(BUCKET, seeds=[3]))
    first, second, third = map(packaging.submission_id, (job, job, other))
    assert first != second
    assert first.rsplit("-", 1)[0] == second.rsplit("-", 1)[0] != third.rsplit("-", 1)[0]
    assert first.startswith("small-")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["jobs/nothing.yaml"], "jobs/nothing.yaml"),
        (["jobs/digits.yaml"], "--set lake=s3://BUCKET/PREFIX"),
        (["jobs/digits.yaml", "--set", f"lake={BUCKET}"], "--address http://HEAD:8265"),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["submit", *arguments])
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in line
