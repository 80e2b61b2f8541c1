"""The cluster file is one that Ray accepts, and brings what the code needs."""

import copy
import re
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def accepted(cluster: dict[str, Any]) -> dict[str, Any]:
    """The file as Ray completes it, once its own validator has nothing to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on import
        from ray.autoscaler._private.util import prepare_config, validate_config
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def test_ray_accepts_it_as_it_is(cluster: dict[str, Any]) -> None:
    types = accepted(cluster)["available_node_types"]
    assert types["gpu"]["max_workers"] == cluster["max_workers"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}


def test_ray_refuses_it_with_a_key_it_does_not_know(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="gpus"):
        accepted({**cluster, "gpus": 3})


def test_workers_are_spot_machines_that_come_and_go_and_the_head_is_not(
    cluster: dict[str, Any],
) -> None:
    types = cluster["available_node_types"]
    head = types.pop(cluster["head_node_type"])
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert worker["resources"]["GPU"] > 0
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_every_machine_asks_for_the_token(cluster: dict[str, Any]) -> None:
    starts = [cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token ray start" in start for start in starts)
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert "--num-cpus=0" in starts[0]


def test_it_installs_every_dependency_in_the_version_that_was_tested(
    cluster: dict[str, Any],
) -> None:
    said = cluster["setup_commands"][-1].split("--quiet")[1].split()
    installed = dict(one.partition("==")[::2] for one in said)
    needed = {re.split(r"[\[><=]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert set(installed) == needed - {"ray"}
    tested = dict(one.split("==") for one in PROJECT["tool"]["uv"]["constraint-dependencies"])
    assert {name: version for name, version in installed.items() if version} == {
        name: version for name, version in tested.items() if name != "ray"
    }
    assert f"rayproject/ray:{tested['ray']}-" in cluster["docker"]["image"]
