"""A cluster of this machine whose nodes come and die; `test_cluster` starts it.

A process of its own, since one can know one Ray only. It leaves a ledger in a folder, and its story
as JSON: the attempts at each chore by part, and the number of each node in the ledger.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from stir_ray.execution import ray_cluster
from stir_ray.execution.executor import TaskResult
from stir_ray.execution.ray_executor import RayExecutor
from stir_ray.execution.task_attributes import TaskAttributes
from stir_ray.execution.worker_pool import Pool
from tests.execution.work import Chore, WorkerMaker, ledger_of

# isort: split
from ray.cluster_utils import Cluster

_Started = TypeVar("_Started")
PATIENCE_S = 90.0
SOON_DEAD = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


class Machines:
    """Nodes with one GPU each, if only in Ray's books.

    Attributes:
        numbers: by which the ledger knows the nodes that ever came, by name.
    """

    def __init__(self, cluster: Cluster) -> None:
        """None yet besides a head that does no work."""
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}

    def add(self, name: str) -> None:
        """A node comes."""
        node = started(
            lambda: self._cluster.add_node(num_cpus=1, num_gpus=1, node_ip_address="127.0.0.1")
        )
        self._nodes[name] = node
        self.numbers[name] = node.all_processes["raylet"][0].process.pid

    def kill(self, name: str) -> None:
        """A node is gone, without a word."""
        self._cluster.remove_node(self._nodes[name], allow_graceful=False)


def started(start: Callable[[], _Started]) -> _Started:
    """What is started, tried again: Ray gives a node 30 s, and a busy machine may need longer."""
    for _ in range(2):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@contextmanager
def machines() -> Iterator[Machines]:
    """A head, and Ray connected to it."""
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    arguments = head | {"_system_config": SOON_DEAD}
    cluster = started(lambda: Cluster(initialize_head=True, head_node_args=arguments))
    os.environ["RAY_ADDRESS"] = str(cluster.address)
    try:
        ray_cluster.connect()
        yield Machines(cluster)
    finally:
        ray_cluster.ray.shutdown()
        cluster.shutdown()


def tell(ledger: Path, machines: Machines) -> Iterator[tuple[str, dict[int, int]]]:
    """Every part of the story: its name, and the attempts at each chore."""

    def until_used(node: str, first: int) -> Iterator[Chore]:
        """A node comes amid chores, which go on until it has done one."""
        yield from chores(first, first + 3)
        machines.add(node)
        begun = time.monotonic()
        for number in count(first + 3):
            used = {execution.node for execution in ledger_of(ledger)}
            if machines.numbers[node] in used or time.monotonic() > begun + PATIENCE_S:
                return
            yield Chore(number, "slow")

    machines.add("first")
    two = Pool(workers=2, threads=1)
    with RayExecutor(WorkerMaker(ledger), two, TaskAttributes(limit)) as executor:
        yield "one node of two", attempts(executor.run(chores(100, 105)))
        yield "a node comes", attempts(executor.run(until_used("second", 200)))
        yield "a task hangs", attempts(executor.run([Chore(300, "hang once"), *chores(301, 307)]))
        outcomes = executor.run(chores(400, 437))
        yield "a node dies", attempts(each(outcomes, third=lambda: machines.kill("second")))
    alike = TaskAttributes[Chore](kind=lambda _: "alike")
    with RayExecutor(WorkerMaker(ledger), Pool(), alike) as executor:
        yield "the cluster grows", attempts(executor.run(until_used("third", 500)))
        yield "a task lags", attempts(executor.run([Chore(600, "lag"), *chores(601, 613)]))


def chores(first: int, end: int) -> list[Chore]:
    """Slow ones with these numbers."""
    return [Chore(number, "slow") for number in range(first, end)]


def limit(chore: Chore) -> float | None:
    """Of seconds."""
    return 2.0 if chore.kind == "hang once" else None


def attempts(outcomes: Iterable[TaskResult[Chore]]) -> dict[int, int]:
    """At each chore that succeeded."""
    return {one.task.number: one.attempt for one in outcomes if one.failure is None}


def each(
    outcomes: Iterator[TaskResult[Chore]], third: Callable[[], None]
) -> Iterator[TaskResult[Chore]]:
    """All outcomes; something happens when the third is there."""
    for place, outcome in enumerate(outcomes, start=1):
        if place == 3:
            third()
        yield outcome


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with machines() as here:
        parts = dict(tell(folder / "ledger", here))
        text = json.dumps({"parts": parts, "nodes": here.numbers})
    (folder / "story.json").write_text(text)
