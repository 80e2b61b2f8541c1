"""SQL over the results of jobs: what a query may read, what it comes to, and what is said of it."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from stir_ray.errors import CorruptPart, LakeError
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, encode, open_lake, provenance
from stir_ray.lake.schemas import MATRICES, RESULTS
from stir_ray.results.sql import answered, queried_tables, tables_at
from tests.broken import job_file, stir_ray
from tests.report.synthetic import Shape, matrices, synthetic_results
from tests.small_job import small_job
from tests.stores.servers import S3Store

SHAPE = Shape(layers=(1, 2, 3, 5, 7), epochs=(0, 1, 4), seeds=(0, 1, 6))
OTHER = Shape(layers=(1, 2, 3, 5, 7), epochs=(0, 1, 4), seeds=(2,))

FORGETS_MOST = """
    select epoch, arg_max(row_layer, mean) as layer, max(mean) as forgetting
    from matrices
    where metric = 'forgetting' and estimator = 'unbiased' and model = 'finetuned'
      and row_layer = column_layer
    group by epoch order by epoch
"""
COMPRESSION = """
    select epoch, avg(mean) filter (column_layer < row_layer)
                - avg(mean) filter (column_layer > row_layer) as compression
    from matrices
    where metric = 'flow_beyond_control' and estimator = 'unbiased' and model = 'finetuned'
    group by epoch order by epoch
"""
DIFFERENCES = """
    select a.row_layer as layer, a.mean as here, b.mean as there, a.mean - b.mean as difference
    from matrices a join matrices b
      using (model, epoch, metric, estimator, row_layer, column_layer)
    where a.job = '{here}' and b.job = '{there}' and row_layer = column_layer
      and metric = 'forgetting' and estimator = 'unbiased' and model = 'finetuned' and epoch = 4
    order by layer
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a made-up job."""
    synthetic_results(tmp_path, SHAPE)
    return tmp_path / "jobs" / "synthetic"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The same of another one, which has no spread over seeds."""
    synthetic_results(tmp_path / "other", OTHER)
    return tmp_path / "other" / "jobs" / "other"


def rows(*arguments: object) -> list[dict[str, Any]]:
    """What a query comes to."""
    code, said, error = stir_ray("sql", *arguments, "--format", "json")
    assert code == 0, error
    return json.loads(said)


def over_seeds(shape: Shape, metric: str, epoch: int) -> np.ndarray:
    """A matrix of the finetuned model."""
    return matrices(shape, "finetuned", epoch, "unbiased")[metric].mean(axis=0)


def test_which_layer_forgets_most_is_told_by_epoch(folder: Path) -> None:
    found = rows(folder, FORGETS_MOST)
    assert [row["epoch"] for row in found] == list(SHAPE.epochs)
    for row in found:
        curve = np.diagonal(over_seeds(SHAPE, "forgetting", row["epoch"]))
        assert row["layer"] == SHAPE.layers[curve.argmax()]
        assert row["forgetting"] == pytest.approx(curve.max(), abs=1e-12)


def test_compression_is_flow_to_shallower_minus_flow_to_deeper_layers(folder: Path) -> None:
    for row in rows(folder, COMPRESSION):
        flow = over_seeds(SHAPE, "flow_beyond_control", row["epoch"])
        # Row i is the pretrained layer: left of the diagonal lie the shallower ones.
        left, right = np.tril_indices_from(flow, -1), np.triu_indices_from(flow, 1)
        assert row["compression"] == pytest.approx(flow[left].mean() - flow[right].mean())


def test_two_jobs_are_compared_by_their_names(folder: Path, other: Path) -> None:
    shutil.move(other.with_name("synthetic"), other)
    query = DIFFERENCES.format(here="synthetic", there="other")
    found = rows(folder, other, query)
    here, there = (np.diagonal(over_seeds(shape, "forgetting", 4)) for shape in (SHAPE, OTHER))
    assert [row["layer"] for row in found] == list(SHAPE.layers)
    np.testing.assert_allclose([row["difference"] for row in found], here - there, atol=1e-12)


def test_jobs_of_one_name_go_by_where_they_lie(folder: Path, other: Path) -> None:
    same_name = other.with_name("synthetic")
    found = rows(folder, same_name, "select distinct job from results order by job")
    assert {row["job"] for row in found} == {str(folder), str(same_name)}
    # The same place twice is one job.
    assert len(rows(folder, f"{folder}/", "select count(*) as n from matrices")) == 1
    assert "job" not in rows(folder, folder, "select * from matrices limit 1")[0]


def test_what_is_undefined_is_null_and_no_mean_is_lost(other: Path) -> None:
    place = other.with_name("synthetic")
    lake = open_lake(str(place))
    table = lake.read_object(MATRICES, "matrices.parquet")
    spread = np.linspace(0.1, 0.7, table.num_rows)
    spread[::2] = math.nan
    index = table.schema.get_field_index("std")
    changed = table.set_column(index, table.schema.field("std"), [spread])
    lake.objects.put("matrices.parquet", encode(changed, {}))
    (row,) = rows(place, "select count(*) as n, count(std) as defined, avg(std) as a from matrices")
    assert (row["n"], row["defined"]) == (len(spread), np.isfinite(spread).sum())
    assert row["a"] == pytest.approx(np.nanmean(spread))


def test_a_table_without_rows_has_its_columns(folder: Path) -> None:
    (row,) = rows(folder, "select count(*) as n, max(pearson_r) as r from hypotheses")
    assert row == {"n": 0, "r": None}


class _Watched(Lake):
    """A lake that counts what is read."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake.objects)
        self.read: Counter[str] = Counter()

    def read_object(self, schema: Any, key: str) -> Any:
        self.read[key] += 1
        return super().read_object(schema, key)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select max(stir) from results", {"results"}),
        ('with m as (from "Matrices") select * from m, history', {"matrices", "history"}),
        # A name that could not be seen without running it.
        ("select count(*) from query_table('mat' || 'rices')", {"matrices"}),
        ("select count(*) from history a, history b", {"history"}),
        ("show tables", set()),
        ("describe matrices", set()),
    ],
)
def test_tables_are_read_when_a_query_names_them(
    folder: Path, query: str, expected: set[str]
) -> None:
    job = tables_at(str(folder))
    watched = _Watched(job.lake)
    object.__setattr__(job, "lake", watched)
    assert answered(query, [job]).num_rows > 0
    assert dict(watched.read) == {f"{name}.parquet": 1 for name in expected}


@pytest.mark.parametrize(
    "query",
    [
        "select * from '{folder}/matrices.parquet'",
        "select * from read_csv('/etc/hostname')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/etc/*')",
        "select * from sniff_csv('/etc/hostname')",
        "copy matrices to '{folder}/copied.csv'",
        "copy (select 1) to '{folder}/copied.parquet' (format parquet)",
        "export database '{folder}/exported'",
        "attach '{folder}/other.db'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set python_enable_replacements = true",
        "install httpfs",
        "load httpfs",
        "select * from not_for_sql",
    ],
)
def test_a_query_reads_and_writes_nothing_but_the_job(folder: Path, query: str) -> None:
    not_for_sql = MATRICES.arrow().empty_table()  # noqa: F841 - a query must not find it
    before = sorted(folder.parent.rglob("*"))
    code, _, error = stir_ray("sql", folder, query.format(folder=folder))
    assert code == 2, error
    assert error.startswith("stir-ray: query: ")
    assert error.count("\n") == 1
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select * from matrixes", ["matrixes", "did you mean", "matrices", "tables: results,"]),
        ("select epok from results", ["epok", "epoch"]),
        ("selec 1 from results", ["syntax error", "selec"]),
        (" ", ["query: nothing is asked"]),
        ("select mean / 'x' from matrices", ["'x'"]),
    ],
)
def test_a_wrong_query_is_one_line(folder: Path, query: str, expected: list[str]) -> None:
    code, said, error = stir_ray("sql", folder, query)
    assert (code, said) == (2, "")
    assert error.count("\n") == 1
    assert [part for part in expected if part.lower() not in error.lower()] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.yaml", "select 1"], ["nowhere.yaml: not there", "give a job file"]),
        (["select 1"], ["of which job?"]),
        (["{folder}", "select 1", "--format", "parquet"], ["--output FILE.parquet"]),
        (["{folder}", "select 1", "--output", "x.xls"], ["x.xls", ".csv, .json or .parquet"]),
        (["{folder}", "select 1", "--output", "{folder}/history.parquet/x.csv"], ["be written"]),
        (["{lake}", "select 1"], ["a lake, and not the folder of a job", "jobs/synthetic"]),
        (["{empty}", "select 1"], ["no results", "<lake>/jobs/<name>", "stir-ray run"]),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(
    folder: Path, tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    places = {"folder": folder, "lake": tmp_path, "empty": tmp_path / "nothing"}
    code, _, error = stir_ray("sql", *(word.format(**places) for word in words))
    assert code == 2
    assert error.count("\n") == 1
    assert [part for part in expected if part not in error] == []


def test_a_job_that_never_ran_says_what_to_run(tmp_path: Path) -> None:
    path = job_file(small_job(tmp_path / "fresh"), tmp_path)
    code, _, error = stir_ray("sql", path, "select 1")
    assert code == 2
    assert f"no results of small yet; `stir-ray run {path}` first" in error


def test_tables_of_different_runs_are_not_mixed(folder: Path) -> None:
    lake = open_lake(str(folder))
    for schema, inputs in ((RESULTS, "a"), (MATRICES, "b")):
        key = f"{schema.name}.parquet"
        table = lake.read_object(schema, key)
        lake.objects.put(key, encode(table, provenance(table) | {"inputs": inputs}))
    with pytest.raises(LakeError, match="of different runs"):
        answered("select * from results, matrices", [tables_at(str(folder))])
    assert answered("select * from matrices", [tables_at(str(folder))]).num_rows > 0


def test_an_analysis_of_older_results_is_not_shown_beside_newer_ones(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    job = finished_copy()
    path = job_file(job, tmp_path)
    query = "select count(*) as n from learning_with_forgetting"
    assert stir_ray("analyse", path)[0] == 0
    assert rows(path, query)[0]["n"] > 0
    assert rows(path, f"{query}, history")[0]["n"] > 0
    # Self-STIR is assumed instead of measured: new results of the same parts.
    sets = ["--set", "assume_self_stir_one=true"]
    assert stir_ray("reduce", path, *sets)[0] == 0
    for asked in (query, f"{query}, matrices"):
        code, said, error = stir_ray("sql", path, asked)
        assert (code, said, error.count("\n")) == (2, "", 1)
        assert "learning_with_forgetting is an analysis of older results" in error
        assert "`stir-ray analyse` the job first" in error
    assert rows(path, "select count(*) as n from matrices")[0]["n"] > 0
    assert stir_ray("analyse", path, *sets)[0] == 0
    assert rows(path, query)[0]["n"] > 0


def test_a_damaged_table_is_told(folder: Path) -> None:
    path = folder / "matrices.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptPart):
        answered("select * from matrices", [tables_at(str(folder))])
    assert stir_ray("sql", folder, "select * from matrices")[0] == 3


def test_all_formats_say_the_same(folder: Path, tmp_path: Path) -> None:
    query = "select model, epoch, mean, null as gap, sum(seeds) over () as s from matrices limit 7"
    path = tmp_path / "found.parquet"
    as_json = rows(folder, query)
    assert len(as_json) == 7
    code, said, _ = stir_ray("sql", folder, query, "--output", path)
    assert (code, said) == (0, f"7 rows: {path}\n")
    in_parquet = pq.read_table(path).to_pylist()
    assert [row["mean"] for row in in_parquet] == [row["mean"] for row in as_json]
    said = stir_ray("sql", folder, query, "--format", "csv")[1]
    in_csv = list(csv.DictReader(io.StringIO(said)))
    assert [float(row["mean"]) for row in in_csv] == [row["mean"] for row in as_json]
    assert {row["gap"] for row in in_csv} == {""}
    assert {row["gap"] for row in as_json} == {None}
    total = sum(row["seeds"] for row in rows(folder, "select seeds from matrices"))
    assert [row["s"] for row in as_json] == [total] * 7


def test_a_table_says_how_many_rows_there_are(folder: Path) -> None:
    count = rows(folder, "select count(*) as n from results")[0]["n"]
    said = stir_ray("sql", folder, "select * from results")[1]
    assert said.rstrip().splitlines()[-1].startswith(f"100 of {count} rows; `--rows {count}`")
    # All columns, whatever the width of the terminal.
    assert all(column.name in said.splitlines()[1] for column in RESULTS.columns)
    said = stir_ray("sql", folder, "select * from results", "--rows", count)[1]
    assert said.rstrip().splitlines()[-1] == f"{count} rows"
    assert stir_ray("sql", folder, "select 1 as one")[1].rstrip().endswith("1 row")


def test_without_a_query_every_column_is_told_with_its_meaning(folder: Path, other: Path) -> None:
    said = stir_ray("sql", folder)[1]
    listed = rows(folder, "--tables", "select 1 as one")
    for schema in queried_tables():
        assert schema.name in said
        of_table = {row["column"]: row for row in listed if row["table"] == schema.name}
        for column in schema.columns:
            assert of_table[column.name]["meaning"] == column.meaning
            assert of_table[column.name]["unit"] == column.unit
    numbers = {row["table"]: row["rows"] for row in listed}
    (count,) = rows(folder, "select count(*) as n from results")
    assert (numbers["results"], numbers["hypotheses"]) == (count["n"], 0)
    of_both = rows(folder, other.with_name("synthetic"))
    assert of_both[0]["column"] == "job"


def test_every_number_of_a_result_has_a_unit_and_a_range() -> None:
    texts = {"string", "bool", "list<item: bool>"}
    lacking = [
        f"{schema.name}.{column.name}"
        for schema in queried_tables()
        for column in schema.columns
        if str(column.type) not in texts and not (column.unit and column.range)
    ]
    assert lacking == []


def test_a_job_file_leads_to_its_results(finished_copy: Callable[[], Any], tmp_path: Path) -> None:
    path = job_file(finished_copy(), tmp_path)
    found = rows(path, "select distinct seed from results order by seed")
    assert [row["seed"] for row in found] == [0, 1]
    text = yaml.safe_load(path.read_text()) | {"grid": {"images.count": [7, 11]}}
    grid = tmp_path / "grid.yaml"
    grid.write_text(yaml.safe_dump(text))
    # Only one of the two was ever run, under another name.
    assert "no results of small-count=7 yet" in stir_ray("sql", grid, "select 1")[2]


def test_it_needs_neither_torch_nor_ray(folder: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'timm', 'ray', 'sklearn', 'torchvision'): sys.modules[name] = None\n"
        "from stir_ray.cli import main\n"
        f"sys.argv = ['stir-ray', 'sql', {str(folder)!r}, 'summarize results']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "stir_unbiased" in done.stdout


def test_a_lake_on_s3_is_asked_like_a_local_one(
    s3_store: S3Store, finished: Path, tmp_path: Path
) -> None:
    url = f"s3://{s3_store.bucket()}/lake"
    there = open_lake(url).objects
    folder = finished / "jobs" / "small"
    for path in folder.glob("*.parquet"):
        there.put(f"jobs/small/{path.name}", path.read_bytes())
    query = "select count(*) as n, sum(stir) as s, min(residual_max) as r from results"
    here = rows(folder, query)
    assert rows(f"{url}/jobs/small", query) == here
    path = job_file(small_job(url), tmp_path)
    assert rows(path, query) == here
    code, _, error = stir_ray("sql", f"{url}/jobs/nothing", query)
    assert (code, "no results" in error) == (2, True)
