"""What a retry runs besides the failed tasks that were chosen."""

from __future__ import annotations

from stir_ray.catalog.retry import Retry
from stir_ray.plan.models import inspections
from tests.small_job import small_job


def test_inspections_are_always_run_for_nothing_can_be_planned_without_them() -> None:
    job = small_job("lake", robustness={"corruptions": ["fog"]})
    tasks = list(inspections(job, lambda _: "version"))
    assert {type(task).__name__ for task in tasks} == {
        *("CollectImages", "SelectTestImages", "InspectModel"),
    }
    assert all(Retry(()).includes(task) for task in tasks)
