"""From artifacts to results: tables, one dataset, and the correlation study."""

from stir_ray.identity import content_id

_RECIPE = 6
"""Bumped by hand when an analysis of equal results comes to say something else."""


def analysis_inputs(results: str) -> str:
    """The digest of all that an analysis was made from.

    Args:
        results: the same of the results that it analyses.
    """
    return content_id("analysis", recipe=_RECIPE, results=results)
