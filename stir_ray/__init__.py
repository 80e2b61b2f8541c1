"""What finetuning does to a vision transformer's invariances.

`open_results` reads what a job computed. `stir`, `forgetting`, `learning`, `flow` and
`cka_divergence` ask the same of any two models at hand, and `invert` inverts one for several such
questions; `controversial` makes images about which two models disagree: see `stir_ray.api`.
The command line is `stir-ray`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stir_ray.version import __version__

if TYPE_CHECKING:
    from stir_ray.api import (
        ConvergenceWarning,
        Inversions,
        cka_divergence,
        controversial,
        flow,
        forgetting,
        frozen,
        invert,
        learning,
        stir,
    )
    from stir_ray.numerics.settings import InversionSettings
    from stir_ray.results.dataset import open_results

__all__ = [
    "ConvergenceWarning",
    "InversionSettings",
    "Inversions",
    "__version__",
    "cka_divergence",
    "controversial",
    "flow",
    "forgetting",
    "frozen",
    "invert",
    "learning",
    "open_results",
    "stir",
]
_ELSEWHERE = {
    "open_results": "stir_ray.results.dataset",
    "InversionSettings": "stir_ray.numerics.settings",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a worker needs no xarray, a reader of results no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "stir_ray.api")), name)


def __dir__() -> list[str]:
    """What can be imported, for whoever looks for it by the tabulator key."""
    return sorted({*globals(), *__all__})
