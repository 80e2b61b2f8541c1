"""What finetuning does to a vision transformer's invariances.

`open_results` reads what a job computed. The command line is `stir-ray`.
"""

from typing import TYPE_CHECKING, Any

from stir_ray.version import __version__

if TYPE_CHECKING:
    from stir_ray.results import open_results

__all__ = ["__version__", "open_results"]


def __getattr__(name: str) -> Any:
    """Import on first use: a worker needs no xarray, a reader of results no torch."""
    if name == "open_results":
        from stir_ray.results import open_results

        return open_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
