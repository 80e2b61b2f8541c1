"""The page of several jobs in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stir_ray.report.differences import Differences
from stir_ray.report.page.compared import compared_page
from stir_ray.report.readings import metric_curve
from stir_ray.report.side_by_side import Measured
from tests.report.page.conftest import Opener
from tests.report.synthetic import Shape, synthetic_results

HOSTILE = "</script><script>alert(1)</script>"
DIFFERING = Differences(
    ("job", "finetuned.train.learning_rate", "clean accuracy"),
    (("slow", "0.001", "0.930"), (HOSTILE, "0.01", "0.950")),
)


def measured(folder: Path, name: str, shape: Shape, depth: int) -> Measured:
    return Measured(name, synthetic_results(folder / str(depth), shape), depth)


def test_jobs_lie_over_each_other_and_what_differs_stands_in_a_table(
    opened: Opener, tmp_path: Path
) -> None:
    deep = measured(tmp_path, "slow", Shape(epochs=(1, 2, 4)), 7)
    shallow = measured(tmp_path, HOSTILE, Shape(layers=(1, 2, 3), epochs=(2,)), 3)
    path = tmp_path / "compared.html"
    path.write_bytes(compared_page([deep, shallow], DIFFERING, title="slow", mark="made up"))
    page = opened(path)
    rows = page.locator("#differences tbody tr")
    assert rows.nth(1).locator("td, th").all_inner_texts() == list(DIFFERING.rows[1])
    assert page.locator("#jobs-by-layer .legend").inner_text().count(HOSTILE) == 1
    drawn = page.evaluate(
        "() => document.querySelector('#jobs-by-layer .axes').data.filter((one) => one.name)"
    )
    for line, job in zip(drawn, (deep, shallow), strict=True):
        epoch = 4 if job is deep else 2
        place = {"model": "finetuned", "epoch": epoch, "estimator": "unbiased"}
        curve = metric_curve(job.results, "learning", **place)
        # Of other depths: layers are relative.
        np.testing.assert_allclose(line["x"], np.array(curve.layers) / job.depth, atol=1e-3)
        np.testing.assert_allclose(line["y"], curve.mean, atol=0.5001e-4)
    page.get_by_label("Layer", exact=True).select_option(label="layer 7, biased CKA")
    ys = page.evaluate(
        "() => document.querySelector('#jobs-over-epochs .axes').data.filter((one) => one.name)"
    )
    assert [one["x"] for one in ys] == [[1, 2, 4]]
