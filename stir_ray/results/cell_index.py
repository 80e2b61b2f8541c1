"""Every place in the results, and finding one by the words of a person."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stir_ray.errors import InputError
from stir_ray.plan.checkpoints import FINETUNED, Checkpoint, Role
from stir_ray.plan.formatting import spelled
from stir_ray.plan.measurement import Comparison
from stir_ray.plan.study import Study
from stir_ray.results.matrices import DIRECTIONS, FT_FT, FT_PT, PT_FT, PT_PT

_NUMBERS = ("epoch", "seed", "reference_layer", "target_layer")
_EXAMPLE = "ft|pt epoch=8 seed=0 reference_layer=3 target_layer=5"


@dataclass(frozen=True)
class Cell:
    """A comparison and its place in the results."""

    model: Role
    epoch: int
    direction: str
    comparison: Comparison


def cells(study: Study) -> Iterator[Cell]:
    """Every place in the results. Places of equal models share their comparison."""
    pt = study.pretrained
    for role, checkpoints in study.compared.items():
        for ft in checkpoints:
            for direction, reference, target in _directions(pt, ft):
                for seed in study.seeds:
                    for layer in study.spec.layers_of(reference):
                        comparison = Comparison(study.spec, reference, target, layer, seed)
                        yield Cell(role, ft.epoch, direction, comparison)


def _directions(pt: Checkpoint, ft: Checkpoint) -> tuple[tuple[str, Checkpoint, Checkpoint], ...]:
    """Name, reference (inverted) and target (looks)."""
    return ((PT_PT, pt, pt), (FT_PT, pt, ft), (FT_FT, ft, ft), (PT_FT, ft, pt))


def find_cell(words: Iterable[str], study: Study) -> tuple[Cell, int]:
    """The cell that is named by the columns of the results, and the layer that looks.

    Args:
        words: `column=value` each, in any order; the direction may stand alone, and `model` is
            `finetuned` if it is not said.
        study: that has the cell.

    Raises:
        InputError: saying what there is instead.
    """
    said = {"model": FINETUNED, **_said(words)}
    absent = [name for name in ("direction", *_NUMBERS) if name not in said]
    if absent:
        raise InputError(f'cell: `{absent[0]}` is missing; e.g. "{_EXAMPLE}"')
    models = {str(role): checkpoints for role, checkpoints in study.compared.items()}
    model = _one_of("model", said["model"], list(models))
    direction = _one_of("direction", said["direction"], DIRECTIONS)
    epochs = [checkpoint.epoch for checkpoint in models[model]]
    sides = next(
        (study.spec.layers_of(reference), study.spec.layers_of(target))
        for name, reference, target in _directions(study.pretrained, models[model][-1])
        if name == direction
    )
    there = dict(zip(_NUMBERS, (epochs, study.seeds, *sides), strict=True))
    place = {name: _number(name, said, there[name], model) for name in _NUMBERS}
    (found,) = (
        cell
        for cell in cells(study)
        if (cell.model, cell.epoch, cell.direction) == (model, place["epoch"], direction)
        and cell.comparison.seed == place["seed"]
        and cell.comparison.layer == place["reference_layer"]
    )
    return found, place["target_layer"]


def _said(words: Iterable[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=") if "=" in word else ("direction", "", word)
        if name not in ("model", "direction", *_NUMBERS) or not value:
            raise InputError(f'cell: `{word}` is no column with its value; e.g. "{_EXAMPLE}"')
        if name in said:
            raise InputError(f"cell: `{name}` stands there twice")
        said[name] = value
    return said


def _one_of(name: str, value: str, there: Sequence[str]) -> str:
    if value not in there:
        raise InputError(f"cell: `{name}={value}`: there is {', '.join(there)}")
    return value


def _number(name: str, said: Mapping[str, str], there: Iterable[int], model: str) -> int:
    numbers = {str(number): number for number in there}
    if said[name] not in numbers:
        whose = f" of the {model} model" if name == "epoch" else ""
        raise InputError(
            f"cell: `{name}={said[name]}`: this job has {name} {spelled(numbers.values())}{whose}"
        )
    return numbers[said[name]]
