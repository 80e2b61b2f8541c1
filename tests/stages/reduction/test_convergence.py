"""What is said of the inversions of a job is what its results say."""

from collections.abc import Mapping

import pyarrow as pa
import pytest

from stir_ray.lake.layout import result_key
from stir_ray.lake.schemas import RESULTS
from stir_ray.lake.tables import open_lake
from stir_ray.report.summary import of_convergence
from stir_ray.stages.reduction.convergence import convergence
from tests.report.synthetic import Shape, synthetic_results
from tests.small_job import small_job

SHAPE = Shape()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """A job with nothing amiss."""
    folder = tmp_path_factory.mktemp("lake")
    synthetic_results(folder, SHAPE)
    table = open_lake(str(folder)).read_object(RESULTS, result_key("synthetic", RESULTS.name))
    rows = table.to_pylist()
    for row in rows:
        row["stir"] = 1.0
        row["stir_unbiased"] = 0.995 + row["reference_layer"] / 10_000
        row["unconverged"] = 0
    return pa.Table.from_pylist(rows, schema=table.schema)


def changed(results: pa.Table, where: Mapping[str, object], **values: object) -> pa.Table:
    """With other values in the rows that are so."""
    rows = [
        row | values if all(row[name] == value for name, value in where.items()) else row
        for row in results.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=results.schema)


def said(results: pa.Table) -> str:
    """To a person."""
    return "".join(of_convergence(small_job("lake"), convergence(results)))


def test_every_inversion_counts_once(results: pa.Table) -> None:
    found = convergence(results)
    assert found
    # The pretrained model, which every epoch looks at, the epochs and the from-scratch model.
    models = 1 + len(SHAPE.epochs) + 1
    assert found.inversions == models * len(SHAPE.seeds) * len(SHAPE.layers)
    assert found.self_stir == pytest.approx(0.9951)
    assert found.is_enough
    assert said(results).startswith(
        "Inversions converged: self-STIR by unbiased CKA is at least 0.995"
    )


def test_an_epoch_with_the_pretrained_blocks_has_no_inversions_of_its_own(
    results: pa.Table,
) -> None:
    place = {"model": "finetuned", "epoch": SHAPE.epochs[0]}
    bad = changed(results, place | {"reference_layer": 3}, stir_unbiased=0.9, unconverged=2)
    as_its_own = convergence(bad)
    found = convergence(bad, {("finetuned", SHAPE.epochs[0])})
    assert as_its_own
    assert found
    fewer = len(SHAPE.seeds) * len(SHAPE.layers)
    assert found.inversions == as_its_own.inversions - fewer
    assert found.above_limit == as_its_own.above_limit - len(SHAPE.seeds)


def test_a_self_stir_is_never_rounded_up(results: pa.Table) -> None:
    place = {"direction": "ft|ft", "model": "finetuned", "reference_layer": 5, "target_layer": 5}
    assert "at least 0.994," in said(changed(results, place, stir_unbiased=0.99485))


def test_the_worst_inversion_is_named(results: pa.Table) -> None:
    place = {"direction": "ft|ft", "model": "finetuned", "epoch": 2, "seed": 1}
    layer = {"reference_layer": 5, "target_layer": 5}
    bad = changed(results, place | layer, stir_unbiased=0.9379, unconverged=45)
    found = convergence(bad)
    assert found
    assert (found.where, found.self_stir) == ("finetuned epoch 2, layer 5, seed 1", 0.9379)
    assert found.above_limit == 1
    text = said(bad)
    assert "self-STIR by unbiased CKA falls to 0.937 (finetuned epoch 2, layer 5, seed 1;" in text


def test_a_high_biased_self_stir_proves_nothing(results: pa.Table) -> None:
    # Biased, unrelated views of many units come to as much.
    place = {"direction": "pt|pt", "seed": 1, "reference_layer": 3, "target_layer": 3}
    bad = changed(results, place, stir=0.995, stir_unbiased=0.6)
    found = convergence(bad)
    assert found
    assert (found.self_stir, found.is_enough) == (0.6, False)
    assert said(bad).startswith("WARNING: not all inversions converged")
    low = changed(results, place, stir=0.6, stir_unbiased=0.995)
    assert said(low).startswith("Inversions converged")


def test_images_above_the_limit_are_said_though_self_stir_is_high(results: pa.Table) -> None:
    place = {"direction": "pt|pt", "seed": 0, "reference_layer": 3}
    found = convergence(changed(results, place, unconverged=1))
    assert found
    # It stands there for every model and epoch, and is one inversion.
    assert (found.above_limit, found.is_enough) == (1, False)


def test_what_others_see_is_no_matter(results: pa.Table) -> None:
    others = changed(results, {"direction": "ft|pt"}, stir_unbiased=0.1)
    assert said(others) == said(results)


def test_without_own_looks_nothing_is_said(results: pa.Table) -> None:
    rows = [row for row in results.to_pylist() if row["direction"] in ("ft|pt", "pt|ft")]
    assert said(pa.Table.from_pylist(rows, schema=results.schema)) == ""
