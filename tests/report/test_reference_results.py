"""Numbers of others are read as the file has them, or refused in one line."""

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


def written(folder: Path, content: Any) -> str:
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_the_papers_file_is_read_as_it_is_and_the_first_of_each_kind_is_classification() -> None:
    paper, printed = read_published(PAPER), reference.printed()
    assert "merlin23a" in paper.numbers.source
    ((name, curves),) = paper.numbers.curves.items()
    assert name == "imagenet to cifar10: classify"
    for metric in ("forgetting", "learning", "cka_divergence"):
        expected = printed["imagenet_to_cifar10"][f"{metric}_classify"]
        np.testing.assert_array_equal(curves[metric], expected)
    ((name, flow),) = paper.numbers.flow.items()
    np.testing.assert_array_equal(flow, printed["flow"][name])
    # Below the diagonal is compression: the seventh row loses most in the first column.
    assert (name, flow[6, 0]) == ("cifar10_classification", -0.45)
    (prefixes,) = paper.prefixes
    epochs, r = prefixes.epochs, prefixes.r
    assert (epochs[0], r[0], epochs[-1], r[-1]) == (3, 0.954, 100, 0.781)
    assert prefixes.hypothesis == "std of forgetting over layers 2-12"


def test_series_are_chosen_by_name_and_nothing_else_is_drawn() -> None:
    chosen = read_published(f"{PAPER}:random,cifar10_reconstruction")
    assert list(chosen.numbers.curves) == ["to cifar10 by pretraining: random"]
    assert chosen.numbers.curves["to cifar10 by pretraining: random"]["learning"][11] == 0.9253
    assert list(chosen.numbers.flow) == ["cifar10_reconstruction"]
    assert chosen.prefixes == ()
    assert read_published(f"{PAPER}:random").digest != chosen.digest


def test_what_is_not_known_is_nan(tmp_path: Path) -> None:
    mine = read_published(f"{written(tmp_path, MINE)}:a,b")
    np.testing.assert_array_equal(mine.numbers.curves["ours: a"]["forgetting"], [0.1, 0.2, np.nan])
    assert list(mine.numbers.curves["theirs: b"]) == ["learning"]
    assert mine.numbers.flow["b"][1, 0] == -0.2
    assert [(prefixes.series, prefixes.hypothesis) for prefixes in mine.prefixes] == [("a", "")]


def test_a_series_of_several_groups_is_that_of_each_of_them(tmp_path: Path) -> None:
    both = read_published(f"{written(tmp_path, MINE | {'theirs': {'forgetting_a': [0.5, 0.6]}})}:a")
    second = {name: curves["forgetting"][1] for name, curves in both.numbers.curves.items()}
    assert second == {"ours: a": 0.2, "theirs: a": 0.6}
    assert both.digest != read_published(f"{written(tmp_path, MINE)}:a").digest


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"source": None}, "`source`"),
        ({"ours": {"forgeting_a": [0.1, 0.2]}}, "`ours.forgeting_a`: expected"),
        ({"ours": {"forgetting_a": [10, 20.0]}}, "`ours.forgetting_a.0`: Input should"),
        ({"ours": {"forgetting_a": ["much", 0.1]}}, "`ours.forgetting_a.0`"),
        ({"ours": {"forgetting_a": [0.1, 0.2], "learning_a": [0.1] * 3}}, "unequal numbers"),
        ({"flow": {"b": [[0, 0.1], [0, 0.1], [0, 0.2]]}}, "as many columns as rows, 3"),
        ({"others": [0.1, 0.2]}, "`others`: expected a list `prefix_r_<series>`"),
        ({"prefix_epochs": [3]}, "`prefix_r_a`: expected a list"),
    ],
)
def test_a_slip_is_one_line_that_names_the_key(
    changed: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    path = written(tmp_path, MINE | changed)
    with pytest.raises(DataError) as caught:
        read_published(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_files_without_such_numbers_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    for words, expected in (
        (str(tmp_path / "nowhere.json"), r"nowhere\.json: no such file"),
        (str(tmp_path / "bad.json"), "bad.json: Invalid JSON"),
        (written(tmp_path, [1, 2]), "should be an object"),
        (f"{PAPER}:classified", "no series `classified`; there is classify, reconstruct"),
    ):
        with pytest.raises(DataError, match=expected):
            read_published(words)
    with pytest.raises(DataError, match="no numbers; expected"):
        read_published(written(tmp_path, {"source": "me"}))
