"""What is wrong in a lake is found, named, removed on request, and computed again."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stir_ray.catalog.verify import Finding, value_problems, verify
from stir_ray.job import Job
from stir_ray.lake.keys import artifact_key
from stir_ray.lake.parquet import Lake, open_lake
from stir_ray.lake.schemas import COMPARISONS, IMAGES, INVERSIONS, TRAININGS, TableSchema
from stir_ray.lake.store import ObjectStore
from stir_ray.measures import artifact_tables
from tests.broken import job_file, stir_ray


def findings(lake: str) -> dict[str, str]:
    """Return problems by key."""
    results = verify(open_lake(lake))
    return {result.key: result.problem for result in results if isinstance(result, Finding)}


def first(lake: str, pattern: str) -> Path:
    return min(Path(lake).glob(pattern))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-37])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_a_finished_lake_is_right(finished: Path) -> None:
    results = list(verify(open_lake(str(finished))))
    assert [result for result in results if isinstance(result, Finding)] == []
    # Figures and the page are drawn again from the rest whenever they are wanted.
    assert len(results) == len([
        path
        for path in finished.rglob("*.*")
        if "figures" not in path.parts and path.name != "page.html"
    ])  # fmt: skip


def test_every_damaged_or_foreign_object_is_named(finished_copy: Callable[[], Job]) -> None:
    lake = finished_copy().lake
    harms = {
        "artifacts/comparisons/*/*": flip,
        "artifacts/images/*/*": truncate,
        "artifacts/inversions/*/*": empty,
        "jobs/small/*.parquet": flip,
    }
    harmed = {first(lake, pattern) for pattern in harms}
    for pattern, harm in harms.items():
        harm(first(lake, pattern))
    spec = first(lake, "jobs/small/specs/*")
    spec.write_text(spec.read_text().replace('"count": 11', '"count": 12'))
    foreign = [Path(lake) / name for name in ("jobs/small/notes.txt", "artifacts/images/notes.txt")]
    for path in foreign:
        path.write_text("mine")
    moved = Path(lake) / artifact_key(INVERSIONS.name, "0" * 32)
    moved.parent.mkdir(exist_ok=True)
    first(lake, "artifacts/models/*/*").rename(moved)
    *_, other, last = sorted(Path(lake).glob("artifacts/comparisons/*/*"))
    last.write_bytes(other.read_bytes())
    problems = findings(lake)
    named = {str(path.relative_to(lake)) for path in (*harmed, spec, *foreign, moved, last)}
    assert set(problems) == named
    for path, words in {
        foreign[0]: "no object of this name belongs here",
        foreign[1]: "not a part",
        moved: "its columns are not those of table inversions",
        last: "holds another artifact",
    }.items():
        assert words in problems[str(path.relative_to(lake))]


def test_a_damaged_checkpoint_is_named_with_the_record_of_its_training(
    finished_copy: Callable[[], Job],
) -> None:
    lake = finished_copy().lake
    checkpoint = first(lake, "checkpoints/*/1-*.safetensors")
    truncate(checkpoint)
    problems = findings(lake)
    assert "its bytes" in problems.pop(str(checkpoint.relative_to(lake)))
    # Its record would keep the model from being trained again.
    ((record, problem),) = problems.items()
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


def rewrite(lake: Lake, schema: TableSchema, artifact_id: str, table: pa.Table, source: str) -> str:
    """Store a table under the name of an artifact, with the content of another; return its key."""
    content = lake.read(schema, source).schema.metadata[b"stir_ray.content"].decode()
    lake.write(schema, artifact_id, table, content=content)
    return artifact_key(schema.name, artifact_id)


def test_an_intact_artifact_under_the_name_of_another_is_damage(
    finished_copy: Callable[[], Job],
) -> None:
    lake, keys = open_lake(finished_copy().lake), set()
    for schema in (INVERSIONS, IMAGES, TRAININGS):
        source, target = sorted(lake.stored(schema))[:2]
        keys.add(rewrite(lake, schema, target, lake.read(schema, source), source))
    problems = findings(lake.objects.url)
    assert set(problems) == keys
    assert set(problems.values()) == {"its content is not what its name is the hash of"}


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
    finished: Path, schema: TableSchema, column: str, value: object, expected: str
) -> None:
    lake = open_lake(str(finished))
    table = lake.read(schema, min(lake.stored(schema)))
    index = table.column_names.index(column)
    values = [value, *table[column].to_pylist()[1:]]
    field = table.schema.field(index)
    changed = table.set_column(index, field, pa.array(values, field.type))
    (problem,) = value_problems(schema, changed)
    assert expected in problem


def test_after_repair_and_a_run_nothing_has_changed(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path, lake = job_file(job, tmp_path), open_lake(job.lake)
    before = contents(lake)
    for pattern, harm in {
        "artifacts/comparisons/*/*": flip,
        "artifacts/models/*/*": truncate,
        "artifacts/image_sets/*/*": flip,
        "artifacts/images/*/*": empty,
        "jobs/small/results.parquet": flip,
        "jobs/small/specs/*": truncate,
        "checkpoints/*/1-*": flip,
    }.items():
        harm(first(job.lake, pattern))
    foreign = Path(job.lake) / "artifacts/comparisons/notes.txt"
    foreign.write_text("mine")
    code, output, error = stir_ray("verify", path, "--repair")
    # A record stays until its job is run: without it what the job needs would pass for unused.
    assert (code, "stays until its job is run again" in error) == (3, True)
    assert output.count("(removed)") == 7
    assert stir_ray("run", path, "--serial")[0] == 0
    source, *_, target = sorted(lake.stored(INVERSIONS))
    lake.write(INVERSIONS, target, lake.read(INVERSIONS, source))
    assert stir_ray("verify", path, "--repair")[0] == 0
    assert "Tasks run: 1 invert." in stir_ray("run", path, "--serial")[1]
    assert stir_ray("verify", path)[0] == 0
    assert foreign.exists()
    assert contents(lake) == before


def contents(lake: Lake) -> dict[str, Any]:
    """Return every artifact without its provenance, and every record of a job."""
    schemas = artifact_tables()
    ids = [artifact_key.parse(key) for key in lake.objects.list("artifacts")]
    tables: dict[str, Any] = {
        named[1]: lake.read(schemas[named[0]], named[1]).to_pydict() for named in ids if named
    }
    for path in Path(lake.objects.url).glob("jobs/small/specs/*"):
        tables[path.name] = json.loads(path.read_text())["job"]
    return tables


def test_an_artifact_of_another_version_stays(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path, lake = job_file(job, tmp_path), open_lake(job.lake)
    artifact_id = min(lake.stored(COMPARISONS))
    other_columns = lake.read(COMPARISONS, artifact_id).drop(["stir"])
    rewrite(lake, COMPARISONS, artifact_id, other_columns, artifact_id)
    code, output, _ = stir_ray("verify", path, "--repair")
    assert (code, "0 are damaged, 1 do not belong here" in output) == (0, True)
    assert "(removed)" not in output
