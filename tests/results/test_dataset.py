"""`open_results` gives subspace similarities and accuracies on corrupted images by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.report.synthetic import CHANCE, Shape, accuracy_under, similarity, synthetic_results

SHAPE = Shape(severities=(2, 5))


def test_subspace_similarity_has_its_place_by_pretrained_and_compared_layer(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, SHAPE)
    similarity_of_epoch = results["subspace_similarity"].sel(model="finetuned", epoch=2)
    expected = similarity(SHAPE, "finetuned", 2)
    np.testing.assert_allclose(
        similarity_of_epoch.transpose("compared_layer", "pretrained_layer"), expected
    )
    assert results["subspace_chance"].sel(model="finetuned", epoch=1).values.max() == CHANCE
    shares = results["shares_basis"]
    assert [float(shares.sel(model=name)) for name in ("finetuned", "from_scratch")] == [1, 0]
    assert "0 for orthogonal" in results["subspace_similarity"].attrs["meaning"]


def test_accuracies_have_their_place_by_corruption_and_severity(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, SHAPE)
    tested = results["accuracy"].sel(trained_model="finetuned")
    for epoch, (corruption, severity) in ((1, ("snow", 5)), (2, ("fog", 2)), (2, ("clean", 0))):
        dims = {"training_epoch": epoch, "corruption": corruption, "severity": severity}
        assert float(tested.sel(dims)) == accuracy_under(epoch, corruption, severity)
    assert np.isnan(tested.sel(training_epoch=2, corruption="clean", severity=5))
    assert results["tested_images"].max() == 97
    source = tested["accuracy_source"].sel(training_epoch=1)
    assert source.sel(corruption="snow", severity=5) == "regenerated"
    assert source.sel(corruption="clean", severity=0) == "clean"
    assert source.sel(corruption="clean", severity=5) == ""
    assert "CIFAR-10-C" in results["accuracy_source"].attrs["meaning"]
    # The training's own accuracy is another number, of other images.
    assert "test_accuracy" in results


def test_what_was_not_tested_is_missing(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, replace(SHAPE, severities=()))
    assert results["accuracy"].size == 0


def test_every_variable_says_what_it_is_in_what_unit_and_range(tmp_path: Path) -> None:
    results = synthetic_results(tmp_path, SHAPE)
    for name, variable in results.data_vars.items():
        lacking = {"meaning", "units", "range"} - set(variable.attrs)
        assert (name, lacking) == (name, set())
        low, *_ = variable.attrs["range"].strip("([").replace(" or ", ", ").split(", ")
        assert float(variable.min()) >= float(low) or variable.count() == 0
    for metric in ("learning", "forgetting", "cka_divergence", "flow"):
        assert {"long_name", "source", "direction"} <= set(results[metric].attrs)
    dims = ("model", "direction", "epoch", "seed", "reference_layer", "target_layer")
    assert results["stir"].dims == dims
    assert results["residual_max"].dims == dims[:-1]
    of_matrix = ("model", "estimator", "epoch", "row_layer", "column_layer")
    assert results["forgetting"].dims == results["flow_std"].dims == of_matrix
