"""Which similarities a job asks for besides linear CKA."""

from dataclasses import astuple
from typing import Annotated, Literal

from pydantic import AfterValidator, PositiveFloat, Tag

from stir_ray.job.grammar import Value, word_or
from stir_ray.numerics.similarity_measures import Measure, Similarity


class RbfCka(Value):
    """RBF CKA of a bandwidth."""

    rbf_cka: PositiveFloat
    """σ as a fraction of the median distance between images; `rbf_cka` alone takes 1."""


SimilarityChoice = Annotated[
    Annotated[Literal["rbf_cka", "procrustes"], Tag("<word>")] | Annotated[RbfCka, Tag("<other>")],
    word_or("`{rbf_cka: bandwidth}`", "rbf_cka", "procrustes"),
]


def measure_of(said: SimilarityChoice) -> Measure:
    """What is meant by a similarity of a job."""
    if isinstance(said, RbfCka):
        return Measure(Similarity.RBF_CKA, said.rbf_cka)
    return Measure(Similarity(said), 1.0 if said == Similarity.RBF_CKA else 0.0)


def _different(said: tuple[SimilarityChoice, ...]) -> tuple[SimilarityChoice, ...]:
    seen: set[Measure] = set()
    for one in said:
        measure = measure_of(one)
        if measure in seen:
            bandwidth = f" of bandwidth {measure.bandwidth:g}" if measure.bandwidth else ""
            raise ValueError(f"{measure.similarity}{bandwidth} stands there twice")
        seen.add(measure)
    # In one order: jobs that ask for the same ask the same question.
    return tuple(sorted(said, key=lambda one: astuple(measure_of(one))))


Similarities = Annotated[tuple[SimilarityChoice, ...], AfterValidator(_different)]
