"""p-values as a person reads them."""

import math

from stir_ray.numerics.correlation import outlasts_transient


def p_value(p: float) -> str:
    """Return a p in two digits; a dash where it is undefined."""
    return "–" if math.isnan(p) else f"{p:.2g}"


def later_p(p: float, epochs: int) -> str:
    """Return a p of what follows the transient of a series, or that too few epochs do."""
    return p_value(p) if outlasts_transient(epochs) else "too few epochs"
