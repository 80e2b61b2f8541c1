"""Results beside the tidy table: what a job asks for besides STIR by linear CKA."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from stir_ray.identity import Artifact
from stir_ray.lake.parquet import Lake, concat_tables
from stir_ray.lake.schemas import (
    CORRECT,
    HALF_SAMPLE_SCORES,
    HALF_SAMPLES,
    METAMER_COUNTS,
    METAMERS,
    OTHER_SIMILARITIES,
    PREDICTIONS,
    SIMILARITIES,
    TEST_CORRECT,
    UNCHANGED_PREDICTIONS,
    TableSchema,
)
from stir_ray.plan.robustness import Evaluate
from stir_ray.plan.study import Study
from stir_ray.results.cell_index import Cell


@dataclass(frozen=True)
class Placed:
    """A stored part and the columns that are its place in the results."""

    place: Mapping[str, object]
    part_id: str

    @classmethod
    def at(cls, cell: Cell, part: Artifact) -> Self:
        """A part of a cell."""
        place = {"model": cell.model, "epoch": cell.epoch, "direction": cell.direction}
        return cls(place, part.id)

    @property
    def said(self) -> list[object]:
        """What a result is made from, as far as this part is part of it."""
        return [*self.place.values(), self.part_id]


@dataclass(frozen=True)
class SideTables:
    """The stored parts that such results are made from; none of what a job does not ask for.

    Attributes:
        similarities: by other measures.
        predictions: of classes.
        metamers: inversions held against other images.
        half_samples: of comparisons by halves of the images.
        answers: what models get right.
        missing: how many more a job asks for.
    """

    similarities: Sequence[Placed]
    predictions: Sequence[Placed]
    metamers: Sequence[Placed]
    half_samples: Sequence[Placed]
    answers: Sequence[Placed]
    missing: int

    @classmethod
    def stored(
        cls, study: Study, places: Sequence[Cell], tests: Sequence[Evaluate], lake: Lake
    ) -> Self:
        """Those of a study; lists only tables of what is asked for."""
        predicted = ((cell, cell.comparison.predictions) for cell in places)
        halved = ((cell, cell.comparison.half_samples) for cell in places)
        asked = {
            SIMILARITIES: [
                Placed.at(cell, one) for cell in places for one in cell.comparison.similarities
            ],
            PREDICTIONS: [Placed.at(cell, part) for cell, part in predicted if part],
            METAMERS: list(_of_inversions(study)),
            HALF_SAMPLES: [Placed.at(cell, part) for cell, part in halved if part],
            CORRECT: list(_of_tests(tests)),
        }
        found = {schema: _stored(every, schema, lake) for schema, every in asked.items()}
        missing = sum(len(every) - len(found[schema]) for schema, every in asked.items())
        return cls(
            similarities=found[SIMILARITIES],
            predictions=found[PREDICTIONS],
            metamers=found[METAMERS],
            half_samples=found[HALF_SAMPLES],
            answers=found[CORRECT],
            missing=missing,
        )

    @property
    def inputs(self) -> dict[str, object]:
        """What they are made from; empty if of nothing, so that results without stay current."""
        every = {
            "similarities": self.similarities,
            "predictions": self.predictions,
            "metamers": self.metamers,
            "half_samples": self.half_samples,
            "correct": self.answers,
        }
        return {name: [one.said for one in placed] for name, placed in every.items() if placed}

    def made(self, lake: Lake) -> Iterator[tuple[TableSchema, pa.Table]]:
        """The results, empty where nothing is stored."""
        every = (
            (OTHER_SIMILARITIES, self.similarities, SIMILARITIES, _similar),
            (UNCHANGED_PREDICTIONS, self.predictions, PREDICTIONS, _unchanged),
            (METAMER_COUNTS, self.metamers, METAMERS, _counted),
            (HALF_SAMPLE_SCORES, self.half_samples, HALF_SAMPLES, _halved),
            (TEST_CORRECT, self.answers, CORRECT, _answered),
        )
        for result, placed, schema, row in every:
            read = _read(placed, schema, lake)
            yield result, concat_tables(result, ({**one.place, **row(part)} for one, part in read))


def _of_inversions(study: Study) -> Iterator[Placed]:
    if not study.spec.metamers:
        return
    compared = (one for several in study.compared.values() for one in several)
    for model in (study.pretrained, *compared):
        for seed in study.seeds:
            for layer in study.spec.layers_of(model):
                part = study.spec.agreement(model, layer, seed)
                yield Placed({"model": model.role, "epoch": model.epoch}, part.id)


def _of_tests(tests: Sequence[Evaluate]) -> Iterator[Placed]:
    for one in tests:
        # Of a model that is not trained yet there is nothing, and nobody knows what to look for.
        if one.has_correct and one.model.is_stored:
            place = {"model": one.model.role, "epoch": one.model.epoch}
            yield Placed(place, one.outputs[1].id)


def _halved(part: pa.Table) -> dict[str, object]:
    # As arrays: there are a hundred times as many rows as of anything else.
    names = (name for name in part.column_names if name not in {"reference", "target"})
    return {name: part[name].to_numpy() for name in names}


def _answered(part: pa.Table) -> dict[str, object]:
    return part.drop(["checkpoint"]).to_pydict()


def _similar(part: pa.Table) -> dict[str, object]:
    return part.drop(["reference", "target"]).to_pydict()


def _unchanged(part: pa.Table) -> dict[str, object]:
    real, inverted, noise = (
        part[f"class_of_{name}"].to_numpy() for name in ("image", "inverted", "noise")
    )
    every = np.union1d(real, inverted)
    frequent = [(classes[:, None] == every).mean(axis=0) for classes in (real, inverted)]
    return _of_inversion(part) | {
        "unchanged": float((real == inverted).mean()),
        "chance_unchanged": float(frequent[0] @ frequent[1]),
        "noise_unchanged": float((real == noise).mean()),
    }


def _counted(part: pa.Table) -> dict[str, object]:
    names = ("pearson", "spearman", "snr_db")
    medians = {f"{name}_median": float(np.median(part[name].to_numpy())) for name in names}
    nulls = {f"null_{name}": part[f"null_{name}"][0].as_py() for name in names}
    count = int(part["is_metamer"].to_numpy().sum())
    return _of_inversion(part) | {"metamers": count} | medians | nulls


def _of_inversion(part: pa.Table) -> dict[str, object]:
    """Which one it is, and of how many images."""
    names = ("seed", "reference_layer")
    return {"images": part.num_rows} | {name: part[name][0].as_py() for name in names}


def _stored(asked: Sequence[Placed], schema: TableSchema, lake: Lake) -> list[Placed]:
    stored = lake.stored(schema) if asked else frozenset()
    return [one for one in asked if one.part_id in stored]


def _read(
    placed: Sequence[Placed], schema: TableSchema, lake: Lake
) -> Iterator[tuple[Placed, pa.Table]]:
    # Places of equal models share a part: each is read once.
    ids = sorted({one.part_id for one in placed})
    parts = dict(zip(ids, lake.read_artifacts(schema, ids), strict=True))
    return ((one, parts[one.part_id]) for one in placed)
