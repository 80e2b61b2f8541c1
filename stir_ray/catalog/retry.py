"""Run failed tasks again, and what waited for them."""

from collections.abc import Iterable

from stir_ray.plan.failure_filter import FailedTask
from stir_ray.plan.preparation import Inspection
from stir_ray.plan.tasks import Task, task_id


class Retry:
    """Wanted are chosen failed tasks, and every task that builds on one that succeeded now.

    What builds on a repaired task is run whether it failed, was chosen, or was never tried: after
    a failed training nothing of its model could even be planned. What still misses something else
    then fails again, as a dependency, once it has done what it can.
    """

    def __init__(self, chosen: Iterable[FailedTask]) -> None:
        """Of tasks that failed and are not done."""
        self._chosen = {one.id for one in chosen}
        self._made: set[str] = set()

    def includes(self, task: Task) -> bool:
        """Whether the task is run if it misses a part."""
        # A file that changed is inspected anew: without that nothing else can be planned.
        return isinstance(task, Inspection) or self._is_repair(task)

    def succeeded(self, task: Task) -> None:
        """What builds on the task is wanted too, if the task itself was."""
        if self._is_repair(task):
            self._made |= task.provides

    def _is_repair(self, task: Task) -> bool:
        if not task.is_ready:
            return False
        waited = bool(self._made) and not self._made.isdisjoint(task.requires)
        return waited or task_id(task) in self._chosen
