"""Made-up results, with a layer that could not be inverted."""

from __future__ import annotations

import pytest
import xarray as xr

from tests.report.synthetic import Shape, synthetic_results

SHAPE = Shape(
    epochs=(0, 1, 2, 5),
    seeds=(0, 1, 2),
    severities=(1, 3, 5),
    without=frozenset({("finetuned", "ft|pt", 3), ("finetuned", "pt|pt", 3)}),
)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return synthetic_results(tmp_path_factory.mktemp("lake"), SHAPE)
