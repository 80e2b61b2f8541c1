"""What the program imports is what its project file says that it needs."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXCUSED = {
    "jaxtyping",  # for the type checker alone
    "pydantic_core",  # of pydantic, which needs just one version of it
}


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[\[><=]", line)[0].lower() for line in project["dependencies"]}
    imported: set[str] = set()
    for path in (*ROOT.glob("stir_ray/**/*.py"), *ROOT.glob("workflows/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    imported -= {"stir_ray", "workflows", *EXCUSED, *sys.stdlib_module_names}
    providers = packages_distributions()
    assert "torch" in imported
    assert not {
        name
        for name in imported
        if declared.isdisjoint(each.lower() for each in providers.get(name, [name]))
    }
