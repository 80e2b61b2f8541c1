"""Several jobs, or a job and published numbers, in the same panels."""

from __future__ import annotations

import numpy as np
import xarray as xr

from stir_ray import charts
from stir_ray.charts.comparison import NamedResults, PublishedNumbers
from tests.charts.conftest import SHAPE
from tests.charts.read import line, matrix, rows, words

OTHERS = PublishedNumbers(
    "others 2023",
    {"theirs": {"forgetting": np.linspace(0.1, 0.7, 7), "learning": np.array([np.nan] * 7)}},
    {"theirs": np.arange(9.0).reshape(3, 3) / 10},
)


def test_published_curves_are_dashed_beside_the_jobs_own(results: xr.Dataset) -> None:
    chart = charts.beside_published(NamedResults("mine", results, 7), OTHERS)
    np.testing.assert_allclose(
        list(line(chart, "theirs, published", panel=1).values()),
        np.linspace(0.1, 0.7, 7),
        rtol=1e-3,
    )
    assert list(line(chart, "finetuned, epoch 5", panel=1, by="biased")) == list(SHAPE.layers)
    assert "Dashed: others 2023." in words(chart)
    spec = chart.to_dict()
    dashes = [layer["encoding"]["strokeDash"]["scale"] for layer in spec["concat"][0]["layer"]
              if "strokeDash" in layer.get("encoding", {})]  # fmt: skip
    assert dashes[0]["range"][dashes[0]["domain"].index("theirs, published")] != (1, 0)


def test_models_of_other_depths_are_drawn_over_relative_depth(results: xr.Dataset) -> None:
    jobs = [NamedResults("a", results, 7), NamedResults("b", results, 14)]
    chart = charts.compare_jobs(jobs)
    last = SHAPE.layers[-1]
    for job in jobs:
        curve = line(chart, f"{job.name}, epoch 5", panel=0, by="unbiased")
        assert max(curve) == round(last / job.depth, 3)
    same = charts.compare_jobs([NamedResults("a", results, 7), NamedResults("b", results, 7)])
    assert max(line(same, "b, epoch 5", panel=0, by="unbiased")) == last


def test_jobs_over_epochs_are_a_layer_at_a_time_or_the_mean(results: xr.Dataset) -> None:
    chart = charts.compare_jobs_over_epochs([NamedResults("a", results, 7)])
    place = {"panel": 0, "by": "biased"}
    layers = [
        list(line(chart, "a, epoch 5", which=f"layer {n}", **place).values()) for n in SHAPE.layers
    ]
    mean = list(line(chart, "a, epoch 5", which="mean of the layers", **place).values())
    np.testing.assert_allclose(np.array(layers, float).mean(0), np.array(mean, float), atol=1e-3)
    # Of forgetting one layer is missing: a mean of the others would be of something else.
    missing = line(chart, "a, epoch 5", which="mean of the layers", panel=1, by="biased")
    assert set(missing.values()) == {None}


def test_flow_stands_beside_published_flow_on_one_scale(results: xr.Dataset) -> None:
    chart = charts.flow_beside_published(results, OTHERS, model="finetuned")
    np.testing.assert_allclose(matrix(chart, 1, by="biased", epoch=5), OTHERS.flow["theirs"])
    assert {row["by"] for row in rows(chart)} == {"biased"}
    assert not any(param["name"] == "epoch" for param in chart.to_dict()["params"])
