"""The page in a browser: what a person sees and can do with it, without a network."""

import io
import re
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from pypdf import PdfReader

from stir_ray.report.job_results import JobResults
from tests.report.conftest import Opener
from tests.report.made import ABOUT, EPOCHS, LAYERS, SHAPE, images, shown, written
from tests.report.synthetic import IMAGES, Shape

PHONE = {"width": 390, "height": 844}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
FLOW = "3-flow-finetuned"
GAP = 4
"""The pretrained layer that could not be inverted."""
WAIT_MS = 120_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> JobResults:
    return shown(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def path(made: JobResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(made, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def page(opened_once: Opener, path: Path) -> Page:
    """Looked at by several tests, each of which chooses first what it looks at."""
    return drawn(opened_once(path))


def drawn(page: Page) -> Page:
    """The page, once all of its charts are."""
    page.wait_for_selector("body[data-drawn]", timeout=WAIT_MS)
    return page


def figure(page: Page, stem: str = FLOW) -> Locator:
    return page.locator(f"[id='{stem}']")


def table(of: Locator, place: int = 0) -> list[list[str]]:
    """Rows of a table of numbers, behind the first of each what it is."""
    of.locator("details.numbers").evaluate("(details) => { details.open = true; }")
    rows = of.locator("table").nth(place).locator("tbody tr")
    expect(rows.first).to_be_attached()
    return rows.evaluate_all("(rows) => rows.map((r) => [...r.cells].map((c) => c.textContent))")


def at_epoch(of: Locator, epoch: int) -> None:
    """By the keyboard alone."""
    slider = of.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    for _ in range(epoch):
        slider.press("ArrowRight")
    expect(of.locator("h3")).to_have_text(re.compile(f"epoch {epoch}$"))


def test_every_chart_is_drawn_and_headings_are_in_order(page: Page) -> None:
    count = page.locator("figure.chart").count()
    assert page.locator("figure.chart svg.marks").count() == count > 15
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    ids = page.evaluate("() => [...document.querySelectorAll('body [id]')].map((e) => e.id)")
    assert len(set(ids)) == len(ids)


def test_the_slider_by_keyboard_shows_the_numbers_of_that_epoch(
    page: Page, made: JobResults
) -> None:
    of = figure(page)
    assert made.results is not None
    for epoch in (0, 2, EPOCHS[-1]):
        at_epoch(of, epoch)
        cells = made.results["flow"].sel(model="finetuned", estimator="unbiased", epoch=epoch)
        expected = cells.transpose("row_layer", "column_layer").values
        rows = [[np.nan if c == "–" else float(c) for c in row[1:]] for row in table(of)]
        np.testing.assert_allclose(np.array(rows), expected, atol=0.5001e-4)
        texts = of.locator("svg.marks text").all_text_contents()
        label = re.sub(r"^(–?)0", r"\1", f"{expected[0, 1]:.2f}".replace("-", "–"))
        assert label in texts
    # Between measured epochs the last one before stays.
    at_epoch(of, 3)
    of.get_by_role("slider").press("ArrowRight")
    expect(of.locator("h3")).to_have_text(re.compile("epoch 3$"))


def test_the_estimator_is_chosen_and_the_numbers_follow(page: Page) -> None:
    of = figure(page, "1-learning-forgetting-by-layer")
    before = of.locator("svg.marks").inner_html()
    of.get_by_label("CKA estimator").select_option("biased")
    page.wait_for_function(
        "([of, before]) => of.querySelector('svg.marks').innerHTML !== before",
        arg=[of.element_handle(), before],
    )
    of.get_by_label("CKA estimator").select_option("unbiased")


def test_tables_say_the_numbers_spreads_and_doubts_of_a_chart(page: Page) -> None:
    of = figure(page, "1-learning-forgetting-by-layer")
    rows = table(of, 1)
    heads = of.locator("table").nth(1).locator("thead th").all_text_contents()
    assert heads[1:5] == ["layer (transformer block)", "value", "± std", "seeds"]
    own = [row for row in rows if row[0] == f"finetuned, epoch {EPOCHS[-1]}"]
    assert len(own) == 2 * len(LAYERS)
    assert own[LAYERS.index(GAP)][2] == "–"
    assert any("still moving" in row[-1] for row in own)


def test_pointing_at_a_cell_says_value_spread_and_count(page: Page) -> None:
    of = figure(page)
    at_epoch(of, EPOCHS[-1])
    assert {cell for row in table(of) if row[0] == str(GAP) for cell in row[1:]} == {"–"}
    of.scroll_into_view_if_needed()
    cell = of.locator("svg.marks .mark-rect path").nth(1)
    cell.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    expect(tooltip).to_contain_text("± std")
    text = tooltip.inner_text()
    assert "pretrained layer i" in text
    assert re.search(rf"seeds\s+{len(SHAPE.seeds)}", text)
    assert "undefined" not in text


def test_clicking_the_legend_leaves_the_other_lines_pale(page: Page) -> None:
    of = figure(page, "1-learning-forgetting-by-layer")
    of.scroll_into_view_if_needed()
    of.locator("svg.marks .role-legend-label text").first.click()
    pale = """(of) => [...of.querySelectorAll('.mark-symbol path')]
        .some((path) => Number(path.getAttribute('opacity')) < 0.2)"""
    page.wait_for_function(pale, arg=of.element_handle())
    of.locator("svg.marks .role-legend-label text").first.dblclick()


def test_play_goes_through_the_epochs_and_stops_at_the_last(page: Page) -> None:
    of = figure(page)
    at_epoch(of, EPOCHS[-2])
    of.get_by_role("button", name="Play").press("Enter")
    expect(of.get_by_role("button", name="Pause")).to_be_visible()
    expect(of.locator("h3")).to_have_text(re.compile(f"epoch {EPOCHS[-1]}$"), timeout=20_000)
    expect(of.get_by_role("button", name="Play")).to_be_visible(timeout=20_000)


def test_what_a_job_says_stays_text(opened: Opener, tmp_path: Path) -> None:
    made = images((1, 2))
    hostile = made._replace(
        panels={HOSTILE: made.panels["Pretrained model"]}, labels=(HOSTILE,) * 3
    )
    names = ("name", "sentence", "runs")
    about = replace(ABOUT, **dict.fromkeys(names, HOSTILE), warnings=(HOSTILE,),
                    settings=((HOSTILE, HOSTILE),))  # fmt: skip
    shape = Shape(layers=(1, 2), epochs=(1,), seeds=(0,), scratch_epoch=None)
    of = shown(tmp_path, shape, images=hostile, analysed=None)
    page = drawn(opened(written(of, tmp_path / "page.html", about)))
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("b, h1 *").count() == 0
    assert HOSTILE in figure(page, "8-gallery").locator("svg.marks text").all_text_contents()
    figure(page, "8-gallery").locator("svg.marks image").first.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    expect(tooltip).to_contain_text("<b>bold</b>")
    assert tooltip.locator("b").count() == 0
    assert tooltip.locator("img").count() == 1


def test_no_other_script_runs_and_nothing_is_fetched(browser: Any, path: Path) -> None:
    # Without the fixture that fails on complaints: here the browser is to complain.
    page = browser.new_page()
    page.goto(path.as_uri())
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.hasRun = true';
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.hasRun") is None
    assert page.evaluate("fetch('data:text/plain,x').then(() => 'read', () => 'refused')") == (
        "refused"
    )
    page.close()


def test_on_paper_headings_and_charts_stay_and_controls_go(opened: Opener, path: Path) -> None:
    page = drawn(opened(path, color_scheme="dark"))
    reader = PdfReader(io.BytesIO(page.pdf(format="A4", print_background=True)))
    # Normalized, since fonts have ligatures.
    sheets = [
        unicodedata.normalize("NFKC", " ".join(sheet.extract_text().split()))
        for sheet in reader.pages
    ]
    text = " ".join(sheets)
    for figure in page.locator("figure.chart").all():
        title, note = (figure.locator(part).inner_text() for part in ("h3", "figcaption"))
        assert any(title in sheet and note in sheet for sheet in sheets), title
    for heading in page.locator("h1, h2").all_inner_texts():
        assert heading in text
    assert f"Invariance flow: finetuned, epoch {EPOCHS[-1]}" in text
    assert "pretrained layer i" in text
    assert "CKA estimator" not in text
    assert "Skip to the results" not in text
    page.emulate_media(media="print")
    assert page.get_by_role("button").filter(visible=True).count() == 0
    assert page.locator("svg.marks").first.evaluate("(e) => getComputedStyle(e).filter") == "none"


def test_charts_and_text_stand_out_from_the_ground_of_the_scheme(
    opened: Opener, path: Path
) -> None:
    page = opened(path, color_scheme="dark")
    svg = page.locator("svg.marks").first
    svg.wait_for(timeout=WAIT_MS)
    for scheme in ("dark", "light"):
        # As the screen changes its scheme, so does the chart.
        page.emulate_media(color_scheme=scheme)
        ground, text = (
            sum(map(int, re.findall(r"\d+", page.evaluate(script))[:3])) / 3
            for script in (
                "getComputedStyle(document.body).backgroundColor",
                "getComputedStyle(document.body).color",
            )
        )
        darker, lighter = (ground, text) if scheme == "dark" else (text, ground)
        assert darker < 60
        assert lighter > 200
        inverted = svg.evaluate("(element) => getComputedStyle(element).filter")
        assert ("invert" in inverted) == (scheme == "dark")


def test_a_phone_does_not_scroll_sideways(opened: Opener, path: Path) -> None:
    page = drawn(opened(path, viewport=PHONE, has_touch=True, is_mobile=True))
    wide = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((e) => !e.closest('.scroll, svg, .skip, #vg-tooltip-element'))
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # Panels stand below each other.
    box = figure(page).locator("svg.marks").bounding_box()
    assert box is not None
    assert box["height"] > 2 * box["width"]


def test_a_running_job_has_a_page_of_what_is_there(opened: Opener, tmp_path: Path) -> None:
    page = opened(written(JobResults(), tmp_path / "page.html"))
    assert "No task of this job has stored a result yet" in page.locator("main").inner_text()
    shape = Shape(layers=(4,), epochs=(1,), seeds=(0,), scratch_epoch=None)
    few = shown(tmp_path, shape, images=None, analysed=None)
    page = drawn(opened(written(few, tmp_path / "few.html")))
    assert page.locator("#epochs, #gallery, #study").count() == 0
    assert page.get_by_role("slider").count() == 0
    caption = figure(page, "1-learning-forgetting-by-layer").locator("figcaption")
    assert f"{IMAGES} images" in caption.inner_text()
