"""Laws of pages that need no browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.lake.parquet import open_lake
from stir_ray.lake.store import ObjectStore
from stir_ray.numerics.criteria import CONVERGED_SELF_STIR
from stir_ray.report.diagnostics import convergence_figure
from stir_ray.report.further import Further
from stir_ray.report.over_epochs import metric_curves, score_matrices
from stir_ray.report.page.gallery import gallery_section
from stir_ray.report.page.job import page_of
from stir_ray.report.page.study import study_section
from stir_ray.report.page.trust import trust
from stir_ray.report.page.values import SCALE, decimals, embedded, said, ten_thousandths
from stir_ray.report.page.write import is_current
from stir_ray.report.readings import compared_models, epochs_of, metric_curve
from stir_ray.results.analysis.analyse import analyse
from tests.report.page.made import EPOCHS, LAYERS, images, shown
from tests.report.synthetic import Shape
from tests.report.test_analysed import PAPER, analysed

MEGABYTE = 10**6


NESTED = st.recursive(
    st.text() | st.booleans(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@given(NESTED)
def test_what_is_embedded_is_read_back_and_holds_no_sign_of_markup(value: object) -> None:
    text = str(embedded(value))
    assert json.loads(text) == value
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_numbers_are_kept_to_four_decimals_and_gaps_stay_gaps() -> None:
    values = np.array([[0.12344, -1.00006, np.nan], [1e-9, np.inf, 0.99996]])
    assert ten_thousandths(values) == [[1234, -10001, None], [0, None, 10000]]
    assert SCALE == 10_000


def test_small_numbers_of_an_axis_keep_their_digits() -> None:
    values = np.array([8.33333e-5, -0.000312345, 0.98765432, 123.45678, 0.0, np.nan])
    assert decimals(values) == [8.333e-5, -0.0003123, 0.9877, 123.4568, 0.0, None]


def test_two_that_hardly_differ_are_not_said_to_part(tmp_path: Path) -> None:
    made = shown(tmp_path)
    assert made.results is not None
    names = [f"{name}{end}" for name in ("forgetting", "cka_divergence") for end in ("", "_std")]
    still = made.results.assign({name: made.results[name] * 1e-4 for name in names})
    assert b"furthest apart" in page_of(made, mark="made up")
    assert b"furthest apart" not in page_of(replace(made, results=still), mark="made up")


def test_infinite_numbers_are_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded([float("inf")])


def test_a_hundred_epochs_of_two_models_can_be_mailed(tmp_path: Path) -> None:
    epochs = tuple(range(5))
    made = shown(tmp_path, Shape(layers=LAYERS, epochs=epochs, seeds=(0, 1, 2)))
    assert made.results is not None
    # Each of the few stands for twenty.
    many = made.results.isel(epoch=np.resize(epochs, 100)).assign_coords(epoch=range(100))
    measured = Further(
        made.further.metamers,
        *(
            _repeated(table, epochs)
            for table in (made.further.unchanged, made.further.similarities)
        ),
    )
    photographs = images(LAYERS, side=224)
    whole = replace(made, results=many, images=photographs, further=measured)
    content = page_of(whole, mark="made up")
    assert MEGABYTE < len(content) < 10 * MEGABYTE


def _repeated(table: pd.DataFrame | None, epochs: tuple[int, ...]) -> pd.DataFrame:
    assert table is not None
    few = [table[table["epoch"] == epoch] for epoch in epochs]
    return pd.concat([few[n % len(few)].assign(epoch=n) for n in range(100)])


def test_of_more_cells_than_there_is_room_for_epochs_are_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stir_ray.report.page.matrices.MOST_CELLS", 3 * 25)
    shape = Shape(layers=(1, 2, 3, 5, 7), epochs=tuple(range(7)))
    content = page_of(shown(tmp_path, shape), mark="made up").decode()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', content)
    assert data is not None
    model = json.loads(data[1])["matrices"]["models"][0]
    assert model["epochs"] == [0, 3, 6]
    assert model["note"].startswith("3 of 7 epochs")


def test_what_nobody_predicted_is_said(tmp_path: Path) -> None:
    found = replace(images((1,)), taken={})
    assert "“predictions: true”" in gallery_section(found).note


@pytest.mark.parametrize(
    ("value", "text"), [(-0.004, "0.00"), (-0.006, "−0.01"), (0.125, "0.12"), (-1, "−1.00")]
)
def test_what_is_nearly_nothing_has_no_sign(value: float, text: str) -> None:
    assert said(value) == text


def test_an_epoch_counts_once_a_model_has_seen_inversions_of_the_other(tmp_path: Path) -> None:
    results = shown(tmp_path).results
    assert results is not None
    assert epochs_of(results, "finetuned") == list(EPOCHS)
    others = {"model": "finetuned", "direction": ["ft|pt", "pt|ft", "ft|ft"]}
    # The pretrained model's view of its own inversions is there before the epoch is.
    results["stir"].loc[{**others, "epoch": EPOCHS[-1]}] = np.nan
    assert epochs_of(results, "finetuned") == list(EPOCHS[:-1])
    results["stir"].loc[others] = np.nan
    assert compared_models(results) == ["from_scratch"]


def test_no_seed_takes_part_in_cka_and_it_has_no_spread(tmp_path: Path) -> None:
    results = shown(tmp_path).results
    assert results is not None
    of = {"model": "finetuned", "estimator": "biased"}
    for metric, varies in (("cka_divergence", False), ("forgetting", True)):
        curve = metric_curve(results, metric, epoch=EPOCHS[-1], **of)
        curves = metric_curves(results, metric, **of)
        assert bool(np.isfinite(curve.std).any()) == bool(np.isfinite(curves.std).any()) == varies
        assert (curve.seeds > 0) == bool((curves.seeds > 0).any()) == varies
    cka = score_matrices(results, "cka", model="finetuned", direction="ft|pt")
    assert np.isfinite(cka.mean).any()
    assert np.isnan(cka.std).all()


def test_a_layer_without_forgetting_has_no_place_among_the_points(tmp_path: Path) -> None:
    results = shown(tmp_path).results
    assert results is not None
    (scatter,) = (one for one in trust(results).plots if one.variants[0].panels[0].is_scatter)
    (line,) = scatter.variants[0].panels[0].lines
    gap = LAYERS.index(4)
    assert line.x[gap] is None
    assert all(x is not None for place, x in enumerate(line.x) if place != gap)


def test_the_page_doubts_a_hypothesis_in_the_words_of_its_analysis() -> None:
    forgetting = PAPER.curves["forgetting"].copy()
    # One layer of one epoch is not known: the analysis leaves that epoch out of its family, and
    # so must the page, whichever layers the strongest hypothesis is about.
    forgetting[:, 4, 0] = np.nan
    gap = replace(PAPER, curves={**PAPER.curves, "forgetting": forgetting})
    for of in (PAPER, gap, replace(PAPER, curves={"forgetting": forgetting})):
        analysis = analyse(of)
        shown = study_section(analysed(of))
        assert shown is not None
        assert len(shown.section.warnings) == len(analysis.families)
        for family, warning in zip(analysis.families, shown.section.warnings, strict=True):
            hypothesis = family.screening.hypotheses[family.examined[0].index]
            said = " ".join(family.examined[0].interpretation)
            assert warning == f"Finetuned model, {hypothesis}: {said}"


def test_the_strongest_hypotheses_stand_beside_the_intervals_that_are_known() -> None:
    made = analysed(PAPER)
    without = study_section(made)
    assert without is not None
    assert not any(column.startswith("r, 95 %") for column in without.tables[0].columns)
    rows = made.hypotheses.assign(seeds=3, seeds_low=-0.25, seeds_high=1.0)
    rows = rows.assign(images_low=0.125, images_high=0.5)
    last = rows["family"] == rows["family"].iloc[-1]
    rows.loc[last, "seeds"] = 0
    rows.loc[last, ["seeds_low", "seeds_high", "images_low", "images_high"]] = np.nan
    beside = study_section(replace(made, hypotheses=rows))
    assert beside is not None
    first, r, *intervals, p = beside.tables[0].columns[:5]
    assert [first, r, p, *beside.tables[0].columns[5:]] == without.tables[0].columns
    assert intervals == ["r, 95 % t interval over 3 seeds", "r, 95 % over images"]
    assert {row[2] for row in beside.tables[0].rows} == {"-0.25 to 1", "–"}
    assert {row[3] for row in beside.tables[0].rows} == {"0.125 to 0.5", "–"}


class _Captions(HTMLParser):
    """Notes the children of each figure, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[list[str]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if self._open and self._open[-1] == "figure":
            self.figures[-1].append(tag)
        if tag == "figure":
            self.figures.append([])
        if tag not in {"meta", "input", "img", "br", "link"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_whether_a_page_is_current_is_read_off_its_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    lake.objects.put("page.html", page_of(shown(tmp_path), mark="stir_ray page abc"))
    monkeypatch.setattr(ObjectStore, "get", lambda *_: pytest.fail("megabytes were read"))
    assert is_current("page.html", "stir_ray page abc", lake)
    assert not is_current("page.html", "stir_ray page abd", lake)
    assert not is_current("elsewhere.html", "stir_ray page abc", lake)


def test_a_caption_is_the_first_or_last_of_its_figure(tmp_path: Path) -> None:
    parser = _Captions()
    parser.feed(page_of(shown(tmp_path), mark="made up").decode())
    captioned = [children for children in parser.figures if "figcaption" in children]
    assert len(captioned) > 5
    for children in captioned:
        assert children.count("figcaption") == 1
        assert "figcaption" in (children[0], children[-1])


def test_the_criterion_is_drawn_beside_unbiased_self_stir_alone(
    tmp_path: Path,
) -> None:
    results = shown(tmp_path).results
    assert results is not None
    (plot,) = (one for one in trust(results).plots if one.id == "convergence")
    panels = {
        variant.name: panel
        for variant in plot.variants
        for panel in variant.panels
        if panel.title == "Self-STIR"
    }
    assert [rule.y for rule in panels["unbiased"].rules] == [CONVERGED_SELF_STIR]
    assert list(panels["biased"].rules) == []
    for estimator, drawn in (("biased", []), ("unbiased", [CONVERGED_SELF_STIR])):
        own = convergence_figure(results, estimator=estimator).axes[2]
        levels = [np.asarray(line.get_ydata(), float) for line in own.lines]
        assert [float(y[0]) for y in levels if len(y) == 2 and y[0] == y[1]] == drawn
