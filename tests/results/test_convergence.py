"""What is said of the inversions of a job, and of its numbers, is what its results say."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import MATRICES, RESULTS
from stir_ray.report.text import convergence_text
from stir_ray.results.job_metrics import Convergence, Worst, convergence
from tests.report.synthetic import Shape, synthetic_results

SHAPE = Shape()
LAST = max(SHAPE.layers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("lake")
    synthetic_results(folder, SHAPE)
    return str(folder)


@pytest.fixture(scope="module")
def results(folder: str) -> pa.Table:
    """A job with nothing amiss."""
    table = open_lake(folder).read_object(RESULTS, result_key("synthetic", RESULTS.name))
    good = {"is_converged": True, "not_inverted": 0, "stuck": 0, "centered_residual_q95": 0.0812}
    rows = [
        row | good | {"stir_unbiased": 0.995 + row["reference_layer"] / 10_000}
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.fixture(scope="module")
def matrices(folder: str) -> pa.Table:
    """Of which nothing moves."""
    table = open_lake(folder).read_object(MATRICES, result_key("synthetic", MATRICES.name))
    rows = [row | {"is_moving": False, "drift": 0.0005} for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


def changed(results: pa.Table, where: Mapping[str, object], **values: object) -> pa.Table:
    """With other values in the rows that are so."""
    rows = [
        row | values if all(row[name] == value for name, value in where.items()) else row
        for row in results.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=results.schema)


def found(results: pa.Table, matrices: pa.Table, *rest: Any) -> Convergence:
    """Of results with at least one inversion."""
    summary = convergence(results, matrices, *(rest or ("tokens",)))
    assert summary
    return summary


def test_every_inversion_counts_once(results: pa.Table, matrices: pa.Table) -> None:
    summary = found(results, matrices)
    # The pretrained model, which every epoch looks at, the epochs and the from-scratch model.
    models = 1 + len(SHAPE.epochs) + 1
    assert summary.inversions == summary.converged == models * len(SHAPE.seeds) * len(SHAPE.layers)
    assert summary.self_stir.value == pytest.approx(0.9951)
    assert summary.is_enough
    first, last = convergence_text(summary)
    assert first == (
        f"All {summary.inversions} inversions converged, after 200 to 400 steps: 95 % of the "
        "images have a centered residual of at most 0.082, self-STIR by unbiased CKA is at least "
        "0.995."
    )
    assert last.startswith("No value of learning, forgetting or flow is still moving")


def test_an_epoch_with_the_pretrained_blocks_has_no_inversions_of_its_own(
    results: pa.Table, matrices: pa.Table
) -> None:
    cells = {"model": "finetuned", "epoch": SHAPE.epochs[0], "reference_layer": 3}
    bad = changed(results, cells, is_converged=False)
    as_its_own = found(bad, matrices)
    same = found(bad, matrices, "tokens", {("finetuned", SHAPE.epochs[0])})
    assert same.inversions == as_its_own.inversions - len(SHAPE.seeds) * len(SHAPE.layers)
    assert as_its_own.inversions - as_its_own.converged == 2 * len(SHAPE.seeds)


def test_the_worst_inversions_are_named(results: pa.Table, matrices: pa.Table) -> None:
    cells = {"direction": "ft|ft", "model": "finetuned", "epoch": 2, "seed": 1}
    layer = {"reference_layer": 5}
    bad = changed(results, cells | layer, is_converged=False, centered_residual_q95=0.3123)
    bad = changed(bad, cells | layer | {"target_layer": 5}, stir_unbiased=0.9379)
    summary = found(bad, matrices)
    assert summary.inversions - summary.converged == 1
    assert summary.residual == Worst(0.3123, "finetuned epoch 2, layer 5, seed 1")
    assert summary.self_stir == Worst(0.9379, "finetuned epoch 2, layer 5, seed 1")
    text = next(convergence_text(summary))
    # Neither is rounded to its better side.
    assert "Largest residual: 0.313 (finetuned epoch 2, layer 5, seed 1)" in text
    assert "least self-STIR: 0.937 (finetuned epoch 2, layer 5, seed 1)" in text
    assert "inversion.iterations=1600" in text
    assert text.startswith(f"WARNING: 1 of {summary.inversions} inversions did not converge")


def test_deeper_layers_must_see_no_difference_either_where_all_tokens_are_inverted(
    results: pa.Table, matrices: pa.Table
) -> None:
    cells = {"direction": "pt|pt", "reference_layer": 3, "target_layer": LAST, "seed": 1}
    bad = changed(results, cells, stir_unbiased=0.4)
    assert found(bad, matrices).self_stir == Worst(
        0.4, f"pretrained, layer 3, seed 1, seen by layer {LAST}"
    )
    # The mean of the tokens of one layer says little of that of another.
    assert found(bad, matrices, "token_mean").self_stir.value == pytest.approx(0.9951)
    shallower = changed(results, cells | {"target_layer": 1}, stir_unbiased=0.4)
    assert found(shallower, matrices).self_stir.value == pytest.approx(0.9951)


def test_a_high_self_stir_alone_is_no_convergence_and_images_are_counted_once(
    results: pa.Table, matrices: pa.Table
) -> None:
    summary = found(changed(results, {"direction": "pt|pt"}, is_converged=False), matrices)
    assert summary.self_stir.value > 0.99
    assert not summary.is_enough
    # The inversion is listed for every model and epoch.
    cells = {"direction": "pt|pt", "seed": 0, "reference_layer": 3}
    summary = found(changed(results, cells, not_inverted=7, stuck=2), matrices)
    assert (summary.not_inverted, summary.stuck) == (7, 2)
    (line,) = (line for line in convergence_text(summary) if "7 are not inverted" in line)
    assert "2 are stuck" in line


def test_values_that_still_move_are_counted_by_the_unbiased_estimator(
    results: pa.Table, matrices: pa.Table
) -> None:
    cell = {"model": "finetuned", "epoch": 2, "row_layer": 2, "column_layer": 5}
    moving = changed(matrices, cell | {"metric": "learning"}, is_moving=True, drift=-0.054)
    summary = found(results, moving)
    still = found(results, matrices)
    assert (still.moving, summary.moving) == (0, 1)
    assert summary.drift == Worst(0.054, "learning, finetuned epoch 2, layers 2 and 5")
    (warning,) = (line for line in convergence_text(summary) if line.startswith("WARNING"))
    assert f"1 of {summary.cells} values" in warning
    assert "inversion.iterations" in warning
    # A value of the diagonal of a flow is 0 and no number.
    models, layers = len(SHAPE.epochs) + 1, len(SHAPE.layers)
    assert summary.cells == models * (3 * layers**2 - layers)
    biased = changed(matrices, cell | {"estimator": "biased"}, is_moving=True)
    others = {"metric": "cka_divergence", "estimator": "unbiased"}
    assert found(results, changed(biased, cell | others, is_moving=True)).moving == 0


def test_scores_of_other_models_say_nothing_convergence_text(
    results: pa.Table, matrices: pa.Table
) -> None:
    others = changed(results, {"direction": "ft|pt"}, stir_unbiased=0.1)
    assert found(others, matrices) == found(results, matrices)
    rows = [row for row in results.to_pylist() if row["direction"] in ("ft|pt", "pt|ft")]
    table = pa.Table.from_pylist(rows, schema=results.schema)
    assert convergence(table, matrices, "tokens") is None
    assert list(convergence_text(None)) == []
