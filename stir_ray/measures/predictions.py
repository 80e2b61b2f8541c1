"""The class that a target predicts for images, inverted images and initial images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stir_ray.lake.schemas import (
    COMPARED,
    COMPARED_MODEL,
    DIRECTION,
    FLOAT,
    IMAGE_COUNT,
    IMAGE_ID,
    INT,
    REFERENCE_LAYER,
    SEED,
    TEXT,
    Column,
)
from stir_ray.measures.measure import Measure, Place, Subject, Views

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import xarray as xr

    from stir_ray.charts.blocks import Chart
    from stir_ray.job import Job


class Predictions(Measure):
    """Depends on the whole checkpoint: equal blocks may have two classifiers."""

    name = "predictions"
    recipe = 4
    columns = (
        *COMPARED,
        Column("checkpoint", TEXT, "digest of all weights of the target, of its classifier too"),
        *(REFERENCE_LAYER, SEED, IMAGE_ID),
        Column("class_of_image", INT, "that the target predicts, from 0"),
        Column("class_of_inverted", INT, "that it predicts for the inverted image"),
        Column("class_of_noise", INT, "that it predicts for the initial image, clipped to [0, 1]"),
    )
    key = ("image_id",)
    result = "unchanged_predictions"
    result_columns = (
        *(*COMPARED_MODEL, DIRECTION, SEED, REFERENCE_LAYER, IMAGE_COUNT),
        Column("unchanged", FLOAT, "fraction of images of which the target predicts the class that "
               "it predicts of the inverted image", "1", "[0, 1]"),
        Column("chance_unchanged", FLOAT, "the same if the two classes were independent, each as "
               "frequent as it is", "1", "[0, 1]"),
        Column("noise_unchanged", FLOAT, "baseline: the same of the initial image, clipped to "
               "[0, 1]", "1", "[0, 1]"),
    )  # fmt: skip
    result_key = ("model", "epoch", "direction", "seed", "reference_layer")
    needs_classifier = True
    forward_passes = 1
    section = "measures"

    def options(self, job: Job) -> Iterable[None]:
        return (None,) if job.predictions else ()

    def content(self, subject: Subject, option: None) -> Mapping[str, object]:  # noqa: ARG002
        return {"checkpoint": subject.target.content}

    def compute(self, views: Views, option: None) -> Mapping[str, Any]:  # noqa: ARG002
        return {
            "checkpoint": views.target.content,
            "image_id": list(views.image_ids),
            "class_of_image": views.classes("real"),
            "class_of_inverted": views.classes("inverted"),
            "class_of_noise": views.classes("initial"),
        }

    def summarize(self, artifact: pa.Table, cell: Place) -> Mapping[str, Any]:  # noqa: ARG002
        import numpy as np

        real, inverted, noise = (
            artifact[f"class_of_{images}"].to_numpy() for images in ("image", "inverted", "noise")
        )
        classes = np.union1d(real, inverted)
        frequencies = [(each[:, None] == classes).mean(axis=0) for each in (real, inverted)]
        return {
            "images": artifact.num_rows,
            **{name: artifact[name][0].as_py() for name in ("seed", "reference_layer")},
            "unchanged": float((real == inverted).mean()),
            "chance_unchanged": float(frequencies[0] @ frequencies[1]),
            "noise_unchanged": float((real == noise).mean()),
        }

    def charts(self, results: xr.Dataset, table: pd.DataFrame) -> Iterator[tuple[str, Chart]]:
        yield "19-unchanged-predictions-by-layer", predictions(results, table)


PREDICTIONS = Predictions()


def predictions(results: xr.Dataset, unchanged: pd.DataFrame) -> Chart:
    """Draw the share of unchanged predictions by inverted layer, a panel per model that predicts.

    Args:
        results: as `stir_ray.open_results` gives them.
        unchanged: the table `unchanged_predictions` of the same job.
    """
    from stir_ray.charts.lines import INVERTED_LAYER, Panel, layer_rows, line_chart
    from stir_ray.charts.readings import last_epochs, table_values
    from stir_ray.charts.style import DASHED, DOTTED, GREY, MODELS, PRETRAINED, Look, model_at

    start = "start of the inversion"
    lines: dict[str, list[dict]] = {}
    looks = {}
    fractions = ("unchanged", "chance_unchanged", "noise_unchanged")
    unchanged = unchanged.assign(**{name: 100 * unchanged[name] for name in fractions})
    for compared, epoch in last_epochs(unchanged, results):
        names = {"pt": PRETRAINED, "ft": model_at(compared.model, epoch, results)}
        of_model = unchanged[(unchanged["model"] == compared.model) & (unchanged["epoch"] == epoch)]
        for direction in ("pt|pt", "pt|ft", "ft|pt", "ft|ft"):
            target, side = direction.split("|")
            rows = of_model[of_model["direction"] == direction]
            drawn = lines.setdefault(names[target], [])
            line, chance = f"inverted from {names[side]}", f"chance, {names[side]}"
            # What the pretrained model predicts of its own is the same beside every compared one.
            if rows.empty or any(row["line"] == line for row in drawn):
                continue
            look = MODELS[PRETRAINED if side == "pt" else compared.model]
            looks |= {line: look, chance: Look(look.colour, "cross", DOTTED)}
            columns = {line: "unchanged", chance: "chance_unchanged"}
            if not any(row["line"] == start for row in drawn):
                columns[start] = "noise_unchanged"
            for name, column in columns.items():
                values = table_values(rows, column, epochs=[epoch], layers=compared.layers(side))
                bad = compared.unconverged(side)[epoch] if name == line else ()
                drawn += layer_rows(values, name, unconverged=bad)
    panels = [
        Panel(f"Predicted by: {target}", "unchanged (%)", INVERTED_LAYER, rows, (), (0, 100))
        for target, rows in lines.items()
        if rows
    ]
    looks[start] = Look(GREY, "diamond", DASHED)
    title = "Predictions that inverted images leave unchanged"
    note = "Chance: if the two predictions were independent."
    return line_chart(title, note, looks, panels, results=results, shared_y=True)
