"""What finetuning does to a vision transformer's invariances.

`open_results` reads the results of a job, and `connect` queries those of many in SQL. `invert`
inverts the layers of a timm model, and the methods of what it returns compare other models with
it: see `stir_ray.api`. The command line is `stir-ray`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stir_ray import charts
    from stir_ray.api import ConvergenceWarning, Inversions, freeze, invert
    from stir_ray.numerics.settings import InversionSettings
    from stir_ray.results.dataset import open_results
    from stir_ray.results.sql import connect

__version__ = "0.1.0"
__all__ = [
    "ConvergenceWarning",
    "InversionSettings",
    "Inversions",
    "__version__",
    "charts",
    "connect",
    "freeze",
    "invert",
    "open_results",
]
_ELSEWHERE = {
    "connect": "stir_ray.results.sql",
    "open_results": "stir_ray.results.dataset",
    "InversionSettings": "stir_ray.numerics.settings",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a worker needs no xarray, a reader of results no torch."""
    if name == "charts":
        return import_module("stir_ray.charts")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "stir_ray.api")), name)


def __dir__() -> list[str]:
    """List the public names for tab completion."""
    return sorted({*globals(), *__all__})
