"""SQL over the results of jobs: what a query reads, what it returns, and its errors."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

import stir_ray
from stir_ray.errors import CorruptArtifact, LakeError
from stir_ray.job import Job
from stir_ray.lake.parquet import Lake, encode, open_lake, provenance
from stir_ray.lake.schemas import MATRICES, RESULTS
from stir_ray.results.sql import COLUMNS, queried_tables, query, tables_at
from tests.broken import job_file, modules_of_verb
from tests.broken import stir_ray as run_verb
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
DIFFERENCES = """
    select a.row_layer as layer, a.mean - b.mean as difference
    from matrices a join matrices b
      using (model, epoch, metric, estimator, row_layer, column_layer)
    where a.job = 'synthetic' and b.job = 'other' and row_layer = column_layer
      and metric = 'forgetting' and estimator = 'unbiased' and model = 'finetuned' and epoch = 4
    order by layer
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a synthetic job."""
    synthetic_results(tmp_path / "lake", SHAPE)
    return tmp_path / "lake" / "jobs" / "synthetic"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another job of the same name, which has no spread over seeds."""
    synthetic_results(tmp_path / "other", OTHER)
    return tmp_path / "other" / "jobs" / "synthetic"


def rows(*arguments: object) -> list[dict[str, Any]]:
    """Return the rows of the verb."""
    code, output, error = run_verb("sql", *arguments, "--format", "json")
    assert code == 0, error
    return json.loads(output)


def forgetting(shape: Shape, epoch: int) -> np.ndarray:
    by_seed = matrices(shape, "finetuned", epoch, "unbiased")["forgetting"]
    return np.diagonal(by_seed.mean(axis=0))


def test_the_layer_that_forgets_most_is_found_by_epoch(folder: Path) -> None:
    result = rows(folder, FORGETS_MOST)
    assert [row["epoch"] for row in result] == list(SHAPE.epochs)
    for row in result:
        curve = forgetting(SHAPE, row["epoch"])
        assert row["layer"] == SHAPE.layers[curve.argmax()]
        assert row["forgetting"] == pytest.approx(curve.max(), abs=1e-12)


def test_jobs_of_a_lake_are_compared_by_their_names(folder: Path, other: Path) -> None:
    shutil.move(other, folder.with_name("other"))
    expected = forgetting(SHAPE, 4) - forgetting(OTHER, 4)
    for keys in ([folder, folder.with_name("other")], [folder.parent.parent]):
        result = rows(*keys, DIFFERENCES)
        assert [row["layer"] for row in result] == list(SHAPE.layers)
        np.testing.assert_allclose([row["difference"] for row in result], expected, atol=1e-12)


def test_jobs_of_one_name_go_by_their_locations(folder: Path, other: Path) -> None:
    result = rows(folder, other, "select distinct job from results order by job")
    assert {row["job"] for row in result} == {str(folder), str(other)}
    # The same place twice is one job.
    assert len(rows(folder, f"{folder}/", "select count(*) as n from matrices")) == 1
    assert "job" not in rows(folder, folder, "select * from matrices limit 1")[0]


def test_undefined_numbers_are_null_and_in_no_mean(other: Path) -> None:
    lake = open_lake(str(other))
    table = lake.read_object(MATRICES, "matrices.parquet")
    spread = np.linspace(0.1, 0.7, table.num_rows)
    spread[::2] = math.nan
    index = table.schema.get_field_index("std")
    changed = table.set_column(index, table.schema.field("std"), [spread])
    lake.objects.put("matrices.parquet", encode(changed, {}))
    (row,) = rows(other, "select count(*) as n, count(std) as defined, avg(std) as a from matrices")
    assert (row["n"], row["defined"]) == (len(spread), np.isfinite(spread).sum())
    assert row["a"] == pytest.approx(np.nanmean(spread))


def test_a_table_that_is_not_stored_has_columns_and_no_rows(folder: Path) -> None:
    (row,) = rows(folder, "select count(*) as n, max(pearson_r) as r from hypotheses")
    assert row == {"n": 0, "r": None}


class _CountingLake(Lake):
    def __init__(self, lake: Lake) -> None:
        super().__init__(lake.objects)
        self.read: Counter[str] = Counter()

    def read_object(self, schema: Any, key: str) -> Any:
        self.read[key] += 1
        return super().read_object(schema, key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select max(stir) from results", {"results"}),
        ('with m as (from "Matrices") select * from m, history', {"matrices", "history"}),
        # A name that only execution makes known.
        ("select count(*) from query_table('mat' || 'rices')", {"matrices"}),
        ("select count(*) from history a, history b", {"history"}),
        ("show tables", set()),
        ("describe matrices", set()),
    ],
)
def test_tables_are_read_once_when_a_query_names_them(
    folder: Path, text: str, expected: set[str]
) -> None:
    (job,) = tables_at(str(folder))
    counting = _CountingLake(job.lake)
    object.__setattr__(job, "lake", counting)
    assert query(text, [job]).num_rows > 0
    assert dict(counting.read) == {f"{name}.parquet": 1 for name in expected}


def test_a_query_reads_and_writes_nothing_but_the_tables(folder: Path) -> None:
    not_for_sql = MATRICES.arrow().empty_table()  # noqa: F841 - a query must not find it
    before = sorted(folder.parent.rglob("*"))
    for text in (
        f"from '{folder}/matrices.parquet'",
        "select * from read_csv('/etc/hostname')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/etc/*')",
        f"copy matrices to '{folder}/copied.csv'",
        f"export database '{folder}/exported'",
        f"attach '{folder}/other.db'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "set python_enable_replacements = true",
        "install httpfs",
        "load httpfs",
        "select * from not_for_sql",
    ):
        code, _, error = run_verb("sql", folder, text)
        assert (code, error.count("\n")) == (2, 1)
        assert error.startswith("stir-ray: query: ")
        with stir_ray.connect(folder) as connection, pytest.raises(duckdb.Error):
            connection.execute(text)
    assert sorted(folder.parent.rglob("*")) == before


def test_connect_returns_views_of_all_tables(folder: Path, other: Path) -> None:
    with stir_ray.connect(folder) as connection:
        names = {name for (name,) in connection.execute("show tables").fetchall()}
        assert names == {schema.name for schema in queried_tables()} | {COLUMNS}
        assert connection.sql(FORGETS_MOST).df()["epoch"].tolist() == list(SHAPE.epochs)
    with stir_ray.connect(folder, str(other)) as connection:
        jobs = connection.execute("select distinct job from history").fetchall()
        assert {job for (job,) in jobs} == {str(folder), str(other)}
    with pytest.raises(LakeError, match="no results"):
        stir_ray.connect(folder / "nowhere")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["{never_run}", "select 1"], ["no results of small yet", "`stir-ray run {never_run}`"]),
        (["{job}", "select * from matrixes"], ["did you mean", "matrices", "tables: results,"]),
        (["{job}", "select epok from results"], ["epok", "epoch"]),
        (["{job}", "selec 1 from results"], ["syntax error", "selec"]),
        (["{job}", " "], ["query: it is empty"]),
        (["{job}", "select mean / 'x' from matrices"], ["'x'"]),
        (["nowhere.yaml", "select 1"], ["nowhere.yaml: not there", "give a job file"]),
        (["select 1"], ["of which job?"]),
        (["{job}", "select 1", "--format", "parquet"], ["--output FILE.parquet"]),
        (["{job}", "select 1", "--output", "x.xls"], ["x.xls", ".csv, .json or .parquet"]),
        (["{job}", "select 1", "--output", "{job}/history.parquet/x.csv"], ["be written"]),
        (["{empty}", "select 1"], ["no results", "<lake>/jobs/<name>", "stir-ray run"]),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    (tmp_path / "nothing").mkdir()
    never_run = job_file(small_job(tmp_path / "fresh"), tmp_path)
    keys = {"job": folder, "empty": tmp_path / "nothing", "never_run": never_run}
    code, output, error = run_verb("sql", *(word.format(**keys) for word in words))
    assert (code, output, error.count("\n")) == (2, "", 1)
    for part in expected:
        assert part.format(**keys).lower() in error.lower()


def test_tables_of_different_runs_are_not_mixed(folder: Path) -> None:
    lake = open_lake(str(folder))
    for schema, inputs in ((RESULTS, "a"), (MATRICES, "b")):
        key = f"{schema.name}.parquet"
        table = lake.read_object(schema, key)
        lake.objects.put(key, encode(table, provenance(table) | {"inputs": inputs}))
    with pytest.raises(LakeError, match="of different runs"):
        query("select * from results, matrices", tables_at(str(folder)))
    assert query("select * from matrices", tables_at(str(folder))).num_rows > 0


def test_an_analysis_of_older_results_is_refused(
    finished_copy: Callable[[], Job], tmp_path: Path
) -> None:
    path = job_file(finished_copy(), tmp_path)
    text = "select count(*) as n from learning_with_forgetting"
    assert run_verb("analyse", path)[0] == 0
    assert rows(path, text)[0]["n"] > 0
    assert rows(path, f"{text}, history")[0]["n"] > 0
    # Self-STIR is assumed instead of measured: new results of the same artifacts.
    sets = ["--set", "assume_self_stir_one=true"]
    assert run_verb("reduce", path, *sets)[0] == 0
    for stale in (text, f"{text}, matrices"):
        code, output, error = run_verb("sql", path, stale)
        assert (code, output, error.count("\n")) == (2, "", 1)
        assert "learning_with_forgetting is an analysis of older results" in error
        assert "`stir-ray analyse` the job first" in error
    assert rows(path, "select count(*) as n from matrices")[0]["n"] > 0
    assert run_verb("analyse", path, *sets)[0] == 0
    assert rows(path, text)[0]["n"] > 0


def test_a_damaged_table_is_an_error(folder: Path) -> None:
    path = folder / "matrices.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact):
        query("select * from matrices", tables_at(str(folder)))
    assert run_verb("sql", folder, "select * from matrices")[0] == 3


def test_all_formats_hold_the_same_rows(folder: Path, tmp_path: Path) -> None:
    text = "select model, epoch, mean, null as gap, sum(seeds) over () as s from matrices limit 7"
    path = tmp_path / "rows of 'mine'.parquet"
    as_json = rows(folder, text)
    assert len(as_json) == 7
    assert run_verb("sql", folder, text, "--output", path)[:2] == (0, f"7 rows: {path}\n")
    in_parquet = pq.read_table(path).to_pylist()
    assert [row["mean"] for row in in_parquet] == [row["mean"] for row in as_json]
    output = run_verb("sql", folder, text, "--format", "csv")[1]
    in_csv = list(csv.DictReader(io.StringIO(output)))
    assert [float(row["mean"]) for row in in_csv] == [row["mean"] for row in as_json]
    assert {row["gap"] for row in in_csv} == {""}
    assert {row["gap"] for row in as_json} == {None}
    total = sum(row["seeds"] for row in rows(folder, "select seeds from matrices"))
    assert [row["s"] for row in as_json] == [total] * 7


def test_a_table_ends_with_the_number_of_rows(folder: Path) -> None:
    count = rows(folder, "select count(*) as n from results")[0]["n"]
    output = run_verb("sql", folder, "select * from results")[1]
    assert output.rstrip().splitlines()[-1].startswith(f"100 of {count} rows; `--rows {count}`")
    # All columns, whatever the width of the terminal.
    assert all(column.name in output.splitlines()[1] for column in RESULTS.columns)
    output = run_verb("sql", folder, "select * from results", "--rows", count)[1]
    assert output.rstrip().splitlines()[-1] == f"{count} rows"
    assert run_verb("sql", folder, "select 1 as x")[1].rstrip().endswith("1 row")


def test_without_a_query_every_column_is_listed_with_its_meaning(folder: Path, other: Path) -> None:
    output = run_verb("sql", folder)[1]
    listed = rows(folder, "--tables", "select 1 as x")
    for schema in queried_tables():
        assert schema.name in output
        columns = {row["column"]: row for row in listed if row["table"] == schema.name}
        for column in schema.columns:
            assert columns[column.name]["meaning"] == column.meaning
            assert columns[column.name]["unit"] == column.unit
            is_number = str(column.type) not in {"string", "bool", "list<item: bool>"}
            assert bool(column.unit and column.range) or not is_number
    numbers = {row["table"]: row["rows"] for row in listed}
    (count,) = rows(folder, "select count(*) as n from results")
    assert (numbers["results"], numbers["hypotheses"]) == (count["n"], 0)
    assert rows(folder, other)[0]["column"] == "job"


def test_a_query_imports_neither_torch_nor_charts(folder: Path) -> None:
    modules = modules_of_verb("sql", folder, "summarize results")
    assert "duckdb" in modules
    assert modules.isdisjoint({"torch", "timm", "ray", "xarray", "altair"})


def test_a_lake_on_s3_is_queried_like_a_local_one(
    s3_store: S3Store, finished: Path, tmp_path: Path
) -> None:
    url = f"s3://{s3_store.bucket()}/lake"
    there = open_lake(url).objects
    folder = finished / "jobs" / "small"
    for path in folder.glob("*.parquet"):
        there.put(f"jobs/small/{path.name}", path.read_bytes())
    text = "select count(*) as n, sum(stir) as s, min(residual_max) as r from results"
    here = rows(folder, text)
    assert rows(f"{url}/jobs/small", text) == here
    path = job_file(small_job(url), tmp_path)
    assert rows(path, text) == here
    code, _, error = run_verb("sql", f"{url}/jobs/nothing", text)
    assert (code, "no results" in error) == (2, True)
