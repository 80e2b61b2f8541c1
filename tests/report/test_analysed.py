"""The figures of an analysis show what its tables say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from stir_ray.report.analysed import analysis_figures
from stir_ray.report.hypotheses import hypotheses_figure
from stir_ray.report.page.study import study_section
from stir_ray.report.published import read_published
from stir_ray.report.strongest import (
    Prefixes,
    prefixes_figure,
    prefixes_of,
    strongest_figure,
    summary_of,
)
from stir_ray.results.analysis.analyse import analyse
from stir_ray.results.analysis.analysis_tables import analysis_tables
from stir_ray.results.analysis.epoch_curves import EpochCurves
from stir_ray.results.analysis.job_analysis import StoredAnalysis
from stir_ray.results.analysis.samples import over_seeds
from tests import reference

EPOCHS = 19
SAMPLE = "61 images."
PAPER = EpochCurves(
    model="finetuned",
    estimator="biased",
    epochs=tuple(range(1, EPOCHS + 1)),
    layers=tuple(reference.LAYERS),
    curves={name: curve[None, :EPOCHS] for name, curve in reference.curves().items()},
    severities=(1, 2, 3, 4, 5),
    accuracy=reference.accuracy()[1:, :EPOCHS],
    clean=reference.accuracy()[0, :EPOCHS],
)


def analysed(of: EpochCurves) -> StoredAnalysis:
    tables = {
        schema.name: table.to_pandas() for schema, table in analysis_tables([analyse(of)]).items()
    }
    return StoredAnalysis((of,), tables["hypotheses"], tables["correlations"], 61, 97)


@pytest.fixture(scope="module")
def found() -> StoredAnalysis:
    return analysed(PAPER)


def texts(axes: Axes | Figure) -> list[str]:
    return [one.get_text() for one in axes.findobj(Text) if isinstance(one, Text)]


def test_a_cell_of_the_heat_map_is_the_r_of_its_layers_and_aggregate(found: StoredAnalysis) -> None:
    rows = found.hypotheses
    figure = hypotheses_figure(rows, against="accuracy", sample=SAMPLE)
    figure.draw_without_rendering()
    panels = {axes.get_title(loc="left").replace("\n", " "): axes for axes in figure.axes}
    sets = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(sets) == 22
    assert sets[:2] + sets[-2:] == ["1", "1–2", "3–12", "2–12"]
    for curve, aggregate, ends in (
        ("forgetting", "std", (2, 12)),
        ("learning − forgetting", "max", (1, 7)),
        ("CKA divergence", "min", (12, 12)),
    ):
        axes = panels[curve]
        aggregates = [label.get_text() for label in axes.get_xticklabels()]
        name = "12" if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}"
        mesh = np.asarray(axes.collections[0].get_array()).reshape(22, 4)
        expected = rows[
            (rows["curve"] == curve)
            & (rows["aggregate"] == aggregate)
            & (rows["first_layer"] == ends[0])
            & (rows["last_layer"] == ends[1])
        ]["pearson_r"].item()
        assert mesh[sets.index(name), aggregates.index(aggregate)] == pytest.approx(expected)


def test_the_border_encloses_what_bonferroni_leaves_and_nothing_else(found: StoredAnalysis) -> None:
    rows = found.hypotheses.query("curve == 'forgetting'").copy()
    rows["bonferroni_p"] = 1.0
    inside = (rows["aggregate"] == "std") & (rows["first_layer"] == 1) & (rows["last_layer"] == 3)
    rows.loc[inside, "bonferroni_p"] = 0.049
    axes = hypotheses_figure(rows, against="accuracy", sample=SAMPLE).axes[0]
    ends = {
        tuple(zip(*(np.asarray(one).tolist() for one in line.get_data()), strict=True))
        for line in axes.lines
    }
    # The third row of layers, the second aggregate: four sides of one cell.
    assert ends == {((1, 2), (1, 3)), ((2, 2), (2, 3)), ((1, 2), (2, 2)), ((1, 3), (2, 3))}


def test_bold_is_what_beats_the_shifts_without_the_first_epochs(found: StoredAnalysis) -> None:
    rows = found.hypotheses.query("curve == 'forgetting'").copy()
    rows["max_statistic_p"], rows["max_statistic_p_all_epochs"] = 0.5, 0.01
    one = (rows["aggregate"] == "std") & (rows["first_layer"] == 2)
    rows.loc[one, "max_statistic_p"] = 0.049
    figure = hypotheses_figure(rows, against="accuracy", sample=SAMPLE)
    bold = [text for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert [text.get_position() for text in bold] == [(1.5, 21.5)]
    said = " ".join(" ".join(texts(figure)).split())
    assert "Bold (1): what is left without the first 5 epochs" in said
    assert f"With those epochs it would be {len(rows)}:" in said


def test_too_few_epochs_after_the_first_are_said_in_place_of_a_p() -> None:
    short = replace(
        PAPER,
        epochs=PAPER.epochs[:14],
        curves={name: curve[:, :14] for name, curve in PAPER.curves.items()},
        accuracy=PAPER.accuracy[:, :14],
        clean=None,
    )
    rows = analysed(short).hypotheses
    heat_map = hypotheses_figure(rows, against="accuracy", sample=SAMPLE)
    said = " ".join(" ".join(texts(heat_map)).split())
    assert "None is bold: too few epochs after the first 5" in said
    for axes in strongest_figure(short, rows, sample=SAMPLE).axes:
        assert "p: too few epochs (all epochs: 0." in axes.get_title(loc="left")
    section = study_section(analysed(short))
    assert section is not None
    (table,) = section.tables
    place = table.columns.index("p, shifts, all tried, without the first 5")
    assert {row[place] for row in table.rows} == {"too few epochs"}
    assert "too few epochs" not in {row[place + 1] for row in table.rows}


def test_hypotheses_without_a_correlation_are_hatched(found: StoredAnalysis) -> None:
    figure = hypotheses_figure(found.hypotheses, against="accuracy", sample=SAMPLE)
    hatched = [patch for axes in figure.axes for patch in axes.patches if patch.get_hatch()]
    assert len(hatched) == found.hypotheses["is_undefined"].sum() == 10


def test_the_strongest_hypothesis_is_plotted_against_accuracy_in_percent(
    found: StoredAnalysis,
) -> None:
    figure = strongest_figure(PAPER, found.hypotheses, sample=SAMPLE)
    best = found.hypotheses.query("rank == 1").to_dict("records")
    assert len(figure.axes) == len(best) == 2
    for axes, row in zip(figure.axes, best, strict=True):
        (line,) = [one for one in axes.lines if one.get_label() == "severity 4"]
        x, y = (np.asarray(values, float) for values in line.get_data())
        np.testing.assert_allclose(y, 100 * reference.accuracy()[4, :EPOCHS])
        rs = [
            np.corrcoef(x, reference.accuracy()[severity, :EPOCHS])[0, 1]
            for severity in range(1, 6)
        ]
        assert np.mean(rs) == pytest.approx(row["pearson_r"])
        assert f"r = {row['pearson_r']:.2f}" in axes.get_title(loc="left")


def test_a_summary_is_of_the_mean_over_seeds(found: StoredAnalysis) -> None:
    wobble = np.random.default_rng(3).normal(size=(3, EPOCHS, 12))
    seeded = replace(PAPER, curves={name: c + wobble for name, c in PAPER.curves.items()})
    row = {"curve": "learning + forgetting", "aggregate": "max", "first_layer": 8, "last_layer": 12}
    both = over_seeds(seeded.curves["learning"]) + over_seeds(seeded.curves["forgetting"])
    np.testing.assert_allclose(summary_of(row, seeded), both[:, 7:].max(axis=1))


def test_prefixes_of_the_papers_curves_are_its_figure_14() -> None:
    of = replace(
        PAPER,
        epochs=tuple(range(1, 101)),
        curves={"forgetting": reference.curves()["forgetting"][None]},
        accuracy=reference.accuracy()[1:],
        clean=None,
    )
    rows = analysed(of).correlations
    published = reference.printed()
    epochs, expected = published["figure14_prefix_epochs"], published["figure14_prefix_r_cifar10"]
    hypothesis = read_published(str(reference.PRINTED)).prefix_hypothesis
    r = prefixes_of(rows)[hypothesis]
    np.testing.assert_allclose(r.loc[epochs], expected, atol=0.001)
    figure = prefixes_figure(
        rows,
        model="finetuned",
        sample=SAMPLE,
        published=[Prefixes("cifar10", epochs, np.array(expected), "somebody", hypothesis)],
    )
    (line,) = [one for one in figure.axes[0].lines if "published" in str(one.get_label())]
    assert line.get_label() == f"cifar10: {hypothesis}, published"
    assert "Dashed: somebody." in " ".join(" ".join(texts(figure)).split())
    (own,) = [one for one in figure.axes[0].lines if one.get_label() == hypothesis]
    assert own.get_marker() in {"o", "."}  # 98 epochs, and each of them is marked
    assert line.get_linestyle() == "--"
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), expected)


def test_families_that_start_at_different_epochs_have_their_prefixes() -> None:
    late = PAPER.curves["cka_divergence"].copy()
    late[:, :3] = np.nan
    of = replace(PAPER, curves={**PAPER.curves, "cka_divergence": late})
    rows = analysed(of)
    found = prefixes_of(rows.correlations)
    for hypothesis in rows.hypotheses.query("rank == 1")["hypothesis"]:
        # The shortest prefix has three epochs.
        first = 4 if "CKA divergence" in hypothesis else 1
        assert found[hypothesis].index.tolist() == list(range(first + 2, EPOCHS + 1))


def test_every_figure_draws_and_says_what_it_is_of(found: StoredAnalysis) -> None:
    figures = dict(analysis_figures(found))
    assert len(figures) == 3
    for make in figures.values():
        figure = make()
        figure.draw_without_rendering()
        said = " ".join(" ".join(texts(figure)).split())
        assert "61 images, one seed of the inversions; biased CKA, as in the paper." in said
        assert "Accuracies are of 97 held-out images." in said


def test_clean_accuracy_alone_is_said_to_be_that() -> None:
    of = replace(PAPER, severities=(0,), accuracy=reference.accuracy()[:1, :EPOCHS], clean=None)
    stem, make = next(iter(analysis_figures(analysed(of))))
    assert stem == "12-hypotheses-finetuned"
    assert "accuracy on clean images" in " ".join(" ".join(texts(make())).split())


def test_without_hypotheses_there_is_no_figure(found: StoredAnalysis) -> None:
    none = replace(found, hypotheses=found.hypotheses.iloc[:0])
    assert list(analysis_figures(none)) == []


def test_a_hypothesis_whose_r_is_not_known_is_drawn_as_a_gap(found: StoredAnalysis) -> None:
    rows = found.correlations
    unknown = (rows["last_epoch"] == 11) & (rows["severity"] == 3)
    figure = prefixes_figure(
        rows.assign(r=rows["r"].mask(unknown)), model="finetuned", sample=SAMPLE
    )
    figure.draw_without_rendering()
    curves = [one for one in figure.axes[0].lines if len(np.asarray(one.get_xdata())) > 2]
    assert curves
    for curve in curves:
        # A mean of the other four severities would be another number than its neighbours are.
        epochs, r = (np.asarray(values, float) for values in curve.get_data())
        np.testing.assert_array_equal(np.isnan(r), epochs == 11)
        assert 11 in epochs
