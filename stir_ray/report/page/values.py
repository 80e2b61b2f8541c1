"""Numbers and texts as a page carries them: short, exact to what is shown, and never as code."""

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from stir_ray.report.readings import Numbers

SCALE = 10_000
"""Numbers of matrices are whole ten-thousandths: half as long as decimals, of which there are
hundreds of thousands."""
_PLACES = 4
# A browser ends a script at `</script`, wherever that stands, and may take `<!--` for a comment.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def ten_thousandths(values: Numbers) -> list[Any]:
    """Nested lists of whole numbers; None where a value is missing."""
    known = np.isfinite(values)
    whole = np.rint(np.where(known, values, 0.0) * SCALE).astype(np.int64).astype(object)
    whole[~known] = None
    return whole.tolist()


def decimals(values: Numbers) -> list[float | None]:
    """Numbers of one axis, to four decimals, and small ones to four digits; None if missing."""
    return [_short(float(value)) if np.isfinite(value) else None for value in np.array(values)]


def _short(value: float) -> float:
    return round(value, _PLACES) if abs(value) >= 1 else float(f"{value:.{_PLACES}g}")


def said(value: float) -> str:
    """With two decimals; what is nearly 0 has no sign."""
    rounded = round(float(value), 2)
    return f"{'−' if rounded < 0 else ''}{abs(rounded):.2f}"


def counts(values: Numbers) -> Any:
    """Whole numbers; one for all if they are equal."""
    whole = np.nan_to_num(np.asarray(values)).astype(np.int64)
    return int(whole.flat[0]) if whole.size and (whole == whole.flat[0]).all() else whole.tolist()


def embedded(value: Any) -> Markup:
    """JSON that stands in a `<script>` and stays text whatever it says.

    Raises:
        ValueError: if a number is not finite.
    """
    # What is not ASCII is escaped: so are U+2028 and U+2029, which end a line of a script.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return Markup(text)  # noqa: S704 - nothing is left in it that HTML would read


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a page")
