"""Run chores on a cluster of this machine whose nodes come and die; `test_cluster` starts it.

It is a process of its own, since a process knows one Ray only. It leaves a ledger and, as JSON, the
attempts at each chore of every part, and the number of each node in the ledger.
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

from stir_ray.execution import ray_executor
from stir_ray.execution.executor import PoolSpec, TaskResult
from stir_ray.execution.ray_executor import RayExecutor
from tests.execution.work import Chore, WorkerMaker, ledger_of

# isort: split
from ray.cluster_utils import Cluster

_Started = TypeVar("_Started")
TIMEOUT_S = 90.0
DEAD_AFTER_2_S = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


class Machines:
    """Nodes with one GPU each, as far as Ray knows.

    Attributes:
        numbers: by which the ledger knows each node that was ever added, by name.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}

    def add(self, name: str) -> None:
        node = started(
            lambda: self._cluster.add_node(num_cpus=1, num_gpus=1, node_ip_address="127.0.0.1")
        )
        self._nodes[name] = node
        self.numbers[name] = node.all_processes["raylet"][0].process.pid

    def kill(self, name: str) -> None:
        self._cluster.remove_node(self._nodes[name], allow_graceful=False)


def started(start: Callable[[], _Started]) -> _Started:
    """Start a node, at most three times: Ray gives it 30 s, and a busy machine may need longer."""
    for _ in range(2):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


@contextmanager
def machines() -> Iterator[Machines]:
    """A head that runs no workers, and Ray connected to it."""
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    arguments = head | {"_system_config": DEAD_AFTER_2_S}
    cluster = started(lambda: Cluster(initialize_head=True, head_node_args=arguments))
    os.environ["RAY_ADDRESS"] = str(cluster.address)
    try:
        ray_executor.connect()
        yield Machines(cluster)
    finally:
        ray_executor.ray.shutdown()
        cluster.shutdown()


def parts(ledger: Path, machines: Machines) -> Iterator[tuple[str, dict[int, int]]]:
    """Yield the name of each part, and the attempts at each of its chores."""

    def until_used(node: str, first: int) -> Iterator[Chore]:
        """Add a node amid chores, which go on until it has done one."""
        yield from chores(first, first + 3)
        machines.add(node)
        start = time.monotonic()
        for number in count(first + 3):
            used = {execution.node for execution in ledger_of(ledger)}
            if machines.numbers[node] in used or time.monotonic() > start + TIMEOUT_S:
                return
            yield Chore(number, "slow")

    machines.add("first")
    two = PoolSpec(workers=2, threads=1)
    with RayExecutor(WorkerMaker(ledger), two, limit_s) as executor:
        yield "one node of two", attempts(executor.run(chores(100, 105)))
        yield "a node comes", attempts(executor.run(until_used("second", 200)))
        yield "a task hangs", attempts(executor.run([Chore(300, "hang once"), *chores(301, 307)]))
        results = executor.run(chores(400, 437))
        yield "a node dies", attempts(third(results, lambda: machines.kill("second")))
    with RayExecutor(WorkerMaker(ledger)) as executor:
        yield "the cluster grows", attempts(executor.run(until_used("third", 500)))


def limit_s(chore: Chore) -> float | None:
    return 2.0 if chore.kind == "hang once" else None


def chores(first: int, end: int) -> list[Chore]:
    return [Chore(number, "slow") for number in range(first, end)]


def attempts(results: Iterable[TaskResult[Chore]]) -> dict[int, int]:
    """Return the attempts at each chore that succeeded."""
    return {result.task.number: result.attempt for result in results if result.failure is None}


def third(
    results: Iterator[TaskResult[Chore]], call: Callable[[], None]
) -> Iterator[TaskResult[Chore]]:
    """Yield all results, and call something at the third."""
    for number, result in enumerate(results, start=1):
        if number == 3:
            call()
        yield result


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with machines() as here:
        attempts_by_part = dict(parts(folder / "ledger", here))
        text = json.dumps({"parts": attempts_by_part, "nodes": here.numbers})
    (folder / "story.json").write_text(text)
