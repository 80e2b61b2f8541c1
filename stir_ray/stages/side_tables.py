"""Results beside the tidy table: what a job asks for besides STIR by linear CKA."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from stir_ray.lake.schemas import OTHER_SIMILARITIES, SIMILARITIES, TableSchema
from stir_ray.lake.tables import Lake, build
from stir_ray.stages.cells import Cell


@dataclass(frozen=True)
class Placed:
    """A stored part and its place in the results."""

    cell: Cell
    part_id: str

    @property
    def said(self) -> list[object]:
        """What a result is made from, as far as this part is part of it."""
        return [self.cell.model, self.cell.epoch, self.cell.direction, self.part_id]


def stored_similarities(places: Iterable[Cell], lake: Lake) -> list[Placed]:
    """Every stored comparison by another measure; lists the table if the job asks for one."""
    every = [Placed(cell, part.id) for cell in places for part in cell.comparison.similarities]
    return _stored(every, SIMILARITIES, lake)


def other_similarities(placed: Sequence[Placed], lake: Lake) -> pa.Table:
    """The table `other_similarities`, empty where nothing is stored."""
    tables = [
        build(OTHER_SIMILARITIES, {**_place(one.cell), **_columns(part)})
        for one, part in _read(placed, SIMILARITIES, lake)
    ]
    return pa.concat_tables(tables) if tables else OTHER_SIMILARITIES.arrow().empty_table()


def _stored(every: Sequence[Placed], schema: TableSchema, lake: Lake) -> list[Placed]:
    stored = lake.stored(schema) if every else frozenset()
    return [one for one in every if one.part_id in stored]


def _read(
    placed: Sequence[Placed], schema: TableSchema, lake: Lake
) -> Iterator[tuple[Placed, pa.Table]]:
    # Places of equal models share a part: each is read once.
    ids = sorted({one.part_id for one in placed})
    parts = dict(zip(ids, lake.read_parts(schema, ids), strict=True))
    return ((one, parts[one.part_id]) for one in placed)


def _place(cell: Cell) -> dict[str, object]:
    return {"model": cell.model, "epoch": cell.epoch, "direction": cell.direction}


def _columns(part: pa.Table) -> dict[str, list]:
    return part.drop(["reference", "target"]).to_pydict()
