"""Numbers of others are read as the file says them, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stir_ray.errors import DataError
from stir_ray.report.reference_results import read_published
from tests import reference

PAPER = str(reference.PRINTED)
MINE: dict[str, Any] = {
    "source": "me",
    "ours": {"forgetting_a": [0.1, 0.2, None], "cka_divergence_a": [0.0, 0.1, 0.3]},
    "theirs": {"learning_b": [0.4, 0.5]},
    "flow": {"b": [[0, 0.1], [-0.2, 0]]},
    "prefix_epochs": [3, 5],
    "prefix_r_a": [0.9, 0.8],
}

CLASSIFY = "imagenet to cifar10: classify"
OURS, THEIRS = "ours: a", "theirs: b"


def written(folder: Path, said: Any) -> str:
    path = folder / "mine.json"
    path.write_text(json.dumps(said))
    return str(path)


def test_the_papers_file_is_read_as_it_is_and_the_first_of_each_kind_is_classification() -> None:
    found, printed = read_published(PAPER), reference.printed()
    assert "merlin23a" in found.numbers.source
    assert list(found.numbers.curves) == [CLASSIFY]
    for metric, name in (("forgetting",) * 2, ("learning",) * 2, ("cka_divergence", "cka_div")):
        expected = printed["imagenet_to_cifar10"][f"{name}_classify"]
        np.testing.assert_array_equal(found.numbers.curves[CLASSIFY][metric], expected)
    flow = printed["flow_rows_pretrained_layer_columns_finetuned_layer"]
    np.testing.assert_array_equal(
        found.numbers.flow["cifar10_classification"], flow["cifar10_classification"]
    )
    # Below the diagonal is compression: the seventh row loses most in the first column.
    assert found.numbers.flow["cifar10_classification"][6, 0] == -0.45
    (prefixes,) = found.prefixes
    epochs, r = prefixes.epochs, prefixes.r
    assert (epochs[0], r[0], epochs[-1], r[-1]) == (3, 0.954, 100, 0.781)
    assert prefixes.hypothesis == "std of forgetting over layers 2-12"


def test_series_are_chosen_by_name_and_nothing_else_is_drawn() -> None:
    found = read_published(f"{PAPER}:random,cifar10_reconstruction")
    assert list(found.numbers.curves) == ["to cifar10 by pretraining: random"]
    assert found.numbers.curves["to cifar10 by pretraining: random"]["learning"][11] == 0.9253
    assert list(found.numbers.flow) == ["cifar10_reconstruction"]
    assert found.prefixes == ()
    assert read_published(f"{PAPER}:random").digest != found.digest


def test_what_is_not_known_is_nan_and_metrics_go_by_either_name(tmp_path: Path) -> None:
    found = read_published(f"{written(tmp_path, MINE)}:a,b")
    np.testing.assert_array_equal(found.numbers.curves[OURS]["forgetting"], [0.1, 0.2, np.nan])
    assert found.numbers.curves[OURS]["cka_divergence"][2] == 0.3
    assert list(found.numbers.curves[THEIRS]) == ["learning"]
    assert found.numbers.flow["b"][1, 0] == -0.2
    assert [(of.series, of.hypothesis) for of in found.prefixes] == [("a", "")]


def test_a_series_of_several_groups_is_that_of_each_of_them(tmp_path: Path) -> None:
    both = MINE | {"theirs": {"forgetting_a": [0.5, 0.6]}}
    found = read_published(f"{written(tmp_path, both)}:a")
    assert list(found.numbers.curves) == [OURS, "theirs: a"]
    assert found.numbers.curves[OURS]["forgetting"][1] == 0.2
    assert found.numbers.curves["theirs: a"]["forgetting"][1] == 0.6


def test_numbers_that_are_of_something_else_are_others(tmp_path: Path) -> None:
    of = [
        read_published(written(tmp_path, MINE | changed)).digest
        for changed in (
            {},
            {"prefix_hypothesis": "mean of learning over layers 1-3"},
            {"prefix_hypothesis": "max of learning over layers 1-3"},
        )
    ]
    renamed = {("we" if name == "ours" else name): value for name, value in MINE.items()}
    assert len({*of, read_published(written(tmp_path, renamed)).digest}) == 4


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no source": ({"source": None}, "`source`"),
    "another metric": ({"ours": {"forgeting_a": [0.1, 0.2]}}, "`ours.forgeting_a`: expected"),
    "percents": ({"ours": {"forgetting_a": [10, 20.0]}}, "`ours.forgetting_a.0`: Input should"),
    "words": ({"ours": {"forgetting_a": ["much", 0.1]}}, "`ours.forgetting_a.0`"),
    "unequal": ({"ours": {"forgetting_a": [0.1, 0.2], "learning_a": [0.1] * 3}}, "unequal numbers"),
    "twice": (
        {"ours": {"cka_div_a": [0.1, 0.2], "cka_divergence_a": [0.1, 0.2]}},
        "there is another cka_divergence of `a`",
    ),
    "not square": ({"flow": {"b": [[0, 0.1], [0, 0.1], [0, 0.2]]}}, "as many columns as rows, 3"),
    "a list of something": ({"others": [0.1, 0.2]}, "`others`: no such list"),
    "prefixes": ({"prefix_epochs": [3]}, "`prefix_r_a`: 2 values for 1 `prefix_epochs`"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_slip_is_one_line_that_says_where(case: str, tmp_path: Path) -> None:
    changed, expected = CASES[case]
    path = written(tmp_path, MINE | changed)
    with pytest.raises(DataError) as caught:
        read_published(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert expected in said
    assert "\n" not in said


def test_files_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        read_published(str(tmp_path / "nowhere.json"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        read_published(str(tmp_path / "bad.json"))
    with pytest.raises(DataError, match="expected a mapping"):
        read_published(written(tmp_path, [1, 2]))
    with pytest.raises(DataError, match="no numbers; expected"):
        read_published(written(tmp_path, {"source": "me"}))
    with pytest.raises(DataError, match="no series `classified`; there is classify, reconstruct"):
        read_published(f"{PAPER}:classified")
