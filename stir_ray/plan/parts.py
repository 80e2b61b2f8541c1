"""What tasks make: parts of tables, identified by content before they are computed.

Ids hold what a result depends on, never where it lies or who made it.
"""

from dataclasses import dataclass

from stir_ray.identity import content_id

# Bumped by hand when the code behind a table starts to give other results.
RECIPES = {
    "image_sets": 1,
    "models": 3,
    "trainings": 2,
    "inversions": 3,
    "images": 2,
    "comparisons": 2,
    "similarities": 3,
    "predictions": 2,
    "metamers": 2,
    "half_samples": 2,
    "subspaces": 1,
    "test_sets": 1,
    "accuracies": 2,
    "correct": 2,
}


@dataclass(frozen=True)
class Part:
    """One object that a task makes: a table's name and a content id."""

    table: str
    id: str


def part(table: str, **content: object) -> Part:
    """The part of a table that depends on `content`, and on the table's recipe."""
    return Part(table, content_id(table, recipe=RECIPES[table], **content))
