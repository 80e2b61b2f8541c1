"""The cells of the results: a comparison each, found by the columns of the table."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stir_ray.errors import InputError
from stir_ray.plan.checkpoints import FINETUNED, Checkpoint, Role
from stir_ray.plan.formatting import spelled
from stir_ray.plan.measurement import Comparison
from stir_ray.plan.study import Study
from stir_ray.results.metric_info import DIRECTIONS, FT_FT, FT_PT, PT_FT, PT_PT

_NUMBERS = ("epoch", "seed", "reference_layer", "target_layer")
_EXAMPLE = "ft|pt epoch=8 seed=0 reference_layer=3 target_layer=5"


@dataclass(frozen=True)
class Cell:
    """A comparison and its coordinates in the results."""

    model: Role
    epoch: int
    direction: str
    comparison: Comparison


def cells(study: Study) -> Iterator[Cell]:
    """Yield every cell of the results. Cells of equal models share their comparison."""
    for role, checkpoints in study.compared.items():
        for ft in checkpoints:
            for direction, (reference, target) in _pairs(study.pretrained, ft).items():
                for seed in study.seeds:
                    for layer in study.spec.layers_of(reference):
                        comparison = Comparison(study.spec, reference, target, layer, seed)
                        yield Cell(role, ft.epoch, direction, comparison)


def _pairs(pt: Checkpoint, ft: Checkpoint) -> Mapping[str, tuple[Checkpoint, Checkpoint]]:
    """Return reference (inverted) and target by direction."""
    return {PT_PT: (pt, pt), FT_PT: (pt, ft), FT_FT: (ft, ft), PT_FT: (ft, pt)}


def find_cell(words: Iterable[str], study: Study) -> tuple[Cell, int]:
    """Return the cell with the given columns of the results, and its target layer.

    Args:
        words: `column=value` each, in any order; the direction may stand alone, and `model` is
            `finetuned` by default.
        study: with the cell.

    Raises:
        InputError: naming the values that exist.
    """
    words = _parse(words)
    models = {str(role): checkpoints for role, checkpoints in study.compared.items()}
    for name, values in (("model", list(models)), ("direction", DIRECTIONS)):
        if words[name] not in values:
            raise InputError(f"cell: `{name}={words[name]}`: there is {', '.join(values)}")
    checkpoints, direction = models[words["model"]], words["direction"]
    pair = _pairs(study.pretrained, checkpoints[-1])[direction]
    values = (
        [checkpoint.epoch for checkpoint in checkpoints],
        study.seeds,
        *(study.spec.layers_of(model) for model in pair),
    )
    number: dict[str, int] = {}
    for name, existing in zip(_NUMBERS, values, strict=True):
        if words[name] not in {str(value) for value in existing}:
            model = f" of the {words['model']} model" if name == "epoch" else ""
            raise InputError(
                f"cell: `{name}={words[name]}`: this job has {name} {spelled(existing)}{model}"
            )
        number[name] = int(words[name])
    (cell,) = (
        cell
        for cell in cells(study)
        if (cell.model, cell.direction, cell.epoch) == (words["model"], direction, number["epoch"])
        and cell.comparison.seed == number["seed"]
        and cell.comparison.layer == number["reference_layer"]
    )
    return cell, number["target_layer"]


def _parse(words: Iterable[str]) -> dict[str, str]:
    columns = ("direction", *_NUMBERS)
    parsed: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=") if "=" in word else ("direction", "", word)
        if name not in ("model", *columns) or not value:
            raise InputError(f'cell: `{word}` is no column with its value; e.g. "{_EXAMPLE}"')
        if name in parsed:
            raise InputError(f"cell: `{name}` is given twice")
        parsed[name] = value
    missing = [name for name in columns if name not in parsed]
    if missing:
        raise InputError(f'cell: `{missing[0]}` is missing; e.g. "{_EXAMPLE}"')
    return {"model": str(FINETUNED), **parsed}
