"""The analysis of the paper's curves gives the paper's numbers, and says what they rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stir_ray.catalog.verify import value_problems
from stir_ray.lake.schemas import CORRELATIONS, HYPOTHESES, LEARNING_WITH_FORGETTING
from stir_ray.numerics.correlation import pearson
from stir_ray.numerics.screening import screen
from stir_ray.results.correlation_study import (
    Analysis,
    analyse,
    analysis_tables,
    interval_over_seeds,
)
from stir_ray.results.epoch_curves import EpochCurves, Halves, Sample
from tests import reference

DIGITISED = 0.001
BEST = "std of forgetting over layers 2-12"
PAPER = EpochCurves(
    model="finetuned",
    estimator="biased",
    epochs=tuple(range(1, 101)),
    layers=tuple(reference.LAYERS),
    curves={name: curve[None] for name, curve in reference.curves().items()},
    severities=(1, 2, 3, 4, 5),
    accuracy=reference.accuracy()[1:],
    clean=reference.accuracy()[0],
)


@pytest.fixture(scope="module")
def published() -> Analysis:
    """That of the paper's CIFAR-10 curves."""
    return analyse(PAPER)


@pytest.fixture(scope="module")
def tables(published: Analysis) -> dict[str, pd.DataFrame]:
    """The same as tables, by name."""
    made = analysis_tables([published])
    for schema, table in made.items():
        assert list(value_problems(schema, table)) == []
    return {schema.name: table.to_pandas() for schema, table in made.items()}


def few(seeds: int, epochs: int = 7) -> EpochCurves:
    """The first epochs of the paper's curves, with seeds that differ a little."""
    rng = np.random.default_rng(5)
    return replace(
        PAPER,
        epochs=PAPER.epochs[:epochs],
        curves={
            name: curve[:, :epochs] + 0.01 * rng.normal(size=(seeds, epochs, 12))
            for name, curve in PAPER.curves.items()
        },
        accuracy=PAPER.accuracy[:, :epochs],
        clean=reference.accuracy()[0, :epochs],
    )


def test_every_hypothesis_has_a_row_and_the_undefined_ones_too(
    tables: dict[str, pd.DataFrame],
) -> None:
    rows = tables[HYPOTHESES.name]
    assert rows.groupby("family").size().to_dict() == {
        "learning and forgetting": 352,
        "CKA divergence": 88,
    }
    undefined = rows[rows["is_undefined"]]
    assert undefined.groupby("family").size().to_dict() == {
        "learning and forgetting": 8,
        "CKA divergence": 2,
    }
    assert set(undefined["aggregate"]) == {"std"}
    assert (undefined["first_layer"] == undefined["last_layer"]).all()
    assert undefined["pearson_r"].isna().all()
    # Counted all the same.
    worst = rows[(rows["family"] == "learning and forgetting") & (rows["pearson_p"] < 1e-5)]
    np.testing.assert_allclose(worst["bonferroni_p"], 352 * worst["pearson_p"])


def test_the_strongest_is_the_one_that_the_paper_found(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables[HYPOTHESES.name]
    (best,) = rows[rows["hypothesis"] == BEST].to_dict("records")
    assert best["rank"] == 1
    assert best["pearson_r"] == pytest.approx(0.781, abs=DIGITISED)
    assert best["pearson_p"] == pytest.approx(3.53e-18, rel=0.02, abs=0)
    remaining = [best[f"without_first_{count}_r"] for count in (1, 2, 3, 5)]
    np.testing.assert_allclose(remaining, [0.552, 0.304, 0.168, 0.022], atol=DIGITISED)
    assert best["spearman_r"] == pytest.approx(0.10, abs=0.01)
    remaining = [best[f"differences_without_first_{count}_r"] for count in (1, 2, 3, 5)]
    np.testing.assert_allclose(remaining, [0.344, 0.212, 0.204, 0.064], atol=DIGITISED)
    assert best["effective_epochs_all_epochs"] == pytest.approx(18, abs=0.5)
    assert best["effective_epochs"] == pytest.approx(74, abs=0.5)
    assert (best["circular_shift_p"], best["circular_shift_p_all_epochs"]) == pytest.approx(
        (85 / 95, 1 / 100)
    )
    assert (best["max_statistic_p"], best["max_statistic_p_all_epochs"]) == (1, 2 / 100)


def test_the_leading_numbers_are_those_of_an_analysis_of_the_later_epochs(
    tables: dict[str, pd.DataFrame],
) -> None:
    later = replace(
        PAPER,
        epochs=PAPER.epochs[5:],
        curves={name: curve[:, 5:] for name, curve in PAPER.curves.items()},
        accuracy=PAPER.accuracy[:, 5:],
        clean=None,
    )
    rows = analysis_tables([analyse(later)])[HYPOTHESES].to_pandas()
    for name in ("max_statistic_p", "circular_shift_p", "effective_epochs", "effective_p"):
        leading, of_later = tables[HYPOTHESES.name][name], rows[f"{name}_all_epochs"]
        np.testing.assert_allclose(leading, of_later, err_msg=name)


@pytest.mark.parametrize("epochs", [14, 15])
def test_of_too_few_later_epochs_there_is_no_leading_p(epochs: int) -> None:
    analysis = analyse(few(1, epochs=epochs))
    tables = analysis_tables([analysis])
    for schema, table in tables.items():
        assert list(value_problems(schema, table)) == []
    rows = tables[HYPOTHESES].to_pandas()
    rows = rows[~rows["is_undefined"]]
    for name in ("max_statistic_p", "circular_shift_p", "effective_epochs"):
        assert rows[name].notna().all() == (epochs == 15)
        assert rows[f"{name}_all_epochs"].notna().all()


def test_prefixes_are_those_of_figure_14(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables[CORRELATIONS.name]
    rows = rows[(rows["hypothesis"] == BEST) & (rows["look"] == "pearson")]
    r = rows[rows["first_epoch"] == 1].groupby("last_epoch")["r"].mean()
    assert list(r.index) == list(range(3, 101))
    lengths = reference.printed()["prefix_epochs"]
    expected = reference.printed()["prefix_r_cifar10"]
    np.testing.assert_allclose(r[lengths], expected, atol=0.005)


def test_a_number_by_severity_averages_to_that_of_its_hypothesis(
    tables: dict[str, pd.DataFrame],
) -> None:
    rows = tables[CORRELATIONS.name]
    whole = rows[(rows["first_epoch"] == 1) & (rows["last_epoch"] == 100)]
    for look in ("pearson", "spearman", "differences", "given_clean"):
        of_look = whole[whole["look"] == look].groupby("hypothesis", sort=False)
        assert set(of_look.size()) == {5}
        averaged = of_look["r"].mean()
        expected = tables[HYPOTHESES.name].set_index("hypothesis")[f"{look}_r"]
        np.testing.assert_allclose(averaged[expected.index], expected, atol=1e-12)


def test_learning_and_forgetting_are_correlated_over_layers_at_each_epoch(
    tables: dict[str, pd.DataFrame],
) -> None:
    rows = tables[LEARNING_WITH_FORGETTING.name]
    expected = pearson(*(reference.curves()[x] for x in ("learning", "forgetting"))).r
    np.testing.assert_allclose(rows["pearson_r"], expected)
    assert rows["epoch"].tolist() == list(range(1, 101))


def test_subspace_similarity_has_88_hypotheses_of_its_own() -> None:
    curve = {"subspace_similarity": PAPER.curves["forgetting"]}
    (family,) = analyse(replace(PAPER, curves=curve)).families
    assert family.name == "subspace similarity"
    assert len(family.screening.hypotheses) == 88
    assert len(family.screening.undefined) == 2


def test_an_epoch_of_which_something_is_unknown_is_left_out_and_said_to_be() -> None:
    whole = few(1)
    curves = {name: curve.copy() for name, curve in whole.curves.items()}
    curves["cka_divergence"][0, 2, 11] = np.nan
    accuracy = whole.accuracy.copy()
    accuracy[3, 5] = np.nan
    analysis = analyse(replace(whole, curves=curves, accuracy=accuracy))
    assert [family.sample.curves.epochs for family in analysis.families] == [
        (1, 2, 3, 4, 5, 7),
        (1, 2, 4, 5, 7),
    ]
    assert "CKA divergence: 2 of 7 epochs left out" in " ".join(analysis.notes)


def test_the_interval_over_seeds_lies_around_the_number_it_is_of() -> None:
    (family, _) = analyse(few(seeds=3)).families
    interval, r = family.over_seeds, family.screening.r
    assert interval is not None
    finite = np.isfinite(r)
    assert ((interval.low < r) & (r < interval.high))[finite].all()
    assert np.isnan(interval.low[~finite]).all()
    whole = (interval.low > -1) & (interval.high < 1)
    assert whole.any()
    np.testing.assert_allclose((interval.low + interval.high)[whole] / 2, r[whole])
    assert (np.abs([interval.low[finite], interval.high[finite]]) <= 1).all()


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_interval_over_seeds_covers_the_r_of_very_many_as_often_as_it_says(seeds: int) -> None:
    rng, covered = np.random.default_rng(13), []
    true = PAPER.curves["forgetting"][:, :29, 10:]
    r = pearson(true[0, :, 0], PAPER.accuracy[0, :29]).r
    for _ in range(400):
        curves = {"forgetting": true + 0.01 * rng.normal(size=(seeds, 29, 2))}
        of_sample = replace(
            few(seeds, 29), layers=(1, 2), curves=curves, accuracy=PAPER.accuracy[:1, :29]
        )
        sample = Sample("forgetting", of_sample)
        screening = screen(sample.means, of_sample.accuracy, layers=of_sample.layers)
        names = [str(hypothesis) for hypothesis in screening.hypotheses]
        interval, index = (
            interval_over_seeds(sample, screening),
            names.index("mean of forgetting over layer 1"),
        )
        assert interval is not None
        covered.append(interval.low[index] <= r <= interval.high[index])
    # Of 400 fair trials the share has a standard deviation of 0.011.
    assert 0.92 <= np.mean(covered) <= 0.98


def test_a_seed_that_is_not_computed_yet_is_no_draw() -> None:
    two = few(seeds=2)
    missing = {
        name: np.concatenate([curve, np.full_like(curve[:1], np.nan)])
        for name, curve in two.curves.items()
    }
    expected = analyse(two).families[0]
    family = analyse(replace(two, curves=missing)).families[0]
    assert family.sample.seeds == expected.sample.seeds == 2
    assert family.over_seeds is not None
    assert expected.over_seeds is not None
    np.testing.assert_array_equal(family.over_seeds.low, expected.over_seeds.low)


def test_what_no_inversion_takes_part_in_is_of_no_seed() -> None:
    three = few(seeds=3)
    # A job's curves have a copy for every seed.
    alone = np.repeat(three.curves["cka_divergence"][:1], 3, axis=0)
    analysis = analyse(replace(three, curves={**three.curves, "cka_divergence": alone}))
    rows = analysis_tables([analysis])[HYPOTHESES].to_pandas().set_index("family")
    assert (rows.loc["learning and forgetting", "seeds"] == 3).all()
    assert (rows.loc["CKA divergence", "seeds"] == 0).all()
    assert rows.loc["CKA divergence", ["seeds_low", "seeds_high"]].isna().all(axis=None)
    assert "No inversion takes part in CKA divergence:" in " ".join(analysis.notes)
    assert "The t interval over 3 seeds is about other noise of" in " ".join(analysis.notes)
    single = analyse(few(seeds=1))
    assert all(family.over_seeds is None for family in single.families)
    assert "One seed" in " ".join(single.notes)


@pytest.mark.parametrize("epochs", [1, 4])
def test_too_few_epochs_leave_the_correlation_over_layers(epochs: int) -> None:
    analysis = analyse(few(seeds=2, epochs=epochs))
    assert analysis.families == ()
    assert analysis.learning_with_forgetting
    assert list(analysis.learning_with_forgetting["epoch"]) == list(range(1, epochs + 1))
    assert "at least 5" in " ".join(analysis.notes)
    assert analysis_tables([analysis])[HYPOTHESES].num_rows == 0


def test_notes_name_the_accuracy_that_is_missing() -> None:
    analysis = analyse(replace(PAPER, severities=(), accuracy=np.empty((0, 100)), clean=None))
    assert analysis.families == ()
    assert "No accuracy is known" in analysis.notes[0]
    clean = replace(few(2), severities=(0,), accuracy=few(2).accuracy[:1], clean=None)
    assert "no robustness" in " ".join(analyse(clean).notes)


def test_accuracy_that_never_changes_correlates_with_nothing() -> None:
    analysis = analyse(replace(few(2), accuracy=np.ones((5, 7))))
    assert all(np.isnan(family.screening.r).all() for family in analysis.families)
    assert "There is no correlation" in analysis.families[0].examined[0].interpretation[0]
    assert analysis_tables([analysis])[HYPOTHESES].to_pandas()["is_undefined"].all()


def halved(halves: int = 97) -> EpochCurves:
    """Curves that halves of the images disagree about a little, and accuracies likewise."""
    rng, whole = np.random.default_rng(11), few(seeds=2, epochs=13)
    curves = {
        name: curve + 0.005 * rng.normal(size=(halves, *curve.shape))
        for name, curve in whole.curves.items()
    }
    accuracy = whole.accuracy + 0.002 * rng.normal(size=(halves, *whole.accuracy.shape))
    return replace(whole, halves=Halves(halves, curves, accuracy))


def test_the_interval_over_images_is_about_the_number_it_is_of() -> None:
    analysis = analyse(halved())
    for family in analysis.families:
        interval, r = family.over_images, family.screening.r
        assert interval is not None
        assert family.sample.curves.halves
        finite = np.isfinite(r)
        np.testing.assert_array_equal(np.isnan(interval.low), ~finite)
        assert (interval.low < interval.high)[finite].all()
        assert ((interval.low <= r) & (r <= interval.high))[finite].mean() > 0.8
        for examined in family.examined:
            assert "With other images r would" in " ".join(examined.interpretation)
    for schema, table in analysis_tables([analysis]).items():
        assert list(value_problems(schema, table)) == []


def test_halves_that_are_all_alike_have_no_spread() -> None:
    whole = few(seeds=2, epochs=13)
    same = {name: np.stack([curve] * 41) for name, curve in whole.curves.items()}
    for accuracy in (None, np.stack([whole.accuracy] * 41)):
        for family in analyse(replace(whole, halves=Halves(41, same, accuracy))).families:
            assert family.over_images is not None
            for end in (family.over_images.low, family.over_images.high):
                np.testing.assert_allclose(end, family.screening.r, atol=1e-12)


def test_a_family_that_is_not_measured_of_halves_has_no_interval_and_says_so() -> None:
    curves_of_halves = halved()
    curves = {
        **curves_of_halves.curves,
        "subspace_similarity": curves_of_halves.curves["forgetting"],
    }
    analysis = analyse(replace(curves_of_halves, curves=curves))
    assert [family.over_images is None for family in analysis.families] == [False, False, True]
    assert "No interval over images of subspace similarity" in " ".join(analysis.notes)
    assert "half_samples: 200" in " ".join(analyse(few(2)).notes)
