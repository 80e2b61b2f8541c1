"""What the program imports is what its project file says that it needs."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("stir_ray", "workflows")
EXCUSED = {
    "jaxtyping",  # for the type checker alone
    "pydantic_core",  # of pydantic, which needs just one version of it
}


def imported(folder: Path) -> Iterator[str]:
    """Top-level names of all modules that the files of a folder import."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[\[><=]", one)[0].lower() for one in project["dependencies"]}
    providers = packages_distributions()
    others = {name for folder in OURS for name in imported(ROOT / folder)}
    others -= {*OURS, *EXCUSED, *sys.stdlib_module_names}
    assert "torch" in others
    undeclared = {
        name
        for name in others
        if not declared & {one.lower() for one in providers.get(name, [name])}
    }
    assert not undeclared
