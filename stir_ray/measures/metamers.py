"""Whether inverted images are metamers of the images to the model that was inverted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from stir_ray.lake.schemas import (
    FLOAT,
    IMAGE_COUNT,
    IMAGE_ID,
    INT,
    INVERTED_MODEL,
    REFERENCE,
    REFERENCE_LAYER,
    SEED,
    Column,
)
from stir_ray.measures.measure import SMALL_VALUES, Measure, Place, Scope, Views

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from stir_ray.charts.blocks import Chart
    from stir_ray.job import Job

_CRITERIA = {
    "pearson": ("Pearson correlation", "correlation"),
    "spearman": ("Spearman rank correlation", "correlation"),
    "snr_db": ("Signal-to-noise ratio", "dB"),
}
_NULL = (
    Column("null_pearson", FLOAT, "largest of all pairs of two different images", "1", "[-1, 1]"),
    Column("null_spearman", FLOAT, "likewise", "1", "[-1, 1]"),
    Column("null_snr_db", FLOAT, "likewise", "dB", "(-inf, inf]"),
)


class Metamers(Measure):
    """How well each inverted image agrees with its original, and the best of a null."""

    name = "metamers"
    scope = Scope.INVERSION
    recipe = 4
    columns = (
        *(REFERENCE, REFERENCE_LAYER, SEED, IMAGE_ID),
        Column("pearson", FLOAT, "correlation over units of the layer's representations of image "
               "and inverted image"),
        Column("spearman", FLOAT, "of their ranks"),
        Column("snr_db", FLOAT, "10 log10 of the squared norm of the image's representation over "
               "that of the difference; infinite if there is none"),
        *_NULL,
        Column("is_metamer", pa.bool_(), "whether it is above the null in all three"),
    )  # fmt: skip
    key = ("image_id",)
    result = "metamer_counts"
    result_columns = (
        *(*INVERTED_MODEL, SEED, REFERENCE_LAYER, IMAGE_COUNT),
        Column("metamers", INT, "images above the null by all three criteria", "1", "[0, images]"),
        Column("pearson_median", FLOAT, "over images", "1", "[-1, 1]"),
        Column("spearman_median", FLOAT, "over images", "1", "[-1, 1]"),
        Column("snr_db_median", FLOAT, "over images", "dB", "(-inf, inf]"),
        *_NULL,
    )
    result_key = ("model", "epoch", "seed", "reference_layer")
    forward_passes = 2
    section = "measures"

    def options(self, job: Job) -> Iterable[None]:
        return (None,) if job.metamers else ()

    def compute(self, views: Views, option: None) -> Mapping[str, Any]:  # noqa: ARG002
        from stir_ray.numerics.similarity import (
            are_metamers,
            null_maximum,
            representation_similarity,
        )

        real = views.features("real")
        null = views.cached(
            ("null", views.layer), "reference", "real", lambda: null_maximum(real), SMALL_VALUES
        )
        of_inverted = representation_similarity(real, views.features("inverted"))
        return {
            "image_id": list(views.image_ids),
            **{name: getattr(of_inverted, name).tolist() for name in _CRITERIA},
            **{f"null_{name}": float(getattr(null, name)) for name in _CRITERIA},
            "is_metamer": are_metamers(of_inverted, null).tolist(),
        }

    def summarize(self, artifact: pa.Table, cell: Place) -> Mapping[str, Any]:  # noqa: ARG002
        import numpy as np

        names = ("seed", "reference_layer", *(column.name for column in _NULL))
        return {
            "images": artifact.num_rows,
            "metamers": int(artifact["is_metamer"].to_numpy().sum()),
            **{f"{name}_median": float(np.median(artifact[name].to_numpy())) for name in _CRITERIA},
            **{name: artifact[name][0].as_py() for name in names},
        }

    def charts(self, results: xr.Dataset, table: pd.DataFrame) -> Iterator[tuple[str, Chart]]:
        yield "18-metamers-by-layer", metamers(results, table)


METAMERS = Metamers()


def metamers(results: xr.Dataset, counts: pd.DataFrame) -> Chart:
    """Draw the share of images that pass all criteria by inverted layer, and each criterion.

    Args:
        results: as `stir_ray.open_results` gives them.
        counts: the table `metamer_counts` of the same job.
    """
    from stir_ray.charts.lines import INVERTED_LAYER, Panel, layer_rows, line_chart
    from stir_ray.charts.readings import compared_model, last_epochs, table_values
    from stir_ray.charts.style import DOTTED, MODELS, PRETRAINED, Look, model_at

    counts = counts.assign(share=100 * counts["metamers"] / counts["images"])
    inverted = [
        (compared.model, model_at(compared.model, epoch, results), epoch, compared.layers("ft"))
        for compared, epoch in last_epochs(counts, results)
    ]
    of_pretrained = counts[counts["model"] == PRETRAINED]
    if len(of_pretrained):
        layers = compared_model(results).layers("pt")
        inverted.insert(0, (PRETRAINED, PRETRAINED, of_pretrained["epoch"].max(), layers))
    shares, criteria = [], {criterion: [] for criterion in _CRITERIA}
    looks, nulls = {}, {}
    for model, line, epoch, layers in inverted:
        rows = counts[(counts["model"] == model) & (counts["epoch"] == epoch)]
        null = f"{line}: best of different images"
        looks[line], nulls[null] = MODELS[model], Look(MODELS[model].colour, "cross", DOTTED)
        shares += layer_rows(table_values(rows, "share", epochs=[epoch], layers=layers), line)
        for criterion in _CRITERIA:
            for column, name in ((f"{criterion}_median", line), (f"null_{criterion}", null)):
                values = table_values(rows, column, epochs=[epoch], layers=layers)
                criteria[criterion] += layer_rows(values, name)
    title = "Metamers: pass all three criteria"
    panels = [Panel(title, "images (%)", INVERTED_LAYER, shares, (), (0, 100))]
    for criterion, (title, unit) in _CRITERIA.items():
        panels.append(Panel(f"{title}: median", unit, INVERTED_LAYER, criteria[criterion], ()))
    title = "Metamers: inverted images that pass for the originals"
    note = "Dotted: the best of all pairs of different images."
    return line_chart(title, note, looks | nulls, panels, results=results, columns=2)
