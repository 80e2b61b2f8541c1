"""What must hold after any fault."""

from collections import Counter
from pathlib import Path

from tests.faults.runs import Scene

TASKS = {"inspect": 2, "train": 3, "invert": 24, "compare": 6}
"""Of the small job, by stage."""


def nothing_lost(scene: Scene, undisturbed: Path, *, at_most: int, unheard: int = 0) -> None:
    """The lake is right, the results are those of an undisturbed run, and little ran again.

    Args:
        scene: whose job has been run to its end.
        undisturbed: a lake of the same job that nothing befell.
        at_most: executions that may have been cut short.
        unheard: executions that may have ended in a worker that died before it could tell the
            driver; nothing else may have run twice.
    """
    assert scene.is_as_undisturbed(undisturbed)
    assert not scene.findings()
    times, cut_short = scene.times(), scene.cut_short()
    assert len(times) == sum(TASKS.values())
    # What was killed after its last part was stored need not run again.
    again = times - Counter(list(times))
    assert (again - cut_short).total() <= unheard
    assert cut_short.total() <= at_most
