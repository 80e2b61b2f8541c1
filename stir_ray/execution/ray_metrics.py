"""How a run goes on, as Ray's metrics: what Prometheus and Grafana see of it.

Each has few series, whatever the number of tasks and jobs: its tags are the stage and the outcome.
Ray puts `ray_` before their names.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from stir_ray.execution import ray_cluster
from stir_ray.execution.executor import TaskResult, WorkerStatus
from stir_ray.execution.periodic_timer import PeriodicTimer

# isort: split
# After `ray_cluster`, which sets what Ray reads when it is imported.
from ray.util.metrics import Counter, Gauge, Histogram

_INTERVAL_S = 5.0
_SECONDS = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]
_RESIDUALS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1]
DONE = "done"
"""Outcome of a task that succeeded; of others it is the class of their failure."""


class RayMetrics:
    """Tells Ray how a stage goes on. See `stages.compute.Callback`."""

    def __init__(
        self, standing: Callable[[], WorkerStatus], interval_s: float = _INTERVAL_S
    ) -> None:
        """Nothing is told before Ray is up.

        Args:
            standing: how the workers stand.
            interval_s: between two looks at them.
        """
        self._standing = standing
        self._heartbeat = PeriodicTimer(interval_s, self._look)

    def begin(self, stage: str, *, planned: int) -> None:
        """A stage begins."""
        self._tags, self._left = {"stage": stage}, planned
        self._heartbeat.start()

    def found(self) -> None:
        """A task is in the lake already."""
        self._left -= 1

    def ended(self, outcome: TaskResult[Any]) -> None:
        """A task ended, so Ray is up."""
        self._left -= 1
        failure, told = outcome.failure, self._instruments
        how = failure.failure_class.value if failure else DONE
        told.tasks.inc(1, self._tags | {"outcome": how})
        told.seconds.observe(outcome.seconds, self._tags)
        if stored := outcome.metrics.get("stored_bytes"):
            told.stored.inc(stored, self._tags)
        residual = outcome.metrics.get("median_residual")
        if residual is not None:
            told.residual.observe(residual, self._tags)

    def end(self) -> None:
        """The stage is over."""
        self._heartbeat.stop()
        self._look()

    def _look(self) -> None:
        if ray_cluster.ray.is_initialized():
            self._instruments.workers.set(self._standing().ready)
            self._instruments.left.set(self._left, self._tags)

    @cached_property
    def _instruments(self) -> "_Instruments":
        # What is told before Ray is up is lost.
        return _Instruments()


class _Instruments:
    def __init__(self) -> None:
        stage = ("stage",)
        self.tasks = Counter(
            "stir_ray_tasks_total",
            "Tasks that ended, by how: done, or the class of the failure",
            ("stage", "outcome"),
        )
        self.seconds = Histogram(
            "stir_ray_task_seconds", "That the last attempt at a task took", _SECONDS, stage
        )
        self.stored = Counter("stir_ray_stored_bytes_total", "Stored in the lake", stage)
        self.residual = Histogram(
            "stir_ray_residual",
            "Median over images of an inversion's relative residual; below 0.1 is converged well",
            _RESIDUALS,
            stage,
        )
        self.workers = Gauge("stir_ray_workers", "Workers that are up")
        self.left = Gauge("stir_ray_tasks_left", "Tasks that have not ended", stage)
