"""Show inverted images to a model and measure whether it is fooled too."""

from collections.abc import Mapping

from torch import Tensor

from stir_ray.errors import MissingPart
from stir_ray.lake.schemas import COMPARISONS
from stir_ray.lake.tables import build
from stir_ray.plan.measurement import Compare, Comparison
from stir_ray.stages.phases import Phase
from stir_ray.stages.subspaces import compare_subspaces
from stir_ray.stages.views import scores
from stir_ray.stages.workbench import Workbench


def compare_models(task: Compare, bench: Workbench) -> None:
    """Make the missing comparisons of a task from the stored inversions of its reference.

    Raises:
        MissingPart: if inversions of a layer are not stored; those of the others are compared.
    """
    missing = [one for one in task.comparisons if not bench.is_stored(one.part)]
    with_subspaces = task.with_subspaces and not bench.is_stored(task.subspaces_part)
    if with_subspaces:
        compare_subspaces(task, bench)
    if not missing and not with_subspaces:
        # Another run has done it since it was planned.
        bench.meter.note(found=1.0)
        return
    if len(missing) == len(task.comparisons) and with_subspaces == task.with_subspaces:
        bench.meter.note(whole=1.0)
    absent = []
    for comparison in missing:
        if bench.is_stored(comparison.images):
            compare_layer(comparison, bench.inverted(comparison.images), bench)
        else:
            absent.append(str(comparison.layer))
    if absent:
        raise MissingPart(
            f"inverted images of layer {', '.join(absent)} are not in the lake; see why their "
            "inversion failed"
        )


def compare_layer(comparison: Comparison, images: Tensor, bench: Workbench) -> None:
    """Store how every layer of the target sees `images`, inverted from a layer of the reference."""
    question, target = comparison.question, comparison.target
    of_reference = bench.real_view(comparison.reference, question)
    own = of_reference[question.layers.index(comparison.layer)]
    seen = bench.real_view(target, question)
    fooled = bench.view(target, question, images)
    baselines = bench.baselines(target, question, comparison.seed)
    with bench.meter.spending(Phase.COMPARE):
        rows: list[Mapping[str, float]] = [
            scores("stir", real, inverted) | scores("cka", real, own) | baseline
            for real, inverted, baseline in zip(seen, fooled, baselines, strict=True)
        ]
    table = build(
        COMPARISONS,
        {
            "reference": comparison.reference.weights,
            "target": target.weights,
            "reference_layer": comparison.layer,
            "target_layer": list(question.layers),
            "seed": comparison.seed,
            "images": len(images),
            **{name: [row[name] for row in rows] for name in rows[0]},
        },
    )
    bench.write(comparison.part, table)
