"""What Prometheus reads of a run, from the metrics agent of a real Ray."""

import re
import time
import urllib.request
from collections.abc import Iterator

import pytest

from stir_ray.execution import ray_cluster
from stir_ray.execution.executor import TaskResult, WorkerStatus
from stir_ray.execution.ray_metrics import RayMetrics
from stir_ray.execution.retry import Failure, FailureClass

STAGE = "stage of this test"
PATIENCE_S = 60.0
Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def watched(local_ray: None) -> Iterator[RayMetrics]:
    """A stage of 13 tasks that is in the middle."""
    metrics = RayMetrics(lambda: WorkerStatus(up=5, wanted=7, running=3), interval_s=0.1)
    metrics.begin(STAGE, planned=13)
    metrics.found()
    for seconds, stored, residual in [(2.0, 101, 0.02), (2.5, 103, 0.5), (40.0, 107, 2.0)]:
        measures = {"stored_bytes": stored, "median_residual": residual}
        metrics.ended(TaskResult("a task", None, seconds, "here", 1, (), measures))
    hung = Failure(FailureClass.TIMEOUT, "x", "too long", "")
    metrics.ended(TaskResult("a task", hung, 200.0, "here", 2, (hung, hung)))
    yield metrics
    metrics.end()


def test_prometheus_reads_what_was_told(watched: RayMetrics) -> None:
    stage = ("stage", STAGE)
    expected: dict[Series, float] = {
        series("ray_stir_ray_tasks_total", stage, ("outcome", "done")): 3,
        series("ray_stir_ray_tasks_total", stage, ("outcome", "hung")): 1,
        series("ray_stir_ray_stored_bytes_total", stage): 101 + 103 + 107,
        series("ray_stir_ray_task_seconds_count", stage): 4,
        series("ray_stir_ray_task_seconds_bucket", stage, ("le", "3.0")): 2,
        series("ray_stir_ray_task_seconds_bucket", stage, ("le", "100.0")): 3,
        series("ray_stir_ray_residual_bucket", stage, ("le", "0.03")): 1,
        series("ray_stir_ray_residual_bucket", stage, ("le", "1.0")): 2,
        series("ray_stir_ray_residual_bucket", stage, ("le", "+Inf")): 3,
        series("ray_stir_ray_workers"): 5,
        series("ray_stir_ray_tasks_left", stage): 13 - 1 - 4,
    }
    read: dict[Series, float] = {}
    end = time.monotonic() + PATIENCE_S
    while any(name not in read for name in expected) and time.monotonic() < end:
        time.sleep(0.2)
        read = scraped()
    assert {name: read.get(name) for name in expected} == expected


def test_what_is_told_before_ray_is_up_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.ray, "is_initialized", lambda: False)
    metrics = RayMetrics(lambda: WorkerStatus(0, 0, 0), interval_s=0.001)
    metrics.begin(STAGE, planned=0)
    time.sleep(0.01)
    metrics.end()


def series(name: str, *tags: tuple[str, str]) -> Series:
    return name, frozenset(tags)


def scraped() -> dict[Series, float]:
    """Every series of this package and its value, with the tags that it was given here."""
    (node,) = ray_cluster.ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    found = (re.fullmatch(r"(ray_stir_ray_\w+)\{(.*)\} (\S+)", line) for line in lines)
    read = {}
    for name, labels, value in (one.groups() for one in found if one):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if tags.get("stage", STAGE) == STAGE:
            ours = ((key, tags[key]) for key in ("stage", "outcome", "le") if key in tags)
            read[series(name, *ours)] = float(value)
    return read
