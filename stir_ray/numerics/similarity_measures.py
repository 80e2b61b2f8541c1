"""Which similarities there are besides linear CKA, as values: readable where torch is not."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Similarity(StrEnum):
    """How the geometries of two sets of features of the same images are compared."""

    RBF_CKA = "rbf_cka"
    """CKA of Gaussian kernels: near neighbours count, and far ones are all alike."""
    PROCRUSTES = "procrustes"
    """How much of one is the other after the best rotation."""


@dataclass(frozen=True)
class Measure:
    """A similarity with its parameter.

    Attributes:
        similarity: which one.
        bandwidth: of RBF CKA: σ as a fraction of the median distance between images; 0 of others,
            which have none.
    """

    similarity: Similarity
    bandwidth: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a bandwidth where there is none, and none where there must be one."""
        takes_one = self.similarity is Similarity.RBF_CKA
        if not (0 < self.bandwidth < math.inf if takes_one else self.bandwidth == 0):
            raise ValueError(
                f"bandwidth {self.bandwidth} of {self.similarity}: "
                + ("expected a positive number" if takes_one else "it has none; leave it out")
            )
