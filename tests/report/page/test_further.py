"""The section of further measures holds the numbers of the tables, and gaps where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stir_ray.report.further import Further
from stir_ray.report.page.further import further_section
from stir_ray.report.page.job import Shown, page_of
from stir_ray.report.page.plots import Plot
from stir_ray.report.page.values import decimals
from tests.report.further import by_measure, metamers, unchanged
from tests.report.page.made import shown
from tests.report.synthetic import IMAGES, Shape, stir
from tests.report.test_figures import ONE_CELL

WITHOUT = frozenset({("finetuned", direction, 3) for direction in ("pt|pt", "ft|pt")})
SHAPE = Shape(seeds=(0, 1, 2), without=WITHOUT)
GAP = SHAPE.layers.index(3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return shown(tmp_path_factory.mktemp("lake"), SHAPE)


@pytest.fixture(scope="module")
def plots(made: Shown) -> dict[str, Plot]:
    assert made.results is not None
    section = further_section(made.results, made.further)
    assert section is not None
    return {plot.id: plot for plot in section.plots}


def with_gap(values: np.ndarray) -> list[float | None]:
    """As a page carries them."""
    return [None if n == GAP else one for n, one in enumerate(decimals(values))]


def test_every_measure_is_explained_and_none_that_is_not_asked_for_has_a_place(
    made: Shown, plots: dict[str, Plot]
) -> None:
    assert list(plots) == [
        "metamers",
        "metamer-criteria",
        "unchanged",
        "measures-finetuned",
        "measures-from_scratch",
        "measures-over-epochs-finetuned",
    ]
    assert all(plot.words for plot in plots.values())
    assert made.results is not None
    assert further_section(made.results, Further()) is None
    few = further_section(made.results, Further(unchanged=made.further.unchanged))
    assert few is not None
    assert [plot.id for plot in few.plots] == ["unchanged"]


def test_numbers_are_those_of_the_tables_and_missing_ones_are_none(plots: dict[str, Plot]) -> None:
    pretrained = plots["metamers"].variants[0].panels[0].lines[0]
    of_seeds = [metamers(SHAPE, "pretrained", 0, seed) for seed in SHAPE.seeds]
    assert pretrained.y == with_gap(100 * np.mean(of_seeds, axis=0) / IMAGES)
    assert pretrained.seeds == 3

    panel = plots["unchanged"].variants[0].panels[1]
    assert panel.title == "Seen by: finetuned, epoch 2"
    fractions = [unchanged(SHAPE, "ft|pt", 2, seed) for seed in SHAPE.seeds]
    assert panel.lines[0].y == with_gap(100 * np.mean(fractions, axis=0))

    scores = np.stack([stir(SHAPE, "finetuned", 2, "ft|pt", seed) for seed in SHAPE.seeds])
    rbf = plots["measures-finetuned"].variants[0].panels[1]
    shared = next(one for one in rbf.lines if one.name == "STIR(finetuned | pretrained)")
    assert shared.y == with_gap(np.diagonal(by_measure(scores, "rbf_cka").mean(axis=0)) - 0.02)


def test_a_point_that_rests_on_bad_inversions_is_marked(made: Shown) -> None:
    assert made.results is not None
    converged = made.results.assign(stir_unbiased=xr.ones_like(made.results["stir_unbiased"]))
    section = further_section(converged, made.further)
    assert section is not None
    plots = {plot.id: plot for plot in section.plots}
    # The made-up results count images above the limit from 65 % of the depth on.
    doubtful = [layer / 7 >= 0.65 for layer in SHAPE.layers]
    own = plots["unchanged"].variants[0].panels[1].lines[2]
    assert own.name == "inverted from: finetuned, epoch 2"
    assert list(own.doubtful) == doubtful
    for line in plots["measures-over-epochs-finetuned"].variants[0].panels[1].lines[-1:]:
        assert list(line.doubtful) == [True] * len(SHAPE.epochs)
    similarity = plots["measures-over-epochs-finetuned"].variants[1].panels[1].lines[-1]
    assert list(similarity.doubtful) == []
    assert similarity.seeds == 0


def test_a_measure_without_an_unbiased_form_is_shown_as_it_is_and_says_so(
    plots: dict[str, Plot],
) -> None:
    unbiased, biased = plots["measures-finetuned"].variants
    assert [one.name for one in (unbiased, biased)] == ["unbiased", "biased"]
    assert [one.title for one in unbiased.panels[:2]] == [one.title for one in biased.panels[:2]]
    assert unbiased.panels[2].title == "Procrustes (no unbiased form)"
    for one in (0, 1):
        assert unbiased.panels[one].lines != biased.panels[one].lines
    assert unbiased.panels[2].lines == biased.panels[2].lines


def test_the_page_has_the_section_only_where_something_is_asked(tmp_path: Path) -> None:
    made = shown(tmp_path, ONE_CELL, images=None, analysed=None)
    assert b'id="further"' in page_of(made, mark="made up")
    assert b'id="further"' not in page_of(replace(made, further=Further()), mark="made up")
