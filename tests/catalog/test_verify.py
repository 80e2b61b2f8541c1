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
from stir_ray.lake.keys import artifact_key, parse_artifact_key
from stir_ray.lake.parquet import Lake, encode, open_lake, provenance
from stir_ray.lake.schemas import (
    COMPARISONS,
    IMAGE_SETS,
    IMAGES,
    INVERSIONS,
    MODELS,
    RESULTS,
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
    assert "another part" in findings(lake)[artifact_key("comparisons", other.stem)]


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


def _rewrite(lake: Lake, schema: TableSchema, part_id: str, table: pa.Table) -> str:
    """Store a whole and sealed part with another content; its key."""
    made = provenance(lake.read(schema, part_id))
    lake.write(schema, part_id, table, **{name: made[name] for name in made if name != "part"})
    return artifact_key(schema.name, part_id)


@pytest.mark.parametrize(
    "schema", [INVERSIONS, IMAGES, COMPARISONS, TRAININGS], ids=lambda s: s.name
)
def test_a_whole_part_with_the_content_of_another_is_named(
    finished_copy: Callable[[], Job], schema: TableSchema
) -> None:
    lake = open_lake(finished_copy().lake)
    one, other = sorted(lake.stored(schema))[:2]
    key = _rewrite(lake, schema, other, lake.read(schema, one))
    assert "planned" in findings(lake.objects.url)[key] or schema is TRAININGS


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
        (INVERSIONS, "image_id", 4, "`image_id` is not as planned"),
        (INVERSIONS, "seed", 17, "`seed` is 17, and"),
        (INVERSIONS, "residual", float("nan"), "`residual` holds NaN"),
        (INVERSIONS, "residual", -0.5, "`residual` is negative"),
        (IMAGES, "reference", "another", "`reference` is another, and"),
        (COMPARISONS, "target_layer", 2, "rows with equal reference_layer, target_layer"),
        (COMPARISONS, "images", 10, "`images` is 10, and 11 was planned"),
        (COMPARISONS, "stir", 1.001, "[0, 1]"),
        (COMPARISONS, "noise_stir_unbiased", 1.001, "[-1, 1]"),
        (COMPARISONS, "chance_stir_unbiased_q95", -1.001, "[-1, 1]"),
        (COMPARISONS, "noise_stir", math.nan, "`noise_stir` is NaN, which it may be of a gray"),
        (COMPARISONS, "noise_stir_unbiased", math.nan, "`noise_stir_unbiased` is NaN, which"),
        (IMAGE_SETS, "image_id", 4, "not those of its digest"),
        (MODELS, "location", "elsewhere", "`location` is not as planned"),
        (TRAININGS, "epoch", 9, "`epoch` is not as planned"),
    ],
)
def test_a_wrong_value_in_a_whole_part_is_named(
    finished_copy: Callable[[], Job], schema: TableSchema, column: str, value: object, expected: str
) -> None:
    lake = open_lake(finished_copy().lake)
    part_id = min(lake.stored(schema))
    table = _set(lake.read(schema, part_id), column, 0, value)
    key = _rewrite(lake, schema, part_id, table)
    assert expected in findings(lake.objects.url)[key]


def test_a_part_of_the_given_job_must_agree_without_a_record_too(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    lake = open_lake(job.lake)
    for record in Path(job.lake).glob("jobs/small/specs/*"):
        record.unlink()
    part_id = min(lake.stored(COMPARISONS))
    key = _rewrite(lake, COMPARISONS, part_id, _set(lake.read(COMPARISONS, part_id), "seed", 0, 5))
    assert findings(job.lake) == {}
    code, said, _ = stir_ray("verify", job_file(job, tmp_path))
    assert code == 3
    assert f"{key}: `seed` is" in said


@pytest.mark.parametrize("column", ["noise_stir", "noise_stir_unbiased"])
def test_a_baseline_that_must_be_known_is_missed_in_results_too(
    finished_copy: Callable[[], Job], column: str
) -> None:
    lake = open_lake(finished_copy().lake)
    key = "jobs/small/results.parquet"
    table = lake.read_object(RESULTS, key)
    made = provenance(table)
    lake.objects.put(key, encode(_set(table, column, 5, math.nan), made))
    assert f"`{column}` holds NaN" in findings(lake.objects.url)[key]
    # Had it started from gray, there would be none.
    made["job"]["inversion"]["init"] = "gray"
    lake.objects.put(key, encode(_set(table, column, 5, math.nan), made))
    assert findings(lake.objects.url) == {}


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
    # Only what can be planned can be found to be another part than the planned one.
    one, *_, other = sorted(lake.stored(INVERSIONS))
    _rewrite(lake, INVERSIONS, other, lake.read(INVERSIONS, one))
    assert stir_ray("verify", path, "--repair")[0] == 0
    assert "Tasks run: 1 invert." in stir_ray("run", path, "--serial")[1]
    assert stir_ray("verify", path)[0] == 0
    assert alien.exists()
    assert _contents(lake) == before


def _contents(lake: Lake) -> dict[str, Any]:
    """Every part without its provenance, every record and result."""
    schemas = {schema.name: schema for schema in artifact_tables().values()}
    parts = [named for key in lake.objects.list("artifacts") if (named := parse_artifact_key(key))]
    read: dict[str, Any] = {
        part_id: lake.read(schemas[table], part_id).to_pydict() for table, part_id in parts
    }
    for path in Path(lake.objects.url).glob("jobs/small/specs/*"):
        read[path.name] = json.loads(path.read_text())["job"]
    return read


def test_a_part_of_another_table_in_a_planned_place_is_damage(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path = job_file(job, tmp_path)
    planned = first(job.lake, "artifacts/comparisons/*/*")
    planned.write_bytes(first(job.lake, "artifacts/inversions/*/*").read_bytes())
    code, said, _ = stir_ray("verify", path)
    assert (code, "1 are damaged, 0 do not belong here" in said) == (3, True)
    assert stir_ray("verify", path, "--repair")[0] == 0
    assert not planned.exists()


@pytest.mark.parametrize(
    ("schema", "column", "place"),
    [
        (COMPARISONS, "stir", 0),
        (MODELS, "flops", 0),
        # Of the pretrained model, of what starts from it, and of what starts from nothing.
        *((TRAININGS, "test_loss", place) for place in range(3)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_part_of_another_version_stays_and_is_a_failure_where_a_job_needs_its_place(
    finished_copy: Callable[[], Job], tmp_path: Path, schema: TableSchema, column: str, place: int
) -> None:
    job = finished_copy()
    path, lake = job_file(job, tmp_path), open_lake(job.lake)
    part_id = sorted(lake.stored(schema))[place]
    older = lake.read(schema, part_id).drop([column])
    lake.write(schema, "f" * len(part_id), older)
    code, said, _ = stir_ray("verify", path, "--repair")
    assert (code, "0 are damaged, 1 do not belong here" in said) == (0, True)
    key = _rewrite(lake, schema, part_id, older)
    code, said, error = stir_ray("verify", path, "--repair")
    assert (code, "0 are damaged, 2 do not belong here" in said) == (3, True)
    assert "(removed)" not in said
    assert f"{key}: a job of this lake needs this place" in error
