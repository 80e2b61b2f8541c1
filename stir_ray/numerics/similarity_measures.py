"""Similarities besides linear CKA, as values that need no torch."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Similarity(StrEnum):
    """How the geometries of two sets of features of the same images are compared."""

    RBF_CKA = "rbf_cka"
    """CKA of Gaussian kernels: near neighbors count, and all far images are equally far."""
    PROCRUSTES = "procrustes"
    """Similarity after the best rotation."""


@dataclass(frozen=True)
class SimilarityMeasure:
    """A similarity with its parameter.

    Attributes:
        similarity: its kind.
        bandwidth: of RBF CKA: σ as a fraction of the median distance between images; 0 of others.
    """

    similarity: Similarity
    bandwidth: float = 0.0

    def __post_init__(self) -> None:
        """Check the bandwidth."""
        has_bandwidth = self.similarity is Similarity.RBF_CKA
        if not (0 < self.bandwidth < math.inf if has_bandwidth else self.bandwidth == 0):
            raise ValueError(
                f"bandwidth {self.bandwidth} of {self.similarity}: "
                + ("expected a positive number" if has_bandwidth else "it has none; leave it out")
            )
