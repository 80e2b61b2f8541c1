"""What a task builds on, and what others can build on once it is done.

Both speak of the same grounds: that a job is inspected, that a model is trained, and that images
are inverted. A task can be done as soon as all the grounds that it needs are made.
"""

from stir_ray.plan.checkpoints import Checkpoint
from stir_ray.plan.measurement import Compare, Comparison, Invert
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from stir_ray.plan.robustness import Evaluate, SelectTestImages
from stir_ray.plan.tasks import Task

INSPECTED = "inspected"
"""The ground of everything: nothing is planned of a job that is not inspected."""


def made_by(task: Task) -> frozenset[str]:
    """The grounds that a task makes."""
    match task:
        case CollectImages() | SelectTestImages() | InspectModel():
            return frozenset({INSPECTED})
        case Train():
            return frozenset({task.name})
        case Invert():
            return frozenset({task.images_part.id} if task.keep is None else ())
        case Compare() | Evaluate():
            return frozenset()


def needed_by(task: Task) -> frozenset[str]:
    """The grounds that a task needs, whether they are made already or not."""
    match task:
        case CollectImages() | SelectTestImages() | InspectModel():
            return frozenset()
        case Train():
            # Whether it starts from random weights or not: it is planned once all is inspected.
            return _of(*([task.start] if task.start else []))
        case Invert():
            return _of(task.reference, *task.targets)
        case Compare():
            of_each = (needed_by_comparison(one) for one in task.comparisons)
            return frozenset().union(*of_each)
        case Evaluate():
            return _of(task.model)


def needed_by_comparison(comparison: Comparison) -> frozenset[str]:
    """The grounds of one comparison, if it looks at stored images."""
    return _of(comparison.reference, comparison.target) | {comparison.images.id}


def models_are_trained(task: Task) -> bool:
    """Whether there are weights of every model that a task looks at; its id depends on them."""
    match task:
        case Evaluate():
            return task.model.is_stored
        case Invert():
            models = (task.reference, *task.targets)
        case Compare():
            models = (task.reference, task.target)
        case Train():
            models = (task.start,) if task.start else ()
        case _:
            models = ()
    return all(model.is_trained for model in models)


def _of(*checkpoints: Checkpoint) -> frozenset[str]:
    # In one job a role is one training, if it is one at all.
    return frozenset({INSPECTED, *(checkpoint.role for checkpoint in checkpoints)})
