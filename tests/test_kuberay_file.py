"""The manifest for KubeRay says what can be run, on the cluster that the code needs."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stir_ray.job.loader import read_job
from workflows import packaging

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXT = (ROOT / "jobs/kubernetes/rayjob.yaml").read_text()
IN_IMAGE = "/home/ray/stir_ray"
"""Where the image that the README builds keeps the job files."""


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


@pytest.fixture
def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    """What the head and the workers are made of."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_it_is_a_job_that_takes_its_cluster_away_with_it(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["submissionMode"] == "K8sJobMode"
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert not [key for key in job["spec"] if key.startswith("entrypoint") and key != "entrypoint"]


def test_its_command_runs_a_job_file_of_the_image(job: dict[str, Any]) -> None:
    *command, path, lake, workers = shlex.split(job["spec"]["entrypoint"])
    assert command == shlex.split(packaging.command(finetune=False))[:-1]
    said = read_job(path.replace(IN_IMAGE, str(ROOT)), [lake, workers])
    packaging.check_paths(said, shared=False)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert said.execution.workers == group["maxReplicas"]


def test_a_stopped_driver_gets_the_time_that_it_gets_elsewhere(job: dict[str, Any]) -> None:
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    assert environment == {"env_vars": packaging.environment({})}


def test_its_ray_is_the_one_that_was_tested_and_asks_for_a_token(job: dict[str, Any]) -> None:
    tested = dict(one.split("==") for one in PROJECT["tool"]["uv"]["constraint-dependencies"])
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == tested["ray"]
    assert cluster["authOptions"] == {"mode": "token"}


def test_the_head_computes_nothing_and_gpus_come_when_they_are_needed(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        # As strings: Ray's own parameters and the quantities of Kubernetes are nothing else.
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_every_pod_has_the_code_its_share_and_a_role(pods: list[dict[str, Any]]) -> None:
    assert len({container["image"] for pod in pods for container in pod["containers"]}) == 1
    for pod in pods:
        assert pod["serviceAccountName"]
        for container in pod["containers"]:
            asked, limits = (container["resources"][key] for key in ("requests", "limits"))
            # Equal, or the pod is the first one to be evicted.
            assert asked == limits
            assert {"cpu", "memory"} <= set(limits)


def test_no_secret_stands_in_it(pods: list[dict[str, Any]]) -> None:
    for container in (container for pod in pods for container in pod["containers"]):
        assert "env" not in container
        assert [set(source) for source in container["envFrom"]] == [{"secretRef"}]
    values = re.sub(r"#.*", "", TEXT)
    assert not re.search(r"AWS_|TOKEN|PASSWORD|password", values)


def test_the_image_in_the_readme_has_what_the_manifest_names() -> None:
    (dockerfile,) = re.findall(
        r"```Dockerfile\n(.*?)```", (ROOT / "workflows/README.md").read_text(), re.DOTALL
    )
    tested = dict(one.split("==") for one in PROJECT["tool"]["uv"]["constraint-dependencies"])
    lines = dockerfile.strip().splitlines()
    assert lines[0].startswith(f"FROM rayproject/ray:{tested['ray']}-")
    assert f"WORKDIR {IN_IMAGE}" in lines
    assert "COPY --chown=ray . ." in lines
    # By uv, which obeys the versions that were tested.
    assert lines[-1].endswith("uv pip install --system --quiet .")
