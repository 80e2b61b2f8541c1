"""What is wrong in a lake is found, named, removed on request, and computed again."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stir_ray.catalog.verify import Finding, verify
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.lake.schemas import (
    COMPARISONS,
    IMAGES,
    INVERSIONS,
    TRAININGS,
    TableSchema,
)
from stir_ray.lake.store import ObjectStore
from stir_ray.measures import artifact_tables
from tests.broken import job_file, stir_ray
from workflows import invariance


def findings(lake: str) -> dict[str, str]:
    """Problems by key."""
    seen = verify(open_lake(lake))
    return {one.key: one.problem for one in seen if isinstance(one, Finding)}


def first(lake: str, pattern: str) -> Path:
    """The first file of a kind."""
    return min(Path(lake).glob(pattern))


def test_a_finished_lake_is_right(finished: Path) -> None:
    assert findings(str(finished)) == {}
    # Figures and the page are made anew from the rest whenever one asks for them.
    assert len(list(verify(open_lake(str(finished))))) == len([
        path
        for path in finished.rglob("*.*")
        if "figures" not in path.parts and path.name != "page.html"
    ])  # fmt: skip


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-37])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_flip, _truncate, _empty])
@pytest.mark.parametrize(
    "pattern", ["artifacts/comparisons/*/*", "artifacts/images/*/*", "artifacts/models/*/*"]
)
def test_a_damaged_part_is_named(
    finished_copy: Callable[[], Job], harm: Callable[[Path], None], pattern: str
) -> None:
    lake = finished_copy().lake
    part = first(lake, pattern)
    harm(part)
    assert list(findings(lake)) == [str(part.relative_to(lake))]


def test_a_truncated_checkpoint_is_named(finished_copy: Callable[[], Job]) -> None:
    lake = finished_copy().lake
    checkpoint = first(lake, "checkpoints/*/1-*.safetensors")
    _truncate(checkpoint)
    found = findings(lake)
    assert "its bytes" in found.pop(str(checkpoint.relative_to(lake)))
    # And so is the record of the training, which would keep it from being trained again.
    ((record, problem),) = found.items()
    assert record.startswith("artifacts/trainings/")
    assert checkpoint.name in problem


def test_a_checkpoint_stored_while_the_lake_is_read_is_not_missed(
    finished_copy: Callable[[], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_copy()
    checkpoint = first(job.lake, "checkpoints/*/1-*.safetensors")
    late = str(checkpoint.relative_to(job.lake))
    really = ObjectStore.list
    monkeypatch.setattr(
        ObjectStore,
        "list",
        lambda objects, folder: {k: v for k, v in really(objects, folder).items() if k != late},
    )
    assert findings(job.lake) == {}
    checkpoint.unlink()
    (problem,) = findings(job.lake).values()
    assert late in problem


def test_a_damaged_checkpoint_is_trained_again(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    _flip(first(job.lake, "checkpoints/*/1-*.safetensors"))
    lake = open_lake(job.lake)
    for key in findings(job.lake):
        lake.objects.delete(key)
    summary = invariance.run(job, serial=True)
    # The same weights again: nothing that was measured on them is measured again.
    assert dict(summary.tally.ran) == {"train": 1}
    assert findings(job.lake) == {}


def test_a_part_under_the_name_of_another_is_named(finished_copy: Callable[[], Job]) -> None:
    lake = finished_copy().lake
    one, other = sorted(Path(lake).glob("artifacts/comparisons/*/*"))[:2]
    other.write_bytes(one.read_bytes())
    assert "another artifact" in findings(lake)[artifact_key("comparisons", other.stem)]


def test_a_foreign_file_and_a_part_of_another_table_are_named(
    finished_copy: Callable[[], Job],
) -> None:
    lake = finished_copy().lake
    comparison = first(lake, "artifacts/comparisons/*/*")
    moved = Path(lake) / artifact_key(INVERSIONS.name, comparison.stem)
    moved.parent.mkdir(exist_ok=True)
    comparison.rename(moved)
    (Path(lake) / "artifacts" / COMPARISONS.name / "notes.txt").write_text("mine")
    found = findings(lake)
    assert "columns" in found[str(moved.relative_to(lake))]
    assert "not a part" in found["artifacts/comparisons/notes.txt"]
    assert len(found) == 2


def test_what_was_damaged_and_removed_is_computed_again(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    part = first(job.lake, "artifacts/comparisons/*/*")
    before = open_lake(job.lake).read(COMPARISONS, part.stem)
    _flip(part)
    lake = open_lake(job.lake)
    for key in findings(job.lake):
        lake.objects.delete(key)
    assert invariance.run(job, serial=True).tally.tasks == 1
    assert lake.read(COMPARISONS, part.stem).equals(before)


def _rewrite(lake: Lake, schema: TableSchema, artifact_id: str, table: pa.Table) -> str:
    """Store another table under the name of an artifact, with the content that it hashes."""
    content = _content(lake.read(schema, artifact_id))
    lake.write(schema, artifact_id, table, content=content)
    return artifact_key(schema.name, artifact_id)


def _content(table: pa.Table) -> str:
    return table.schema.metadata[b"stir_ray.content"].decode()


@pytest.mark.parametrize("schema", [INVERSIONS, IMAGES, TRAININGS], ids=lambda s: s.name)
def test_an_intact_artifact_under_the_name_of_another_is_damage(
    finished_copy: Callable[[], Job], schema: TableSchema
) -> None:
    lake = open_lake(finished_copy().lake)
    first_id, other_id = sorted(lake.stored(schema))[:2]
    table = lake.read(schema, first_id)
    lake.write(schema, other_id, table, content=_content(table))
    problem = findings(lake.objects.url)[artifact_key(schema.name, other_id)]
    assert problem == "its content is not what its name is the hash of"


def _set(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    place = table.column_names.index(column)
    values = table[column].to_pylist()
    values[row] = value
    return table.set_column(
        place, table.schema.field(place), pa.array(values, table.schema.field(place).type)
    )


@pytest.mark.parametrize(
    ("schema", "column", "value", "expected"),
    [
        (INVERSIONS, "residual", math.nan, "`residual` holds NaN"),
        (INVERSIONS, "drift", -0.5, "[0, inf]"),
        (COMPARISONS, "target_layer", 2, "rows with equal reference_layer, target_layer"),
        (COMPARISONS, "stir", 1.001, "[0, 1]"),
        (COMPARISONS, "noise_stir_unbiased", 1.001, "[-1, 1]"),
        (COMPARISONS, "chance_stir_unbiased_q95", -1.001, "[-1, 1]"),
        (COMPARISONS, "images", 0, "[1, inf)"),
    ],
)
def test_a_value_out_of_its_range_is_named(
    finished_copy: Callable[[], Job], schema: TableSchema, column: str, value: object, expected: str
) -> None:
    lake = open_lake(finished_copy().lake)
    artifact_id = min(lake.stored(schema))
    table = _set(lake.read(schema, artifact_id), column, 0, value)
    key = _rewrite(lake, schema, artifact_id, table)
    assert expected in findings(lake.objects.url)[key]


def test_results_and_records_of_jobs_are_read_too(finished_copy: Callable[[], Job]) -> None:
    lake = finished_copy().lake
    harmed = [first(lake, pattern) for pattern in ("jobs/small/*.parquet", "jobs/small/specs/*")]
    _flip(harmed[0])
    harmed[1].write_text(harmed[1].read_text().replace('"count": 11', '"count": 12'))
    notes = Path(lake) / "jobs/small/notes.txt"
    notes.write_text("mine")
    found = findings(lake)
    assert set(found) == {str(path.relative_to(lake)) for path in [*harmed, notes]}
    assert "no object of this name belongs here" in found["jobs/small/notes.txt"]


def test_everything_that_is_mended_ends_as_if_nothing_had_happened(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path, lake = job_file(job, tmp_path), open_lake(job.lake)
    before = _contents(lake)
    for pattern, harm in {
        "artifacts/comparisons/*/*": _flip,
        "artifacts/models/*/*": _truncate,
        "artifacts/image_sets/*/*": _flip,
        "artifacts/images/*/*": _empty,
        "jobs/small/results.parquet": _flip,
        "jobs/small/specs/*": _truncate,
        "checkpoints/*/1-*": _flip,
    }.items():
        harm(first(job.lake, pattern))
    alien = Path(job.lake) / "artifacts/comparisons/notes.txt"
    alien.write_text("mine")
    code, said, error = stir_ray("verify", path, "--repair")
    # A record stays until its job is run: without it what the job needs would pass for unused.
    assert (code, "stays until its job is run again" in error) == (3, True)
    assert said.count("(removed)") == 7
    assert stir_ray("run", path, "--serial")[0] == 0
    one, *_, other = sorted(lake.stored(INVERSIONS))
    lake.write(INVERSIONS, other, lake.read(INVERSIONS, one))
    assert stir_ray("verify", path, "--repair")[0] == 0
    assert "Tasks run: 1 invert." in stir_ray("run", path, "--serial")[1]
    assert stir_ray("verify", path)[0] == 0
    assert alien.exists()
    assert _contents(lake) == before


def _contents(lake: Lake) -> dict[str, Any]:
    """Every part without its provenance, every record and result."""
    schemas = {schema.name: schema for schema in artifact_tables().values()}
    parts = [named for key in lake.objects.list("artifacts") if (named := artifact_key.parse(key))]
    read: dict[str, Any] = {
        part_id: lake.read(schemas[table], part_id).to_pydict() for table, part_id in parts
    }
    for path in Path(lake.objects.url).glob("jobs/small/specs/*"):
        read[path.name] = json.loads(path.read_text())["job"]
    return read


def test_an_artifact_of_another_version_stays(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path, lake = job_file(job, tmp_path), open_lake(job.lake)
    artifact_id = min(lake.stored(COMPARISONS))
    _rewrite(lake, COMPARISONS, artifact_id, lake.read(COMPARISONS, artifact_id).drop(["stir"]))
    code, said, _ = stir_ray("verify", path, "--repair")
    assert (code, "0 are damaged, 1 do not belong here" in said) == (0, True)
    assert "(removed)" not in said
