"""Charts of robustness and of the correlation study."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from stir_ray import charts
from stir_ray.charts.robustness_study import Prefixes, StrongestHypothesis
from stir_ray.numerics.correlation import TRANSIENT
from stir_ray.results.correlation_study import StoredAnalysis
from tests.charts.read import line, rows, words
from tests.report.made import PAPER, analysed
from tests.report.synthetic import accuracy_under


@pytest.fixture(scope="module")
def study() -> StoredAnalysis:
    return analysed(PAPER)


def robustness_table(epochs: range) -> pd.DataFrame:
    conditions = [("clean", 0), *((name, n) for name in ("fog", "snow") for n in (1, 3))]
    return pd.DataFrame(
        [
            {"model": "finetuned", "epoch": epoch, "corruption": name, "severity": severity,
             "images": 97, "accuracy": accuracy_under(epoch, name, severity), "loss": 0.5,
             "source": "regenerated" if severity else "clean"}
            for epoch in epochs for name, severity in conditions
        ]
    )  # fmt: skip


def test_accuracy_by_epoch_is_the_mean_of_the_corruptions() -> None:
    chart = charts.robustness(robustness_table(range(4)), model="finetuned")
    for severity in (1, 3):
        expected = [
            50 * (accuracy_under(epoch, "fog", severity) + accuracy_under(epoch, "snow", severity))
            for epoch in range(4)
        ]
        shown = line(chart, f"severity {severity}")
        np.testing.assert_allclose(list(shown.values()), expected, rtol=1e-3)
    assert "2 corruptions: fog, snow (regenerated)" in words(chart)


def test_a_single_epoch_is_drawn_by_severity_and_corruption() -> None:
    chart = charts.robustness(robustness_table(range(2, 3)), model="finetuned")
    assert list(line(chart, "snow")) == [0, 1, 3]
    band = rows(chart, line="mean of the corruptions")[-1]
    assert band["low"] == pytest.approx(100 * accuracy_under(2, "snow", 3), rel=1e-3)
    assert band["high"] == pytest.approx(100 * accuracy_under(2, "fog", 3), rel=1e-3)


def test_a_reconstruction_has_its_error() -> None:
    chart = charts.robustness(robustness_table(range(2)).assign(accuracy=np.nan), model="finetuned")
    assert set(line(chart, "clean").values()) == {0.5}
    assert "L1 per pixel" in words(chart)


def test_a_cell_is_the_r_of_its_layers_and_aggregate(study: StoredAnalysis) -> None:
    of = study.hypotheses[study.hypotheses["estimator"] == "biased"]
    chart = charts.hypotheses(of, against="accuracy", note="", name="finetuned")
    curves = chart.to_dict()["usermeta"]["panel_titles"]
    for row in of.sample(40, random_state=0).to_dict("records"):
        first, last = row["first_layer"], row["last_layer"]
        layers = str(first) if first == last else f"{first}–{last}"
        place = {"layers": layers, "aggregate": row["aggregate"]}
        (cell,) = rows(chart, panel=curves.index(row["curve"]), **place)
        assert ("framed" in cell) == (row["bonferroni_p"] < 0.05)
        assert ("bold" in cell) == (row["max_statistic_p"] < 0.05)
        if np.isnan(row["pearson_r"]):
            assert cell["r"] is None
        else:
            assert cell["r"] == pytest.approx(row["pearson_r"], abs=5e-4)
    assert f"over {len(PAPER.epochs)} epochs" in " ".join(words(chart).split())


def test_the_strongest_hypothesis_stands_against_accuracy_and_its_first_epochs_are_hollow(
    study: StoredAnalysis,
) -> None:
    row = study.hypotheses[study.hypotheses["rank"] == 1].to_dict("records")[0]
    values = np.linspace(0, 1, len(PAPER.epochs))
    chart = charts.strongest_hypotheses(
        [StrongestHypothesis(row, values, ("0.1", "0.2"))], epochs=PAPER.epochs,
        severities=PAPER.severities, accuracy=PAPER.accuracy, note="61 images.", name="finetuned",
    )  # fmt: skip
    shown = rows(chart, line="severity 2")
    np.testing.assert_allclose([r["y"] for r in shown], 100 * PAPER.accuracy[1], rtol=1e-3)
    assert [bool(r.get("state")) for r in shown] == [n < TRANSIENT for n in range(len(values))]


def test_prefixes_are_figure_14_and_published_ones_are_dashed(study: StoredAnalysis) -> None:
    of = study.correlations[study.correlations["estimator"] == "biased"]
    others = Prefixes("cifar10", [3, 5], np.array([0.9, 0.8]), "others 2023", "std of forgetting")
    chart = charts.prefixes(of, note="", name="finetuned", published=[others])
    name = "cifar10: std of forgetting, published"
    assert line(chart, name) == {3: 0.9, 5: 0.8}
    assert "Dashed: others 2023." in words(chart)
    own = [row for row in rows(chart) if row["line"] != name]
    assert {row["x"] for row in own} <= set(PAPER.epochs)
    assert own
