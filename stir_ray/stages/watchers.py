"""Several who are told how a stage goes on."""

from stir_ray.execution.executor import Outcome
from stir_ray.plan.tasks import Task
from stir_ray.stages.compute import Watcher


class Watchers:
    """Tells each of them, in their order."""

    def __init__(self, *each: Watcher) -> None:
        """These."""
        self._each = each

    def begin(self, stage: str, *, planned: int) -> None:
        """A stage begins."""
        for watcher in self._each:
            watcher.begin(stage, planned=planned)

    def found(self) -> None:
        """A task is in the lake already."""
        for watcher in self._each:
            watcher.found()

    def ended(self, outcome: Outcome[Task]) -> None:
        """A task ended."""
        for watcher in self._each:
            watcher.ended(outcome)

    def end(self) -> None:
        """The stage is over."""
        for watcher in self._each:
            watcher.end()
