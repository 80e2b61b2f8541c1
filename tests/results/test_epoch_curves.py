"""Accuracies of many corruptions become one per severity; curves and accuracies meet by epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stir_ray.results.epoch_curves import accuracies, accuracy_by_severity, epoch_curves

CORRUPTIONS = ("fog", "frost", "snow")
EPOCHS, SEVERITIES, LAYERS = (2, 3, 5, 7, 11), (1, 4), (1, 2, 6, 9)


def measured(source: str = "regenerated") -> pd.DataFrame:
    """Accuracies that tell epoch, severity and corruption apart, the clean one with them."""
    rows = [
        (epoch, severity, name, epoch / 100 + severity / 1000 + offset / 10, source)
        for epoch in EPOCHS
        for severity in SEVERITIES
        for offset, name in enumerate(CORRUPTIONS)
    ]
    rows += [(epoch, 0, "clean", 0.5 + epoch / 100, "clean") for epoch in EPOCHS]
    return pd.DataFrame(rows, columns=["epoch", "severity", "corruption", "accuracy", "source"])


def test_the_accuracy_of_a_severity_is_the_mean_over_its_corruptions() -> None:
    by_severity = accuracy_by_severity(measured().sample(frac=1, random_state=3))
    assert tuple(by_severity.index) == EPOCHS
    assert tuple(by_severity.columns) == (0, *SEVERITIES)
    for severity in SEVERITIES:
        expected = [epoch / 100 + severity / 1000 + 0.1 for epoch in EPOCHS]
        np.testing.assert_allclose(by_severity[severity], expected)
    np.testing.assert_allclose(by_severity[0], [0.5 + epoch / 100 for epoch in EPOCHS])


@pytest.mark.parametrize("how", ["no row", "not a number"])
def test_a_missing_corruption_makes_its_severity_unknown_at_that_epoch(how: str) -> None:
    table = measured()
    lost = (table["epoch"] == 5) & (table["severity"] == 4) & (table["corruption"] == "frost")
    table.loc[lost, "accuracy"] = np.nan
    by_severity = accuracy_by_severity(table[~lost] if how == "no row" else table)
    unknown = by_severity.isna()
    assert unknown.to_numpy().sum() == 1
    assert unknown.loc[5, 4]


def test_a_corruption_from_two_sources_counts_as_two() -> None:
    both = pd.concat([measured(), measured("published").query("severity == 1 and epoch < 7")])
    unknown = accuracy_by_severity(both).isna()
    assert unknown[1].tolist() == [epoch >= 7 for epoch in EPOCHS]
    assert not unknown[4].any()


def test_no_accuracy_is_no_severity() -> None:
    for nothing in (measured().iloc[:0], measured().assign(accuracy=np.nan)):
        assert accuracy_by_severity(nothing).empty


def curves() -> xr.Dataset:
    values = np.random.default_rng(0).random((len(LAYERS), len(EPOCHS), 3))
    keys = {"layer": list(LAYERS), "epoch": list(EPOCHS), "seed": [0, 1, 2]}
    return xr.Dataset({"forgetting": (list(keys), values)}, coords=keys)


def test_curves_and_accuracies_are_of_the_same_epochs() -> None:
    tested = accuracy_by_severity(measured()).drop(index=3)
    result = epoch_curves("finetuned", "biased", curves(), tested)
    assert result.epochs == EPOCHS
    assert result.severities == SEVERITIES
    expected = curves()["forgetting"].transpose("seed", "epoch", "layer")
    np.testing.assert_array_equal(result.curves["forgetting"], expected)
    assert np.isnan(result.accuracy).tolist() == [[epoch == 3 for epoch in EPOCHS]] * 2
    assert result.clean is not None
    assert np.isnan(result.clean).tolist() == [epoch == 3 for epoch in EPOCHS]


def test_clean_accuracy_alone_takes_the_place_of_corrupted() -> None:
    clean = accuracy_by_severity(measured().query("severity == 0"))
    result = epoch_curves("finetuned", "biased", curves(), clean)
    assert result.severities == (0,)
    assert result.accuracy.shape == (1, len(EPOCHS))
    assert result.clean is None


def test_a_tested_model_has_its_clean_accuracy_from_the_test_alone() -> None:
    history = pd.DataFrame(
        {
            "model": ["finetuned", "finetuned", "from_scratch"],
            "epoch": [1, 2, 1],
            "test_accuracy": [0.11, 0.12, 0.13],
        }
    )
    tested = pd.DataFrame(
        [("finetuned", epoch, name, severity, 0.7 - 0.1 * severity + 0.02 * epoch + more)
         for epoch in (1, 2)
         for name, severity, more in (("clean", 0, 0), ("fog", 3, 0.01), ("snow", 3, 0.05))],
        columns=["model", "epoch", "corruption", "severity", "accuracy"],
    ).assign(source="regenerated")  # fmt: skip
    result = accuracies(history, tested)
    finetuned = accuracy_by_severity(result[result["model"] == "finetuned"])
    np.testing.assert_allclose(finetuned[0], [0.72, 0.74])
    np.testing.assert_allclose(finetuned[3], [0.45, 0.47])
    scratch = accuracy_by_severity(result[result["model"] == "from_scratch"])
    assert scratch.to_dict() == {0: {1: 0.13}}
    # A reconstruction has no accuracy, in either table.
    none = accuracies(history.assign(test_accuracy=np.nan), tested.assign(accuracy=np.nan))
    assert accuracy_by_severity(none).empty
