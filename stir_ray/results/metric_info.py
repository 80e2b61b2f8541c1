"""What the metrics are, in words: for whoever meets their numbers without the paper at hand."""

from collections.abc import Mapping
from dataclasses import dataclass

from stir_ray.numerics.criteria import CONVERGED_SELF_STIR
from stir_ray.results.convergence import CRITERION

STIR_PAPER = "Nanda et al. 2022, ICML"
METRICS_PAPER = "Merlin et al. 2023, PMLR 232:601-619"


@dataclass(frozen=True)
class Described:
    """A metric of two models, layer by layer.

    Attributes:
        long_name: for the axis of a figure.
        meaning: formula and reading; `pt` is the pretrained model, `ft` the other one.
        biased: range by biased HSIC.
        unbiased: range by unbiased HSIC.
        source: of the formula.
        direction: which model is inverted and which looks.
    """

    long_name: str
    meaning: str
    biased: str
    unbiased: str
    source: str
    direction: str

    def attrs(self, estimator: str | None = None) -> dict[str, str]:
        """Attributes of an array of it, by one estimator or by both."""
        ranges = {"biased": self.biased, "unbiased": self.unbiased}
        return {
            "long_name": self.long_name,
            "meaning": self.meaning,
            "units": "1",
            "range": ranges[estimator] if estimator else f"{self.biased}; unbiased {self.unbiased}",
            "source": self.source,
            "direction": self.direction,
        }


_PT_INVERTED = "reference_layer: of pt, which is inverted; target_layer: of the model that looks"
_FT_INVERTED = "reference_layer: of ft, which is inverted; target_layer: of the model that looks"
_FLOWS = "reference_layer: of pt, which is inverted; target_layer: of ft, which looks"
_WITHIN = "reference_layer and target_layer: of pt, which is inverted and looks"

METRICS: Mapping[str, Described] = {
    "forgetting": Described(
        "forgetting",
        "STIR(pt_i | pt_j) - STIR(ft_i | pt_j): invariances of pt that ft has lost",
        "[-1, 1]",
        "[-2, 2]",
        METRICS_PAPER,
        _PT_INVERTED,
    ),
    "learning": Described(
        "learning",
        "STIR(ft_i | ft_j) - STIR(pt_i | ft_j): invariances of ft that pt never had",
        "[-1, 1]",
        "[-2, 2]",
        METRICS_PAPER,
        _FT_INVERTED,
    ),
    "cka_divergence": Described(
        "CKA divergence",
        "CKA(pt_i, pt_j) - CKA(ft_i, pt_j) on the images themselves: how far ft's representations "
        "have moved; no inversion takes part",
        "[-1, 1]",
        "[-2, 2]",
        METRICS_PAPER,
        "reference_layer: of pt; target_layer: of pt and ft, which are compared with it",
    ),
    "flow": Described(
        "invariance flow",
        "STIR(ft_j | pt_i) - STIR(ft_i | pt_i): to which layer j the invariances of pt's layer i "
        "went; above 0 for j < i is compression, for j > i expansion, and 0 for j = i",
        "[-1, 1]",
        "[-2, 2]",
        METRICS_PAPER,
        _FLOWS,
    ),
    "flow_control": Described(
        "flow without finetuning",
        "STIR(pt_j | pt_i) - STIR(pt_i | pt_i): what the flow would be if ft were pt",
        "[-1, 1]",
        "[-2, 2]",
        METRICS_PAPER,
        _WITHIN,
    ),
    "flow_beyond_control": Described(
        "flow beyond control",
        "flow - flow_control: what of the flow is of the finetuning",
        "[-2, 2]",
        "[-4, 4]",
        METRICS_PAPER,
        _FLOWS,
    ),
}
"""By name, as in the table `matrices`."""

STIR = Described(
    "STIR",
    "STIR(target | reference): CKA of the target's views of images and of images that were "
    "inverted from a layer of the reference; 1 if it shares the reference's invariances",
    "[0, 1]",
    "[-1, 1]",
    STIR_PAPER,
    "reference_layer: of the model that is inverted; target_layer: of the model that looks",
)
CKA = Described(
    "CKA",
    "linear CKA of target and reference on the images themselves; 1 is equal geometry",
    "[0, 1]",
    "[-1, 1]",
    "Kornblith et al. 2019, ICML; unbiased: Song et al. 2012, JMLR",
    "reference_layer: of the one model; target_layer: of the other",
)
SELF_STIR = Described(
    "self-STIR",
    "STIR(reference | reference) of equal layers: how a layer sees its own inversions; "
    f"{CRITERION} below {CONVERGED_SELF_STIR} they did not converge, and STIR of them says little",
    "[0, 1]",
    "[-1, 1]",
    STIR_PAPER,
    "reference_layer: is inverted and looks",
)
