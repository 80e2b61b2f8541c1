"""The matrices of a job are the metrics of its results, over seeds where seeds take part."""

import numpy as np
import pandas as pd
import pytest

from stir_ray.catalog.verify import value_problems
from stir_ray.lake.keys import result_key
from stir_ray.lake.parquet import open_lake
from stir_ray.lake.schemas import MATRICES, RESULTS
from stir_ray.results import job_metrics as stage
from stir_ray.results.metric_info import METRICS
from tests.report.synthetic import Shape, drifts, matrices, synthetic_results

SHAPE = Shape(seeds=(0, 1, 6))
PLACE = ["row_layer", "column_layer"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Made of the results of a made-up job."""
    folder = tmp_path_factory.mktemp("lake")
    synthetic_results(folder, SHAPE)
    results = open_lake(str(folder)).read_object(RESULTS, result_key("synthetic", RESULTS.name))
    made = stage.matrices(results, assume_self_stir_one=False)
    assert list(value_problems(MATRICES, made)) == []
    return made.to_pandas()


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_cell_is_the_mean_of_its_seeds_and_of_as_many_as_take_part(
    table: pd.DataFrame, metric: str, estimator: str
) -> None:
    expected = matrices(SHAPE, "finetuned", 2, estimator)[metric]
    of_model = table[(table["model"] == "finetuned") & (table["epoch"] == 2)]
    rows = of_model[(of_model["metric"] == metric) & (of_model["estimator"] == estimator)]
    assert len(rows) == len(SHAPE.layers) ** 2
    rows = rows.sort_values(PLACE)
    np.testing.assert_allclose(rows["mean"], expected.mean(axis=0).ravel(), atol=1e-12)
    drift = drifts(SHAPE, estimator)[metric].ravel()
    np.testing.assert_allclose(rows["drift"], drift, atol=1e-12)
    size = rows["mean"].abs()
    moving = np.abs(drift) > np.where(size > 0.03, 0.01, np.maximum(size / 3, 0.001))
    assert rows["is_moving"].tolist() == moving.tolist()
    if metric == "cka_divergence":
        # Of the images alone: a spread of 0 over three seeds would be certainty that is not there.
        assert (rows["seeds"] == 0).all()
        assert rows["std"].isna().all()
    else:
        assert (rows["seeds"] == 3).all()
        np.testing.assert_allclose(rows["std"], expected.std(axis=0, ddof=1).ravel(), atol=1e-12)
