"""Ray's cluster file and the manifest for KubeRay are accepted, and bring what the code needs."""

import copy
import re
import shlex
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from stir_ray.job.loader import read_job
from workflows import packaging

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TESTED = dict(line.split("==") for line in PROJECT["tool"]["uv"]["constraint-dependencies"])
MANIFEST = (ROOT / "jobs/kubernetes/rayjob.yaml").read_text()
IN_IMAGE = "/home/ray/stir_ray"
"""Where the image of workflows/README.md keeps the job files."""


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture
def kuberay() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST)


def accepted(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the file as Ray completes it, once Ray's own validator accepts it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on import
        from ray.autoscaler._private.util import prepare_config, validate_config
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_cluster_file_and_refuses_a_key_it_does_not_know(
    cluster: dict[str, Any],
) -> None:
    types = accepted(cluster)["available_node_types"]
    assert types["gpu"]["max_workers"] == cluster["max_workers"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    with pytest.raises(Exception, match="gpus"):
        accepted({**cluster, "gpus": 3})


def test_workers_are_spot_machines_and_the_head_is_not(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    head = types.pop(cluster["head_node_type"])
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert worker["resources"]["GPU"] > 0
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_every_machine_asks_for_the_token(cluster: dict[str, Any], kuberay: dict[str, Any]) -> None:
    starts = [cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token ray start" in start for start in starts)
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert "--num-cpus=0" in starts[0]
    assert kuberay["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_machines_have_every_dependency_in_the_version_that_was_tested(
    cluster: dict[str, Any], kuberay: dict[str, Any]
) -> None:
    words = cluster["setup_commands"][-1].split("--quiet")[1].split()
    installed = dict(word.partition("==")[::2] for word in words)
    needed = {re.split(r"[\[><=]", line)[0] for line in PROJECT["project"]["dependencies"]}
    assert set(installed) == needed - {"ray"}
    versions = {name: version for name, version in installed.items() if version}
    assert versions == {name: version for name, version in TESTED.items() if name != "ray"}
    assert f"rayproject/ray:{TESTED['ray']}-" in cluster["docker"]["image"]
    assert kuberay["spec"]["rayClusterSpec"]["rayVersion"] == TESTED["ray"]
    (dockerfile,) = re.findall(
        r"```Dockerfile\n(.*?)```", (ROOT / "workflows/README.md").read_text(), re.DOTALL
    )
    lines = dockerfile.strip().splitlines()
    assert lines[0].startswith(f"FROM rayproject/ray:{TESTED['ray']}-")
    assert {f"WORKDIR {IN_IMAGE}", "COPY --chown=ray . ."} <= set(lines)
    # By uv, which obeys the versions that were tested.
    assert lines[-1].endswith("uv pip install --system --quiet .")


def test_the_manifest_is_a_job_that_takes_its_cluster_away_with_it(
    kuberay: dict[str, Any],
) -> None:
    spec = kuberay["spec"]
    assert (kuberay["apiVersion"], kuberay["kind"]) == ("ray.io/v1", "RayJob")
    assert (spec["submissionMode"], spec["shutdownAfterJobFinishes"]) == ("K8sJobMode", True)
    assert [key for key in spec if key.startswith("entrypoint")] == ["entrypoint"]


def test_its_command_runs_a_job_file_of_the_image(kuberay: dict[str, Any]) -> None:
    *command, path, lake, workers = shlex.split(kuberay["spec"]["entrypoint"])
    assert command == shlex.split(packaging.command(finetune=False))[:-1]
    job = read_job(path.replace(IN_IMAGE, str(ROOT)), [lake, workers])
    packaging.check_paths(job, shared=False)
    (group,) = kuberay["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert job.execution.workers == group["maxReplicas"]
    # A stopped driver gets the time that it gets elsewhere.
    environment = yaml.safe_load(kuberay["spec"]["runtimeEnvYAML"])
    assert environment == {"env_vars": packaging.environment({})}


def test_its_head_computes_nothing_and_gpus_come_when_they_are_needed(
    kuberay: dict[str, Any],
) -> None:
    cluster = kuberay["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in cluster["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
        (container,) = group["template"]["spec"]["containers"]
        # A string: the quantities of Kubernetes are nothing else.
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_every_pod_has_the_code_a_role_and_no_secret(kuberay: dict[str, Any]) -> None:
    cluster = kuberay["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert all(pod["serviceAccountName"] for pod in pods)
    containers = [container for pod in pods for container in pod["containers"]]
    assert len({container["image"] for container in containers}) == 1
    for container in containers:
        requests, limits = (container["resources"][key] for key in ("requests", "limits"))
        # Equal, or the pod is the first to be evicted.
        assert requests == limits
        assert {"cpu", "memory"} <= set(limits)
        assert "env" not in container
        assert [set(source) for source in container["envFrom"]] == [{"secretRef"}]
    assert not re.search(r"AWS_|TOKEN|PASSWORD|password", re.sub(r"#.*", "", MANIFEST))
