"""Saved figures are the same bytes for the same figure, and know what they were drawn from."""

import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
import xarray as xr
from matplotlib.image import imread

from stir_ray.report.curves import learning_forgetting_figure
from stir_ray.report.matrices import flow_figure
from stir_ray.report.save import HEAD_BYTES, drawn_as, is_current, save
from tests.report.synthetic import synthetic_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return synthetic_results(tmp_path_factory.mktemp("lake"))


def saved(results: xr.Dataset, epoch: int = 2, inputs: str = "abc") -> dict[str, bytes]:
    return save(flow_figure(results, model="finetuned", epoch=epoch), "flow", inputs=inputs)


def test_equal_figures_are_equal_bytes_and_others_are_not(results: xr.Dataset) -> None:
    first = saved(results)
    assert first == saved(results)
    other = saved(results, epoch=1)
    assert set(other) == set(first) == {"flow.png", "flow.svg"}
    assert all(other[file] != first[file] for file in first)


def test_saving_again_changes_nothing(results: xr.Dataset) -> None:
    figure = learning_forgetting_figure(results)
    assert save(figure, "curves", inputs="a") == save(figure, "curves", inputs="a")


def test_threads_draw_what_one_draws(results: xr.Dataset) -> None:
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(lambda epoch: saved(results, epoch), (1, 2)))
    assert drawn == [saved(results, 1), saved(results, 2)]


def test_a_figure_is_current_for_the_inputs_it_was_drawn_from_alone(results: xr.Dataset) -> None:
    for content in saved(results, inputs="abc").values():
        assert is_current(content, "abc")
        assert is_current(content[:HEAD_BYTES], "abc")
        assert not any(is_current(content, other) for other in ("ab", "abcd", "bc", "b"))


def test_a_figure_says_what_it_was_drawn_from_and_as_what(results: xr.Dataset) -> None:
    for content in saved(results, inputs="a:b.c-7").values():
        assert drawn_as(content) == drawn_as(content[:HEAD_BYTES]) == ("a:b.c-7", "flow")
    assert drawn_as(b"no figure") is None


@pytest.mark.parametrize("inputs", ["", "a b", "<a>", "ä", "a\n"])
def test_inputs_that_a_file_would_not_hold_as_they_are_are_refused(
    results: xr.Dataset, inputs: str
) -> None:
    with pytest.raises(ValueError, match="use letters"):
        save(learning_forgetting_figure(results), "curves", inputs=inputs)


def test_the_files_are_what_their_names_say(results: xr.Dataset, tmp_path: Path) -> None:
    files = saved(results)
    assert imread(BytesIO(files["flow.png"]), format="png").ndim == 3
    path = tmp_path / "flow.svg"
    path.write_bytes(files["flow.svg"])
    assert ET.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - we wrote it
