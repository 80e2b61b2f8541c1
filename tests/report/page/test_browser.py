"""The page in a browser: what a person sees, hears and can do with it."""

from __future__ import annotations

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

from stir_ray.report.page.job import Shown
from stir_ray.report.readings import metric_curve
from tests.report.further import metamers
from tests.report.page.conftest import Opener
from tests.report.page.made import ABOUT, EPOCHS, LAYERS, SHAPE, cells, shown, written
from tests.report.synthetic import IMAGES, Shape

PHONE = {"width": 390, "height": 844}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
NUMBER = r"-?\d*\.?\d+(?:e-?\d+)?"
GAP = 4
"""The pretrained layer that could not be inverted."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return shown(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def path(made: Shown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(made, tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def page(opened_once: Opener, path: Path) -> Page:
    """Looked at by several tests, each of which chooses first what it looks at."""
    return opened_once(path)


def heat(page: Page) -> list[list[float | None]]:
    """What the matrix shows: the one value that some layer of the drawing has in each cell."""
    return page.evaluate(
        """() => {
            const drawn = document.querySelector('.matrix-plot').data.slice(0, -1);
            return drawn[0].z.map((row, r) => row.map((_, c) =>
                drawn.map((one) => one.z[r][c]).find((value) => value !== null) ?? null));
        }"""
    )


def tabled(page: Page) -> list[list[str]]:
    """The cells of the table behind the matrix."""
    rows = page.locator("#matrix tbody tr")
    return [rows.nth(n).locator("td").all_inner_texts() for n in range(rows.count())]


def columns(table: Locator) -> list[list[str]]:
    """The texts of a table by column, the first of which names its rows."""
    rows = table.locator("tbody tr")
    texts = [rows.nth(n).locator("th, td").all_inner_texts() for n in range(rows.count())]
    return [[text.replace("−", "-") for text in column] for column in zip(*texts, strict=True)]


def choose(page: Page, kind: str) -> None:
    page.get_by_label("Matrix", exact=True).select_option(label=kind)


def as_numbers(values: list[list[Any]]) -> np.ndarray:
    return np.array(values, dtype=float)


def at_epoch(slider: Locator, place: int) -> None:
    """By the keyboard alone."""
    slider.focus()
    slider.press("Home")
    for _ in range(place):
        slider.press("ArrowRight")


def test_everything_is_drawn_and_headings_are_in_order(page: Page) -> None:
    places = page.locator(".axes, .matrix-plot")
    assert places.count() == page.locator(".main-svg:first-child").count() > 10
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1,h2,h3')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert not page.evaluate("() => document.querySelectorAll('img:not([alt])').length")
    ids = page.evaluate("() => [...document.querySelectorAll('body [id]')].map((one) => one.id)")
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("kind", "metric"), [("Invariance flow", "flow"), ("Learning", "learning")]
)
def test_the_slider_by_keyboard_shows_the_numbers_of_that_epoch(
    page: Page, made: Shown, kind: str, metric: str
) -> None:
    choose(page, kind)
    page.locator("#matrix details").evaluate("(one) => { one.open = true; }")
    slider = page.get_by_label("Epoch", exact=True)
    assert made.results is not None
    for place in (0, 2, len(EPOCHS) - 1):
        at_epoch(slider, place)
        assert page.locator("#matrix output").inner_text().startswith(f"{EPOCHS[place]} of")
        expected = cells(made.results, metric, EPOCHS[place])
        spread = cells(made.results, metric, EPOCHS[place], "_std")
        # Four decimals are what a page carries.
        np.testing.assert_allclose(as_numbers(heat(page)), expected, rtol=0, atol=0.5001e-4)
        said = [[one.replace("−", "-").split(" ± ") for one in row] for row in tabled(page)]
        for (row, column), value in np.ndenumerate(expected):
            if np.isnan(value):
                assert said[row][column] == ["missing"]
            else:
                numbers = [float(one) for one in said[row][column]]
                assert numbers == pytest.approx([value, spread[row, column]], abs=0.5001e-4)


def test_the_tables_of_a_figure_say_its_numbers_spreads_and_bands(page: Page, made: Shown) -> None:
    assert made.results is not None
    for figure in ("#by-layer", "#convergence"):
        page.locator(f"{figure} details").evaluate("(one) => { one.open = true; }")
    last = {"model": "finetuned", "epoch": EPOCHS[-1]}
    for n, metric in enumerate(("learning", "forgetting")):
        expected = metric_curve(made.results, metric, **last, estimator="unbiased")
        said = columns(page.locator("#by-layer details table").nth(n))
        assert said[0] == [str(layer) for layer in expected.layers]
        for text, mean, std in zip(said[1], expected.mean, expected.std, strict=True):
            numbers = [float(one) for one in re.findall(NUMBER, text)]
            known = [] if np.isnan(mean) else [mean, std]
            # Rounded to four digits as the page carries them, and again as they are shown.
            assert numbers == pytest.approx(known, abs=0.551e-4)
    residuals = columns(page.locator("#convergence details table").first)
    for of_a_model in residuals[1:]:
        for text in of_a_model:
            numbers = [float(one) for one in re.findall(NUMBER, text)]
            assert text == "missing" or (len(numbers) >= 3 and " to " in text)


def test_a_matrix_of_zeros_has_no_compression(opened: Opener, made: Shown, tmp_path: Path) -> None:
    assert made.results is not None
    still = made.results.assign(flow=made.results["flow"] * 1e-4)
    page = opened(written(replace(made, results=still), tmp_path / "still.html"))
    choose(page, "Invariance flow")
    found = page.locator("#matrix .found").inner_text()
    assert "nothing flows" in found
    assert "Compression" not in found


def test_a_missing_cell_is_missing_and_not_zero(page: Page) -> None:
    choose(page, "Forgetting")
    shown_values = as_numbers(heat(page))
    column = LAYERS.index(GAP)
    assert np.isnan(shown_values[:, column]).all()
    assert np.isfinite(np.delete(shown_values, column, axis=1)).all()
    assert "hatched: missing" in page.locator("#matrix .key").inner_text()
    assert (
        f"{len(LAYERS)} of {len(LAYERS) ** 2} cells are missing"
        in page.locator("#matrix .found").inner_text()
    )
    curve = page.evaluate(
        "() => [...document.querySelectorAll('#by-layer .axes')][1].data.find((one) => one.name)"
    )
    assert curve["y"][curve["x"].index(GAP)] is None


def test_hovering_a_cell_says_value_spread_and_count(page: Page, made: Shown) -> None:
    choose(page, "Invariance flow")
    at_epoch(page.get_by_label("Epoch", exact=True), len(EPOCHS) - 1)
    place = page.locator("#matrix .nsewdrag").first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    side = box["width"] / len(LAYERS)
    row, column = 6, 2
    page.mouse.move(box["x"] + (column + 0.5) * side, box["y"] + (row + 0.5) * side)
    label = page.locator(".hoverlayer .hovertext")
    label.wait_for()
    said = label.text_content() or ""
    assert made.results is not None
    value = cells(made.results, "flow", EPOCHS[-1])[row, column]
    spread = cells(made.results, "flow", EPOCHS[-1], "_std")[row, column]
    assert f"{abs(value):.4f} ± {spread:.4f}" in said
    assert "3 seeds" in said
    assert f"pretrained layer i: {LAYERS[row]}" in said
    assert f"layer j: {LAYERS[column]}" in said


def test_both_sides_of_the_diagonal_are_told_apart_by_colour_and_in_words(
    page: Page, made: Shown
) -> None:
    choose(page, "Invariance flow")
    at_epoch(page.get_by_label("Epoch", exact=True), len(EPOCHS) - 1)
    scales = page.evaluate(
        "() => document.querySelector('.matrix-plot').data.map((one) => one.colorscale[1][1])"
    )
    ends = page.evaluate(
        "() => document.querySelector('.matrix-plot').data.map((one) => one.colorscale.at(-1)[1])"
    )
    assert scales[1] == scales[2]
    assert ends[1] != ends[2]
    key = page.locator("#matrix .key").inner_text()
    assert "left of the diagonal: compression" in key
    assert "right of it: expansion" in key
    # A row is a layer of the pretrained model: left of the diagonal lie shallower layers.
    below, above = page.evaluate(
        "() => document.querySelector('.matrix-plot').data.slice(1, 3)"
        ".map((one) => [one.z[6][2] !== null, one.z[2][6] !== null])"
    )
    assert (below, above) == ([True, False], [False, True])
    assert made.results is not None
    values = cells(made.results, "flow", EPOCHS[-1])
    found = page.locator("#matrix .found").inner_text().replace("−", "-")
    for name, side in (("Compression", np.tril(values, -1)), ("Expansion", np.triu(values, 1))):
        of_side = side[np.isfinite(side) & (side != 0)]
        share = f"{(of_side > 0).sum()} of {of_side.size} cells above 0, mean {of_side.mean():.3f}"
        assert f"{name}: {share}" in found


def test_play_goes_through_the_epochs_and_stops_at_the_last(page: Page) -> None:
    at_epoch(page.get_by_label("Epoch", exact=True), len(EPOCHS) - 1)
    play, output = page.get_by_role("button", name="Play"), page.locator("#matrix output")
    # Written down as they come: who looks now and then misses some on a busy machine.
    output.evaluate(
        """(one) => {
            window.said = [];
            const note = () => window.said.push(one.textContent);
            const all = { childList: true, characterData: true, subtree: true };
            new MutationObserver(note).observe(one, all);
        }"""
    )
    play.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Play").wait_for()
    said = page.evaluate("() => window.said")
    assert said == [f"{epoch} of {EPOCHS[-1]}" for epoch in EPOCHS]


def test_an_image_opens_large_beside_its_original(page: Page) -> None:
    shot = page.locator(".album[open] .shot").nth(3 + 1)  # layer 1, second image
    shot.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    dialog.wait_for()
    said = dialog.inner_text()
    assert "image 2 inverted from layer 1" in said
    assert "Residual 0.12" in said
    assert "original taken for class 1, inverted image for dog (changed)" in said
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert page.locator(".album[open] .gap").count() == 1
    assert page.locator(".album[open] .residual.doubtful").all_inner_texts() == ["0.70 !"]


def test_further_measures_are_tabled_with_what_is_missing(page: Page) -> None:
    section = page.locator("#further")
    assert "A metamer is" in section.inner_text()
    figure = page.locator("#metamers")
    figure.locator("summary").click()
    rows = figure.locator("tbody tr")
    assert rows.count() == len(LAYERS)
    pretrained = [rows.nth(n).locator("td").first.inner_text() for n in range(rows.count())]
    for place, (layer, said) in enumerate(zip(LAYERS, pretrained, strict=True)):
        of_seeds = [metamers(SHAPE, "pretrained", 0, seed)[place] for seed in SHAPE.seeds]
        mean = 100 * np.mean(of_seeds) / IMAGES
        assert said.startswith("missing" if layer == GAP else f"{mean:.4f} ± ")
    choice = page.locator("#measures-finetuned select")
    assert page.locator("#measures-finetuned .panel").count() == 3
    assert "Procrustes (no unbiased form)" in page.locator("#measures-finetuned").inner_text()
    choice.select_option(label="biased")
    assert page.locator("#measures-finetuned .panel").count() == 3
    assert "no unbiased form" not in page.locator("#measures-finetuned").inner_text()


def test_whatever_a_job_says_stays_text(opened: Opener, made: Shown, tmp_path: Path) -> None:
    assert made.images is not None
    panels = tuple(replace(one, title=HOSTILE) for one in made.images.gallery.panels)
    images = replace(made.images, gallery=replace(made.images.gallery, panels=panels))
    about = replace(
        ABOUT,
        name=HOSTILE,
        sentence=HOSTILE,
        warnings=(HOSTILE,),
        settings=((HOSTILE, HOSTILE),),
        runs=HOSTILE,
    )
    hostile = replace(made, about=about, images=images, analysed=_hostile_study(made))
    page = opened(written(hostile, tmp_path / "page.html"))
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("b, img[src]:not([src^='data:']), h1 *").count() == 0
    # Plotly takes tags in texts for formatting: here they are letters.
    title = page.locator("#strongest-finetuned .xtitle").first
    assert title.text_content() == HOSTILE
    assert page.locator("#strongest-finetuned .legend li").first.inner_text()
    scripts = page.locator("script").count()
    assert scripts == 3


def _hostile_study(made: Shown) -> Any:
    assert made.analysed is not None
    hypotheses = made.analysed.hypotheses.copy()
    hypotheses.loc[hypotheses["rank"] == 1, "hypothesis"] = HOSTILE
    return replace(made.analysed, hypotheses=hypotheses)


def test_no_other_script_runs_and_nothing_is_fetched(browser: Any, path: Path) -> None:
    # Without the fixture that fails on complaints: here the browser is to complain.
    page = browser.new_page()
    page.goto(path.as_uri())
    page.evaluate(
        """() => {
            const one = document.createElement('script');
            one.textContent = 'window.hasRun = true';
            document.body.append(one);
        }"""
    )
    assert page.evaluate("window.hasRun") is None
    assert page.evaluate("fetch('data:text/plain,x').then(() => 'read', () => 'refused')") == (
        "refused"
    )
    page.close()


def test_on_paper_headings_figures_and_the_last_epoch_stay(opened: Opener, path: Path) -> None:
    page = opened(path, color_scheme="dark")
    at_epoch(page.get_by_label("Epoch", exact=True), 1)
    content = page.pdf(format="A4", print_background=True)
    reader = PdfReader(io.BytesIO(content))
    text = " ".join(" ".join(one.extract_text() for one in reader.pages).split())
    text = unicodedata.normalize("NFKC", text)  # ligatures
    for heading in page.locator("h1, h2").all_inner_texts():
        assert heading in text
    assert f"Invariance flow: finetuned, epoch {EPOCHS[-1]}" in text
    assert f"Invariance flow: finetuned, epoch {EPOCHS[1]}" not in text
    assert "Play" not in text
    assert "Skip to the results" not in text
    # Afterwards the page is as it was.
    assert page.locator("#matrix output").inner_text().startswith(f"{EPOCHS[1]} of")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Opener, path: Path, scheme: str) -> None:
    page = opened(path, color_scheme=scheme)

    def lightness(script: str) -> float:
        red, green, blue = map(int, re.findall(r"\d+", page.evaluate(script))[:3])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    ground = lightness("getComputedStyle(document.body).backgroundColor")
    text = lightness("getComputedStyle(document.body).color")
    ticks = lightness("getComputedStyle(document.querySelector('.xtick text')).fill")
    is_dark = scheme == "dark"
    darker, lighter = (ground, text) if is_dark else (text, ground)
    assert darker < 60
    assert lighter > 200
    assert (ticks - ground if is_dark else ground - ticks) > 80


def test_figures_follow_when_the_scheme_changes(opened: Opener, path: Path) -> None:
    page = opened(path, color_scheme="light")
    tick = page.locator(".xtick text").first
    before = tick.evaluate("(one) => getComputedStyle(one).fill")
    page.emulate_media(color_scheme="dark")
    expect(tick).not_to_have_css("fill", before)


def test_a_phone_does_not_scroll_sideways(opened: Opener, path: Path) -> None:
    page = opened(path, viewport=PHONE, has_touch=True, is_mobile=True)
    wide = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((one) => !one.closest('.scroll, svg, .unseen, .skip, dialog, .js-plotly-plot'))
            .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
            .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_running_job_has_a_page_of_what_is_there(opened: Opener, tmp_path: Path) -> None:
    page = opened(written(Shown(ABOUT), tmp_path / "page.html"))
    assert "No cell of this job has a number yet" in page.locator("main").inner_text()
    shape = Shape(layers=(4,), epochs=(1,), seeds=(0,), scratch_epoch=None)
    few = shown(tmp_path, shape, images=None, analysed=None)
    page = opened(written(few, tmp_path / "few.html"))
    assert page.locator("#epochs, #gallery, #study").count() == 0
    assert page.locator("#matrix .scrub").is_hidden()
    assert f"{IMAGES} images" in page.locator("#by-layer figcaption").inner_text()
