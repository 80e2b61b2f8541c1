"""Ids of the artifacts in a lake, by table."""

from stir_ray.lake.parquet import Lake
from stir_ray.lake.schemas import ARTIFACT_TABLES


class StoredIds(dict[str, frozenset[str]]):
    """Ids in the lake by table; a table is listed when it is first asked for, and once."""

    def __init__(self, lake: Lake) -> None:
        """Nothing is listed yet."""
        super().__init__()
        self._lake = lake
        self._schemas = {schema.name: schema for schema in ARTIFACT_TABLES}

    def __missing__(self, table: str) -> frozenset[str]:
        """List the table."""
        self[table] = self._lake.stored(self._schemas[table])
        return self[table]
