"""The mathematics runs where little is installed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

from stir_ray import numerics

ROOT = Path(numerics.__file__).parents[2]
FOREIGN = [
    *("ray", "pydantic", "timm", "torchvision", "jaxtyping"),
    *("pyarrow", "pandas", "xarray", "sklearn"),
]


def test_every_module_of_numerics_needs_torch_numpy_and_scipy_alone() -> None:
    modules = [module.name for module in pkgutil.iter_modules(numerics.__path__)]
    assert "inversion" in modules
    import_without(FOREIGN, modules)


def test_matrices_and_settings_can_be_read_where_torch_is_not_installed() -> None:
    import_without([*FOREIGN, "torch"], ["metrics", "settings"])


def import_without(missing: list[str], modules: list[str]) -> None:
    """Import modules of `numerics` in a Python of their own, as if `missing` were not installed."""
    lines = [
        "import sys",
        *(f"sys.modules[{name!r}] = None" for name in missing),
        *(f"import stir_ray.numerics.{module}" for module in modules),
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
