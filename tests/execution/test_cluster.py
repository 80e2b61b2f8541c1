"""What nodes that come, die and hang do to a run, on a cluster of this machine."""

import json
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.execution.alone import alone
from tests.execution.work import Execution, ledger_of

ON_A_CLUSTER = {
    # That there is a cluster decides how Ray is used, before its address is known.
    "RAY_ADDRESS": "to come",
    # Nothing listens beyond this machine, so no token is written under the home directory.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "disabled",
}


@dataclass(frozen=True)
class Story:
    """What `on_cluster` told, and the ledger of it."""

    parts: dict[str, dict[int, int]]
    nodes: dict[str, int]
    ledger: list[Execution]

    def attempts(self, part: str) -> dict[int, int]:
        """At each chore of a part that succeeded."""
        return self.parts[part]

    def executions(self, part: str) -> list[Execution]:
        """Of the chores of a part, in the order in which they began."""
        return [one for one in self.ledger if one.number in self.parts[part]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Told once for all tests: nodes take seconds to come."""
    folder = tmp_path_factory.mktemp("cluster")
    with alone("-m", "tests.execution.on_cluster", str(folder), env=ON_A_CLUSTER) as process:
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said[-5000:]
    facts = json.loads((folder / "story.json").read_text())
    parts = {
        part: {int(number): attempt for number, attempt in attempts.items()}
        for part, attempts in facts["parts"].items()
    }
    return Story(parts, facts["nodes"], ledger_of(folder / "ledger"))


def test_a_worker_without_room_holds_no_task(story: Story) -> None:
    assert story.attempts("one node of two") == dict.fromkeys(range(100, 105), 1)
    assert {one.node for one in story.executions("one node of two")} == {story.nodes["first"]}


def test_a_node_that_comes_late_gets_used(story: Story) -> None:
    nodes = {one.node for one in story.executions("a node comes")}
    assert nodes == {story.nodes["first"], story.nodes["second"]}


def test_a_task_that_hung_is_done_on_another_node(story: Story) -> None:
    assert story.attempts("a task hangs") == {300: 2} | dict.fromkeys(range(301, 307), 1)
    first, again = (one.node for one in story.executions("a task hangs") if one.number == 300)
    assert first != again


def test_a_task_that_lags_is_done_by_another_node_meanwhile(story: Story) -> None:
    assert story.attempts("a task lags") == dict.fromkeys(range(600, 613), 1)
    first, second = (one.node for one in story.executions("a task lags") if one.number == 600)
    assert first != second
    assert len(story.executions("a task lags")) == 13 + 1


def test_a_node_that_dies_costs_the_task_in_hand_one_attempt(story: Story) -> None:
    attempts = story.attempts("a node dies")
    assert sorted(attempts) == list(range(400, 437))
    assert sum(attempts.values()) == 37 + 1
    begun = Counter(one.number for one in story.executions("a node dies"))
    assert set(begun) == set(attempts)
    # The task charged need not have begun, or it was done and the answer died on its way, when
    # the next had begun.
    assert 37 <= begun.total() <= 37 + 2


def test_a_cluster_that_grows_gets_more_workers(story: Story) -> None:
    used = {one.node for one in story.executions("the cluster grows")}
    assert used == {story.nodes["first"], story.nodes["third"]}
