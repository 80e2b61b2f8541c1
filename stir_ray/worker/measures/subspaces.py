"""How alike two models spread the same images, layer by layer: subspace similarity."""

from torch import Tensor

from stir_ray.lake.parquet import make_table
from stir_ray.lake.schemas import SUBSPACES
from stir_ray.numerics.subspace import chance_similarity, subspace_similarity
from stir_ray.plan.measurement import Compare
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.model_views import directions


def compare_subspaces(task: Compare, bench: WorkerContext) -> None:
    """Store how alike all layers of the target and of the reference spread the real images."""
    spec = task.spec
    of_reference, of_target = (
        directions(model, spec, bench) for model in (task.reference, task.target)
    )
    pairs = [similarity(target, reference) for target in of_target for reference in of_reference]
    reference_layers, target_layers = (
        spec.layers_of(model) for model in (task.reference, task.target)
    )
    table = make_table(
        SUBSPACES,
        {
            "reference": task.reference.weights,
            "target": task.target.weights,
            "reference_layer": [reference for _ in target_layers for reference in reference_layers],
            "target_layer": [target for target in target_layers for _ in reference_layers],
            "images": len(bench.image_set(spec).ids),
            **{name: [pair[name] for pair in pairs] for name in pairs[0]},
        },
    )
    bench.write(task.subspaces_artifact, table)


def similarity(one: Tensor, other: Tensor) -> dict[str, float | int]:
    """Of two sets of directions, the leading ones of each that both have."""
    k, units = min(len(one), len(other)), one.shape[1]
    if k == 0 or units != other.shape[1]:
        return {"directions": 0, "chance": float("nan"), "subspace_similarity": float("nan")}
    return {
        "directions": k,
        "chance": chance_similarity(k=k, units=units),
        "subspace_similarity": float(subspace_similarity(one[:k], other[:k])),
    }
