"""What tasks cost before they run: floating-point operations, and bytes stored and read."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from stir_ray.plan.checkpoints import Checkpoint, kind_of
from stir_ray.plan.measurement import Compare, Invert, MeasurementSpec
from stir_ray.plan.preparation import CollectImages, InspectModel, Train
from stir_ray.plan.robustness import Evaluate, SelectTestImages
from stir_ray.plan.tasks import Task

CHECKPOINTS = "checkpoints"
"""In place of a table: the weights that trainings store."""
# Measured: a part's footer, which names columns and provenance, and what a row adds.
_FOOTER_BYTES = {
    "image_sets": 3_500,
    "models": 7_100,
    "trainings": 5_200,
    "inversions": 6_600,
    "images": 3_800,
    "comparisons": 9_600,
    "similarities": 7_800,
    "predictions": 4_500,
    "metamers": 5_500,
    "half_samples": 5_500,
    "subspaces": 3_900,
    "test_sets": 2_400,
    "accuracies": 5_400,
    "correct": 3_500,
}
_COMPARISON_ROW_BYTES = 116
_SIMILARITY_ROW_BYTES = 100
_PREDICTION_ROW_BYTES = 5
_METAMER_ROW_BYTES = 28
_INVERSION_ROW_BYTES = 24
_SUBSPACE_ROW_BYTES = 10
_TEST_ROW_BYTES = 5
_ACCURACY_ROW_BYTES = 9
_HALF_ROW_BYTES = 24
_ANSWER_BYTES = 1 / 8
STORED_PIXEL_BYTES = 2
"""Of an inverted image: float16."""
_GIVEN_PIXEL_BYTES = 4
_WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Scale:
    """The sizes that costs depend on.

    Attributes:
        flops: of one image's forward pass up to each block, from block 1.
        gradient_flops: the same with the gradient of the image: one step of an inversion.
        units: of the representation after each block.
        images: that are inverted.
        pixels: of one image, all channels.
        parameters: of the model.
        training_images: by the training's id; one that is not there costs no operations.
        test_images: the same of those that every epoch is tested on.
        others: the same of models of another architecture, by their kind.
    """

    flops: Sequence[float]
    gradient_flops: Sequence[float]
    units: Sequence[int]
    images: int
    pixels: int
    parameters: int
    training_images: Mapping[str, int] = field(default_factory=dict)
    test_images: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, "Scale"] = field(default_factory=dict)

    def of(self, kind: str) -> "Scale":
        """That of a model's kind."""
        return self.others.get(kind, self)


@dataclass(frozen=True)
class Cost:
    """What work takes.

    Attributes:
        flops: floating-point operations; a multiply-add counts as 2.
        stored: bytes by table, weights as `checkpoints`.
        read: bytes of inverted images that comparisons read, if each task reads its own.
    """

    flops: float = 0.0
    stored: Mapping[str, float] = field(default_factory=dict)
    read: float = 0.0

    @property
    def stored_bytes(self) -> float:
        """Of all tables."""
        return sum(self.stored.values())

    def __add__(self, other: "Cost") -> "Cost":
        """Both together."""
        stored = dict(self.stored)
        for table, count in other.stored.items():
            stored[table] = stored.get(table, 0.0) + count
        return Cost(self.flops + other.flops, stored, self.read + other.read)

    def __mul__(self, times: int) -> "Cost":
        """So many times."""
        stored = {table: count * times for table, count in self.stored.items()}
        return Cost(self.flops * times, stored, self.read * times)


class Bundle:
    """Tasks to be priced together: one of each kind is kept, and how many there are.

    A million tasks of a study are a few dozen kinds, so a plan of them takes seconds.
    """

    def __init__(self) -> None:
        """Empty."""
        self._kinds: dict[tuple[Hashable, int | None], tuple[Task, int]] = {}

    def add(self, task: Task, steps: int | None = None) -> None:
        """One more; an inversion that took so many steps, or all if that is not known."""
        kind = _kind(task), steps
        first, count = self._kinds.get(kind, (task, 0))
        self._kinds[kind] = first, count + 1

    def cost(self, scale: Scale, steps: float | None = None) -> Cost:
        """Of all of them; of inversions of which no number of steps is known, as if of so many."""
        priced = (
            cost(task, scale, steps if own is None else own) * count
            for (_, own), (task, count) in self._kinds.items()
        )
        return sum(priced, Cost())


def _kind(task: Task) -> Hashable:
    """What the cost of a task depends on besides the scale."""
    match task:
        # The question by its identity: all tasks of a study share it, and the first one keeps it.
        case Invert():
            looks = tuple(target.kind for target in task.targets), _predicting(task)
            return id(task.question), task.layer, task.reference.kind, *looks, task.keep
        case Compare():
            models = task.reference.kind, task.target.kind
            return id(task.question), task.with_subspaces, *models, _predicting(task)
        case Evaluate():
            return task.test, task.images, task.model.kind, task.has_correct
        case _:
            return task.outputs[0].id


def cost(task: Task, scale: Scale, steps: float | None = None) -> Cost:
    """What a task costs if none of its parts is stored.

    Args:
        task: the task.
        scale: its sizes.
        steps: that an inversion takes, if it has so many; all of them if it is not given.

    What a worker keeps from inversion to inversion, how models see the real images and the noise
    starts, is left out: it is computed a few times per model.
    """
    match task:
        case Invert():
            return _inversion(task, scale, steps)
        case Compare():
            # Of the images after all steps and after half of them; and one view of the noise start,
            # one of the real images, and one for its subspaces.
            inverted = len(task.question.layers_of(task.reference))
            looking = len(task.question.layers_of(task.target))
            read = 2 * inverted * scale.images * scale.pixels * STORED_PIXEL_BYTES
            looks = 2 * inverted + 2 + task.with_subspaces
            stored = {}
            if task.with_subspaces:
                stored["subspaces"] = (
                    _FOOTER_BYTES["subspaces"] + inverted * looking * _SUBSPACE_ROW_BYTES
                )
            looked = looks * _view(task.question, task.target, scale)
            return Cost(looked, stored, float(read)) + _comparisons(task, scale)
        case Train():
            return _training(task, scale)
        case Evaluate():
            # Making the corrupted images is left out: no accelerator does it.
            rows = len(task.test.conditions)
            stored = {"accuracies": float(_FOOTER_BYTES["accuracies"] + rows * _ACCURACY_ROW_BYTES)}
            if task.has_correct:
                stored["correct"] = _FOOTER_BYTES["correct"] + rows * task.images * _ANSWER_BYTES
            flops = rows * task.images * scale.of(task.model.kind).flops[-1]
            return Cost(flops, stored)
        case CollectImages() | SelectTestImages() | InspectModel():
            return Cost(0.0, _inspected(task, scale))


def _inspected(
    task: CollectImages | SelectTestImages | InspectModel, scale: Scale
) -> dict[str, float]:
    tested = task.test.asked.images if isinstance(task, SelectTestImages) else 0
    of_rows = {
        "image_sets": scale.images * scale.pixels * _GIVEN_PIXEL_BYTES,
        "test_sets": tested * _TEST_ROW_BYTES,
        "models": 0,
    }
    table = task.outputs[0].table
    return {table: float(_FOOTER_BYTES[table] + of_rows[table])}


def _view(question: MeasurementSpec, model: Checkpoint, scale: Scale) -> float:
    """A forward pass of all images to the last block, and a Gram matrix of every layer."""
    own, layers = scale.of(model.kind), question.layers_of(model)
    products = sum(2 * own.images**2 * own.units[layer - 1] for layer in layers)
    return own.images * own.flops[-1] + products


def _inversion(task: Invert, scale: Scale, steps: float | None) -> Cost:
    own, settings = scale.of(task.reference.kind), task.question.settings
    if steps is None or not settings.stop_when_converged:
        steps = settings.iterations
    steps = min(steps, settings.iterations)
    looks = sum(look <= steps for look in settings.looks)
    # Four more forward passes at every look: of the real images, twice, of the last iterate, of the
    # rounded image; and one for the mean representation.
    forward = (1 + 4 * looks) * own.flops[task.layer - 1]
    per_image = steps * own.gradient_flops[task.layer - 1] + forward
    # Every target sees the images after all steps and after half of them.
    views = 2 * sum(_view(task.question, target, scale) for target in task.targets)
    flops = scale.images * per_image + views
    stored: dict[str, float] = {
        "inversions": _FOOTER_BYTES["inversions"] + scale.images * _INVERSION_ROW_BYTES,
    }
    if task.question.metamers:
        # Representations of images and inverted images; the null is found once per layer.
        flops += 2 * scale.images * own.flops[task.layer - 1]
        stored["metamers"] = _FOOTER_BYTES["metamers"] + scale.images * _METAMER_ROW_BYTES
    if task.keep != 0:
        kept = scale.images if task.keep is None else task.keep
        of_part = _FOOTER_BYTES["images"] + kept * scale.pixels * STORED_PIXEL_BYTES
        # Whole ones are kept as they were after half of the steps, too.
        stored["images"] = float(len(task.image_parts) * of_part)
    return Cost(flops, stored) + _comparisons(task, scale)


def _comparisons(task: Invert | Compare, scale: Scale) -> Cost:
    """What is stored of views, by other measures too, and predicting classes.

    The arithmetic of other measures is little beside a view.
    """
    question, targets = task.question, _looking(task)
    rows = sum(len(question.layers_of(target)) for target in targets)
    footers, measures = len(targets), len(question.measures)
    stored = {
        "comparisons": float(footers * _FOOTER_BYTES["comparisons"] + rows * _COMPARISON_ROW_BYTES)
    }
    if measures:
        of_one = footers * _FOOTER_BYTES["similarities"] + rows * _SIMILARITY_ROW_BYTES
        stored["similarities"] = float(measures * of_one)
    halved = sum(one.half_samples is not None for one in task.comparisons)
    if halved:
        of_one = _FOOTER_BYTES["half_samples"] + question.halves * _HALF_ROW_BYTES
        stored["half_samples"] = float(halved * of_one)
    predicting = _predicting(task)
    if predicting:
        classes = _FOOTER_BYTES["predictions"] + scale.images * _PREDICTION_ROW_BYTES
        stored["predictions"] = float(predicting * classes)
    classified = (one for one in targets if question.predictions and one.has_classifier)
    flops = sum(scale.images * scale.of(one.kind).flops[-1] for one in classified)
    return Cost(float(flops), stored)


def _looking(task: Invert | Compare) -> tuple[Checkpoint, ...]:
    """The model that looks in each comparison of a task."""
    if isinstance(task, Invert):
        return task.targets
    return (task.target,) * len(task.question.layers_of(task.reference))


def _predicting(task: Invert | Compare) -> int:
    """Comparisons whose target predicts classes."""
    return task.question.predictions * sum(target.has_classifier for target in _looking(task))


def _training(task: Train, scale: Scale) -> Cost:
    """A step is a forward pass and twice as much for the gradients of activations and weights.

    The decoder of a reconstruction is left out, as a classifier is: it is one product, 3 % of a
    ViT-B/32. A resume state is stored for as long as the training lasts, and not counted.
    """
    own, epochs = scale.of(kind_of(task.architecture)), task.training.epochs
    trained = 3 * epochs * scale.training_images.get(task.id, 0)
    tested = (epochs + 1) * scale.test_images.get(task.id, 0)
    stored = {
        "trainings": float(_FOOTER_BYTES["trainings"]),
        CHECKPOINTS: float((epochs + 1) * own.parameters * _WEIGHT_BYTES),
    }
    return Cost((trained + tested) * own.flops[-1], stored)
