"""What tasks make: parts of tables, identified by content before they are computed.

Ids hold what a result depends on, never where it lies or who made it.
"""

from dataclasses import asdict, dataclass

from stir_ray.identity import content_id
from stir_ray.numerics.settings import InversionSettings

# Bumped by hand when the code behind a table starts to give other results.
RECIPES = {
    "image_sets": 1,
    "models": 3,
    "trainings": 2,
    "inversions": 2,
    "images": 1,
    "comparisons": 1,
    "similarities": 1,
    "predictions": 1,
    "metamers": 1,
    "half_samples": 1,
    "subspaces": 1,
    "test_sets": 1,
    "accuracies": 2,
    "answers": 2,
}

_YOUNGER = ("start", "parameterisation", "prior")
"""Settings that there were not always."""


@dataclass(frozen=True)
class Part:
    """One object that a task makes: a table's name and a content id."""

    table: str
    id: str


def part(table: str, **content: object) -> Part:
    """The part of a table that depends on `content`, and on the table's recipe."""
    return Part(table, content_id(table, recipe=RECIPES[table], **content))


def content_of_settings(settings: InversionSettings) -> dict[str, object]:
    """What identifies settings: younger ones are said only where they are not as they always were.

    So an inversion has the id that it had before there was such a setting.
    """
    said, usual = asdict(settings), asdict(InversionSettings())
    return {
        name: value for name, value in said.items() if name not in _YOUNGER or value != usual[name]
    }
