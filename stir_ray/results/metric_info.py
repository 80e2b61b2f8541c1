"""Directions, estimators and metrics of the results: names, formulas, ranges and sources."""

from collections.abc import Mapping
from dataclasses import dataclass

from stir_ray.numerics.criteria import CONVERGED_SELF_STIR, NOT_INVERTED_RESIDUAL

PT_PT, FT_PT, FT_FT, PT_FT = "pt|pt", "ft|pt", "ft|ft", "pt|ft"
DIRECTIONS = (PT_PT, FT_PT, FT_FT, PT_FT)
"""target|reference: `ft|pt` is STIR(ft | pt), images inverted from pt and shown to ft."""
ESTIMATORS = {"unbiased": "_unbiased", "biased": ""}
"""HSIC estimators and the suffix of their columns; the first leads what is shown.

By the biased one, which is the paper's, unrelated representations score high."""
CRITERION = "unbiased"
"""Estimator of the convergence criteria. Biased self-STIR of unrelated representations nearly
passes: it is .987 of 500 images and 38,400 units."""
CURVES = ("learning", "forgetting", "cka_divergence")
"""Metrics whose diagonal describes the change of a layer."""
OF_NO_SEED = ("cka", "cka_unbiased", "cka_divergence", "subspace_similarity")
"""Measured on the images alone: no inversion takes part, so nothing varies with the seed."""

_STIR_PAPER = "Nanda et al. 2022, ICML"
_METRICS_PAPER = "Merlin et al. 2023, PMLR 232:601-619"


@dataclass(frozen=True)
class MetricInfo:
    """A metric of two models, layer by layer."""

    long_name: str  # for the axis of a figure
    meaning: str  # formula and reading; `pt` is the pretrained model, `ft` the other one
    direction: str  # which model is inverted and which is shown the inverted images
    bounds: tuple[str, str] = ("[-1, 1]", "[-2, 2]")  # (biased, unbiased) range
    source: str = _METRICS_PAPER  # of the formula

    def attrs(self, estimator: str | None = None) -> dict[str, str]:
        """Return attributes for an array of the metric, by one estimator or by both."""
        ranges: dict[str, str] = dict(zip(("biased", "unbiased"), self.bounds, strict=True))
        return {
            "long_name": self.long_name,
            "meaning": self.meaning,
            "units": "1",
            "range": ranges[estimator] if estimator else "; unbiased ".join(self.bounds),
            "source": self.source,
            "direction": self.direction,
        }


_FLOW = "reference_layer: of pt, which is inverted; target_layer: of ft"
METRICS: Mapping[str, MetricInfo] = {
    "forgetting": MetricInfo(
        "forgetting",
        "STIR(pt_i | pt_j) - STIR(ft_i | pt_j): invariances of pt that ft has lost",
        "reference_layer: of pt, which is inverted; target_layer: of pt and ft",
    ),
    "learning": MetricInfo(
        "learning",
        "STIR(ft_i | ft_j) - STIR(pt_i | ft_j): invariances of ft that pt never had",
        "reference_layer: of ft, which is inverted; target_layer: of ft and pt",
    ),
    "cka_divergence": MetricInfo(
        "CKA divergence",
        "CKA(pt_i, pt_j) - CKA(ft_i, pt_j) on the images themselves: how far ft's representations "
        "have moved; no inversion takes part",
        "reference_layer: of pt; target_layer: of pt and ft, which are compared with it",
    ),
    "flow": MetricInfo(
        "invariance flow",
        "STIR(ft_j | pt_i) - STIR(ft_i | pt_i): to which layer j the invariances of pt's layer i "
        "moved; above 0 for j < i is compression, for j > i expansion, and 0 for j = i",
        _FLOW,
    ),
    "flow_control": MetricInfo(
        "flow without finetuning",
        "STIR(pt_j | pt_i) - STIR(pt_i | pt_i): what the flow would be if ft were pt",
        "reference_layer and target_layer: of pt, which is inverted",
    ),
    "flow_beyond_control": MetricInfo(
        "flow beyond control",
        "flow - flow_control: the part of the flow that finetuning caused",
        _FLOW,
        bounds=("[-2, 2]", "[-4, 4]"),
    ),
}
"""Metrics of the table `matrices`, by name."""

SCORES: Mapping[str, MetricInfo] = {
    "stir": MetricInfo(
        "STIR",
        "STIR(target | reference): CKA of the target's representations of images and of images "
        "inverted from a layer of the reference; 1 if it shares the reference's invariances",
        "reference_layer: of the inverted model; target_layer: of the other one",
        bounds=("[0, 1]", "[-1, 1]"),
        source=_STIR_PAPER,
    ),
    "cka": MetricInfo(
        "CKA",
        "linear CKA of target and reference on the images themselves; 1 is equal geometry",
        "reference_layer: of one model; target_layer: of the other",
        bounds=("[0, 1]", "[-1, 1]"),
        source="Kornblith et al. 2019, ICML; unbiased: Song et al. 2012, JMLR",
    ),
    "self_stir": MetricInfo(
        "self-STIR",
        "STIR(reference | reference) of equal layers: how similar a layer's representations of "
        f"images and of their inversions are; {CRITERION} below {CONVERGED_SELF_STIR} they did not "
        "converge, and STIR of them means little",
        "reference_layer: of the inverted model, which is shown its own inversions",
        bounds=("[0, 1]", "[-1, 1]"),
        source=_STIR_PAPER,
    ),
    "centered_residual": MetricInfo(
        "centered residual",
        "||rep(x') - rep(x)|| / ||rep(x) - mean rep|| of every inverted image x'; 0 is perfect, an "
        f"image above {NOT_INVERTED_RESIDUAL} counts as not inverted",
        "reference_layer: of the inverted model",
        bounds=("[0, inf)", "[0, inf)"),
    ),
}
"""Scores that the metrics are made of and depend on, by name."""
