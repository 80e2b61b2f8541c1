"""`stir-ray analyse`, of a job and of tables of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stir_ray.lake.schemas import ANALYSIS_TABLES
from tests import reference
from tests.broken import stir_ray
from tests.small_job import EPOCHS, LAYERS, small_job

DYNAMICS = reference.HERE / "paper_cifar10_dynamics.csv"
ACCURACY = reference.HERE / "paper_cifar10_accuracy.csv"


def analyse(*arguments: object) -> tuple[int, str, str]:
    """Return the exit code, output and errors."""
    return stir_ray("analyse", *arguments)


def test_the_papers_tables_give_the_papers_finding_and_what_is_wrong_with_it(
    tmp_path: Path,
) -> None:
    arguments = ["--dynamics", DYNAMICS, "--accuracy", ACCURACY, "--output", tmp_path]
    code, output, _ = analyse(*arguments)
    assert code == 0
    assert "352 hypotheses, 8 of them undefined" in output
    assert "std of forgetting over layers 2-12 (strongest of 352)" in output
    assert "It rests on the first 2 epochs: without, r is 0.30." in output
    assert "Without the first 5 epochs, 89 % of the shifts" in output
    assert "too few epochs" not in output
    assert all(str(tmp_path / f"{schema.name}.parquet") in output for schema in ANALYSIS_TABLES)
    code, output, _ = analyse(*arguments, "--json")
    assert (code, output.count("\n") < 400) == (0, True)
    study = json.loads(output, parse_constant=pytest.fail)
    (of_model,) = study["analyses"]
    assert (of_model["epochs"], of_model["first_epoch"], of_model["last_epoch"]) == (100, 1, 100)
    (family, _) = of_model["families"]
    assert (family["hypotheses"], len(family["undefined"])) == (352, 8)
    assert family["examined"][0]["hypothesis"] == "std of forgetting over layers 2-12"
    tables = {name: pd.read_parquet(path) for name, path in study["tables"].items()}
    assert set(tables) == {schema.name for schema in ANALYSIS_TABLES}
    rows = tables["hypotheses"]
    assert rows["pearson_r"].isna().sum() == 10
    best = [row for family in of_model["families"] for row in family["best"]]
    assert len(best) == rows["curve"].nunique() == 5
    for row in best:
        of_curve = rows[rows["curve"] == row["curve"]]
        assert abs(row["pearson_r"]) == pytest.approx(of_curve["pearson_r"].abs().max())
    assert of_model["learning_with_forgetting"]["epoch"] == 100


def test_of_a_short_training_no_p_by_shifts_is_given(tmp_path: Path) -> None:
    pd.read_csv(DYNAMICS).query("epoch <= 14").to_csv(tmp_path / "short.csv")
    code, output, _ = analyse("--dynamics", tmp_path / "short.csv", "--accuracy", ACCURACY)
    assert code == 0
    assert "too few epochs │" in output
    assert "There is no p by shifts of the curves: too few epochs after the first 5." in output


def test_seeds_of_the_users_curves_are_averaged_and_nothing_is_stored(tmp_path: Path) -> None:
    curves = pd.read_csv(DYNAMICS).query("epoch <= 7")
    more = 0.03 * curves["layer"]
    both = [curves.assign(seed=n, forgetting=curves["forgetting"] + n * more) for n in (4, 9)]
    pd.concat(both).sample(frac=1, random_state=1).to_parquet(tmp_path / "mine.parquet")
    code, output, _ = analyse(
        "--dynamics", tmp_path / "mine.parquet", "--accuracy", ACCURACY, "--json"
    )
    assert code == 0
    study = json.loads(output)
    assert {row["seeds"] for row in study["analyses"][0]["families"][0]["best"]} == {2}
    assert study["tables"] == {}


def test_a_job_is_analysed_from_its_results_and_the_tables_lie_beside_them(
    finished_file: Path, tmp_path: Path
) -> None:
    code, output, error = analyse(finished_file)
    assert code == 0, error
    # Two epochs: nothing over epochs, and the layers of each.
    assert "at least 5" in output
    assert f"Learning with forgetting over {LAYERS} layers, epoch {EPOCHS}" in output
    folder = tmp_path / "lake" / "jobs" / "small"
    rows = pd.read_parquet(folder / "learning_with_forgetting.parquet")
    assert set(rows["model"]) == {"finetuned", "from_scratch"}
    assert set(rows["estimator"]) == {"biased", "unbiased"}
    assert (rows.groupby(["model", "estimator"]).size() == [EPOCHS, EPOCHS, 1, 1]).all()
    code, output, _ = stir_ray("verify", finished_file)
    assert (code, "0 are damaged, 0 do not belong here" in output) == (0, True)


def test_what_is_wrong_with_each_job_of_a_file_is_one_line(tmp_path: Path) -> None:
    content = small_job(tmp_path / "lake").model_dump(mode="json", exclude_none=True)
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(content | {"grid": {"images.count": [7, 11, 13]}}))
    names = [f"small-count={count}" for count in (7, 11, 13)]
    code, out, error = analyse(path)
    *lines, last = error.splitlines()
    assert code == 2
    assert [line.partition(": ")[0] for line in lines] == names
    assert all("nothing of this job is there" in line for line in lines)
    assert last.startswith("stir-ray: 3 of 3 jobs failed; ")
    assert out.split() == [f"{name}:" for name in names]
    code, out, error = analyse(path, "--json")
    assert (code, error.count("\n")) == (2, 1)
    assert "nothing of this job" not in error
    assert [value["error"].count("nothing of this") for value in json.loads(out).values()] == [
        1
    ] * 3


FILES = {
    "bare.csv": "epoch,layer\n1,1\n",
    "twice.csv": "epoch,layer,learning\n3,2,.1\n3,1,.1\n3,2,.2\n",
    "words.csv": "epoch,layer,learning\n3,2,much\n",
    "halves.csv": "epoch,layer,learning\n3.5,2,.1\n",
    "late.csv": "epoch,layer,learning\n301,2,.1\n",
    "empty.csv": "",
    "garbled.parquet": "PAR1",
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give a JOB file"),
        (["jobs/digits.yaml", "--dynamics", DYNAMICS], "give a JOB file, or in its place"),
        (["--dynamics", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--dynamics", ACCURACY], "column `layer` is missing"),
        (["--dynamics", "bare.csv"], "no column of curves; expected one of learning"),
        (["--dynamics", DYNAMICS, "--accuracy", DYNAMICS], "`severity` is missing"),
        (["--dynamics", "twice.csv"], "more than one row of epoch 3, layer 2"),
        (["--dynamics", "words.csv"], "column `learning` must hold numbers"),
        (["--dynamics", "halves.csv"], "column `epoch` must hold whole numbers"),
        (["--dynamics", "late.csv", "--accuracy", ACCURACY], "has no epoch of late.csv"),
        (["--dynamics", "empty.csv"], "empty.csv: not readable as CSV"),
        (["--dynamics", "garbled.parquet"], "garbled.parquet: not readable as Parquet"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line_that_says_what_is_wrong(
    arguments: list[object], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).write_text(content)
    code, output, error = analyse(*arguments)
    assert (code, output) == (2, "")
    assert expected in error
    assert error.count("\n") == 1
