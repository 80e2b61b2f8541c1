"""What nodes that come, die and hang do to a run, on a cluster of this machine."""

import json
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.execution.alone import alone
from tests.execution.work import Execution, ledger_of

ON_A_CLUSTER = {
    # Whether there is a cluster decides how Ray is used, before its address is known.
    "RAY_ADDRESS": "to come",
    # Nothing listens beyond this machine, so no token is written under the home directory.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "disabled",
}


@dataclass(frozen=True)
class Story:
    """What `on_cluster` left: attempts by part and chore, nodes by name, and the ledger."""

    parts: dict[str, dict[int, int]]
    nodes: dict[str, int]
    ledger: list[Execution]

    def nodes_of(self, part: str) -> list[int]:
        """Return the node of each execution of a part, in order."""
        return [e.node for e in self.ledger if e.number in self.parts[part]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run once for all tests: nodes take seconds to start."""
    folder = tmp_path_factory.mktemp("cluster")
    with alone("-m", "tests.execution.on_cluster", str(folder), env=ON_A_CLUSTER) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-5000:]
    facts = json.loads((folder / "story.json").read_text())
    parts = {
        part: {int(number): attempt for number, attempt in attempts.items()}
        for part, attempts in facts["parts"].items()
    }
    return Story(parts, facts["nodes"], ledger_of(folder / "ledger"))


def test_a_worker_without_room_holds_no_task(story: Story) -> None:
    assert story.parts["one node of two"] == dict.fromkeys(range(100, 105), 1)
    assert set(story.nodes_of("one node of two")) == {story.nodes["first"]}


def test_a_node_that_comes_late_is_used(story: Story) -> None:
    assert set(story.nodes_of("a node comes")) == {story.nodes["first"], story.nodes["second"]}


def test_a_task_that_hung_runs_on_another_node(story: Story) -> None:
    assert story.parts["a task hangs"] == {300: 2} | dict.fromkeys(range(301, 307), 1)
    first, second = (e.node for e in story.ledger if e.number == 300)
    assert first != second


def test_a_node_that_dies_costs_its_running_task_one_attempt(story: Story) -> None:
    attempts = story.parts["a node dies"]
    assert sorted(attempts) == list(range(400, 437))
    assert sum(attempts.values()) == 37 + 1
    begun = Counter(e.number for e in story.ledger if e.number in attempts)
    # The task may not have begun, if the node died while the call was on its way.
    assert begun.keys() == attempts.keys()
    assert 37 <= begun.total() <= 37 + 1


def test_a_cluster_that_grows_gets_more_workers(story: Story) -> None:
    assert set(story.nodes_of("the cluster grows")) == {story.nodes["first"], story.nodes["third"]}
