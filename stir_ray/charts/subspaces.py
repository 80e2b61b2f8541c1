"""How similar the principal subspaces of a layer are before and after training."""

import numpy as np
import xarray as xr

from stir_ray.charts.blocks import LAYER, Chart, Rows, Words, curve_rows
from stir_ray.charts.curves import last_rows
from stir_ray.charts.lines import Panel, line_chart
from stir_ray.charts.readings import ComparedModel, Values, compared_models
from stir_ray.charts.style import DASHED, DOTTED, GREY, PALETTE, Look, model_at

_LOOKS = {
    "forgetting": Look(PALETTE[0]),
    "CKA divergence": Look(PALETTE[3], "square", DASHED),
    "subspace similarity": Look(PALETTE[2], "diamond"),
    "chance": Look(GREY, "cross", DOTTED),
}


def has_subspaces(results: xr.Dataset) -> bool:
    """Whether a compared model shares the basis of the pretrained one, so that they compare."""
    return any(_shares_basis(compared) for compared in compared_models(results))


def subspaces(results: xr.Dataset, *, estimator: str = "unbiased") -> Chart:
    """Draw subspace similarity to the pretrained model beside forgetting and CKA divergence.

    Arguments as in `learning_and_forgetting`. Two panels per compared model that shares the basis
    of the pretrained one.
    """
    panels, curves = [], list[Values]()
    for compared in compared_models(results):
        if not _shares_basis(compared):
            continue
        rows: Rows = []
        for name, metric in (("forgetting", "forgetting"), ("CKA divergence", "cka_divergence")):
            rows += last_rows(compared, metric, name, curves)
        title = model_at(compared.model, compared.epochs[-1], results)
        panels.append(Panel(f"{title}: what was lost", "difference of STIR or CKA", LAYER, rows))
        similarity, chance, directions = _diagonals(compared)
        defined = directions[np.isfinite(directions)].astype(int)
        counts = " to ".join(str(n) for n in dict.fromkeys((defined.min(), defined.max())))
        rows = curve_rows(compared.shared_layers, similarity, "subspace similarity")
        rows += curve_rows(compared.shared_layers, chance, "chance")
        panels.append(Panel(f"{title}: {counts} directions", "shared part, 0 to 1", LAYER, rows, (),
                            (0, 1)))  # fmt: skip
    images = results["images"].max().fillna(0).item()
    note = f"{images:.0f} images. Subspaces are of the images themselves: no inversion takes part."
    words = Words("Subspace similarity to the pretrained model", note, _LOOKS)
    return line_chart(words, panels, estimator=estimator, columns=2)


def _diagonals(compared: ComparedModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = ("subspace_similarity", "subspace_chance", "subspace_directions")
    cells = compared.results[list(names)].sel(model=compared.model, epoch=compared.epochs[-1])
    axes = dict.fromkeys(("pretrained_layer", "compared_layer"), compared.shared_layers)
    cells = cells.reindex(axes).transpose("pretrained_layer", "compared_layer", ...)
    similarity, chance, directions = (np.diagonal(cells[name].values) for name in names)
    return similarity, chance, directions


def _shares_basis(compared: ComparedModel) -> bool:
    if "subspace_similarity" not in compared.results:
        return False
    shares = compared.results["shares_basis"].sel(model=compared.model).item() == 1
    return shares and bool(np.isfinite(_diagonals(compared)[0]).any())
