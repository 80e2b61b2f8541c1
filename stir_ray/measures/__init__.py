"""Measures besides STIR and CKA: each is one module of this package, and one line here."""

from collections.abc import Mapping

from stir_ray.errors import JobError
from stir_ray.job import Job
from stir_ray.lake import schemas
from stir_ray.lake.schemas import TableSchema
from stir_ray.measures.half_samples import HALF_SAMPLES
from stir_ray.measures.measure import Measure, Option, Place, Scope, Views
from stir_ray.measures.metamers import METAMERS
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.measures.similarities import SIMILARITIES
from stir_ray.measures.subspaces import SUBSPACES

__all__ = [
    "MEASURES",
    "Measure",
    "Option",
    "Place",
    "Scope",
    "Views",
    "artifact_tables",
    "requested",
    "result_tables",
]

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        SIMILARITIES,
        HALF_SAMPLES,
        PREDICTIONS,
        METAMERS,
        SUBSPACES,
    )
}
"""By name, in the order in which they are computed."""


def requested(job: Job) -> tuple[tuple[str, Option], ...]:
    """Return name and option of every measure that a job requests.

    Raises:
        JobError: if there is no measure of a name in `measures`.
    """
    if unknown := sorted(set(job.measures) - set(MEASURES)):
        raise JobError(f"measures: there is no `{unknown[0]}`; choose from {', '.join(MEASURES)}")
    return tuple(
        (name, option) for name, measure in MEASURES.items() for option in measure.options(job)
    )


def artifact_tables() -> Mapping[str, TableSchema]:
    """Return the schema of every table of artifacts, by name."""
    tables = *schemas.ARTIFACT_TABLES, *(measure.table for measure in MEASURES.values())
    return {schema.name: schema for schema in tables}


def result_tables() -> Mapping[str, TableSchema]:
    """Return the schema of every table of a job's results, by name."""
    tables = *schemas.RESULT_TABLES, *(measure.result_table for measure in MEASURES.values())
    return {schema.name: schema for schema in tables}
