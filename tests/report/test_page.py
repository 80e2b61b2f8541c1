"""Laws of pages that need no browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stir_ray.report.job_results import JobResults
from stir_ray.report.page import embedded, job_page, number
from stir_ray.report.sections import sections
from stir_ray.results.correlation_study import analyse
from tests.report.made import ABOUT, LAYERS, PAPER, analysed, images, shown
from tests.report.synthetic import Shape

MEGABYTE = 10**6
NESTED = st.recursive(
    st.text() | st.booleans(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
)


@given(NESTED)
def test_what_is_embedded_is_read_back_and_holds_no_sign_of_markup(value: object) -> None:
    text = str(embedded(value))
    assert json.loads(text) == value
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_infinite_numbers_are_refused_rather_than_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded([float("inf")])


def test_a_hundred_epochs_of_two_models_can_be_mailed(tmp_path: Path) -> None:
    epochs = tuple(range(5))
    made = shown(tmp_path, Shape(layers=LAYERS, epochs=epochs, seeds=(0, 1, 2)))
    assert made.results is not None
    # Each of the few stands for twenty.
    many = made.results.isel(epoch=np.resize(epochs, 100)).assign_coords(epoch=range(100))
    tables = {name: _repeated(table, epochs) for name, table in made.tables.items()}
    whole = replace(made, results=many, images=images(LAYERS, side=224), tables=tables)
    content = job_page(ABOUT, whole)
    assert MEGABYTE < len(content) < 10 * MEGABYTE


def _repeated(table: pd.DataFrame, epochs: tuple[int, ...]) -> pd.DataFrame:
    if (table["model"] == "pretrained").any():
        return table
    few = [table[table["epoch"] == epoch] for epoch in epochs]
    return pd.concat([few[n % len(few)].assign(epoch=n) for n in range(100)])


@pytest.mark.parametrize(
    ("value", "text"), [(-0.004, "0.00"), (-0.006, "−0.01"), (0.125, "0.12"), (-1, "−1.00")]
)
def test_what_is_nearly_nothing_has_no_sign(value: float, text: str) -> None:
    assert number(value) == text


def test_the_page_doubts_a_hypothesis_in_the_words_of_its_analysis() -> None:
    forgetting = PAPER.curves["forgetting"].copy()
    # One layer of one epoch is not known: the analysis leaves that epoch out of its family, and
    # so must the page, whichever layers the strongest hypothesis is about.
    forgetting[:, 4, 0] = np.nan
    gap = replace(PAPER, curves={**PAPER.curves, "forgetting": forgetting})
    for of in (PAPER, gap, replace(PAPER, curves={"forgetting": forgetting})):
        analysis = analyse(of)
        (section,) = sections(JobResults(analysed=analysed(of)))
        assert len(section.warnings) == len(analysis.families)
        for family, warning in zip(analysis.families, section.warnings, strict=True):
            hypothesis = family.screening.hypotheses[family.examined[0].index]
            text = " ".join(family.examined[0].interpretation)
            assert warning == f"Finetuned model, {hypothesis}: {text}"


def test_the_strongest_hypotheses_stand_beside_the_intervals_that_are_known() -> None:
    made = analysed(PAPER)
    (without,) = sections(JobResults(analysed=made))
    assert not any(column.startswith("r, 95 %") for column in without.tables[0].columns)
    rows = made.hypotheses.assign(seeds=3, seeds_low=-0.25, seeds_high=1.0)
    rows = rows.assign(images_low=0.125, images_high=0.5)
    last = rows["family"] == rows["family"].iloc[-1]
    rows.loc[last, "seeds"] = 0
    rows.loc[last, ["seeds_low", "seeds_high", "images_low", "images_high"]] = np.nan
    (beside,) = sections(JobResults(analysed=replace(made, hypotheses=rows)))
    first, r, *intervals, p = beside.tables[0].columns[:5]
    assert [first, r, p, *beside.tables[0].columns[5:]] == without.tables[0].columns
    assert intervals == ["r, 95 % t interval over 3 seeds", "r, 95 % over images"]
    assert {row[2] for row in beside.tables[0].rows} == {"-0.25 to 1", "–"}
