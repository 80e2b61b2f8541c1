"""The measures of the architecture: how much code there is, in which pieces, under which names.

A limit is what the code has now where it is not yet what it should be; it only goes down.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = ("stir_ray", "workflows")
FILLERS = {
    *("one", "found", "place", "of", "said", "known"),
    *("every", "own", "left", "some", "told"),
}
"""Words that say nothing about the value of a variable."""


@cache
def files(*folders: str) -> tuple[Path, ...]:
    """All Python files below some folders."""
    return tuple(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def lines(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def product_lines() -> int:
    """Lines of Python."""
    return sum(map(lines, files(*PRODUCT)))


def product_files() -> int:
    """Files of Python."""
    return len(files(*PRODUCT))


def lines_of_tests() -> int:
    """Lines of Python of the tests."""
    return sum(map(lines, files("tests")))


def long_files() -> int:
    """Files of more than 400 lines."""
    return sum(lines(path) > 400 for path in files(*PRODUCT))


def public_names() -> int:
    """Functions and classes at the top level of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    statements = (node for path in files(*PRODUCT) for node in tree(path).body)
    return sum(isinstance(node, kinds) and not node.name.startswith("_") for node in statements)


def shared_module_names() -> int:
    """Modules that share their name with another one."""
    names = Counter(path.stem for path in files(*PRODUCT) if path.stem != "__init__")
    return sum(count for count in names.values() if count > 1)


def modules_with_one_importer() -> int:
    """Modules of `stir_ray` that a single other module imports."""
    modules = {module_name(path) for path in files(*PRODUCT)}
    importers = Counter(
        imported
        for path in files(*PRODUCT)
        for imported in set(imported_modules(path, modules)) - {module_name(path)}
    )
    return sum(importers[name] == 1 for name in modules if name.startswith("stir_ray."))


def module_name(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, modules: set[str]) -> Iterator[str]:
    """The modules that a file imports."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & modules or {node.module} & modules


def fillers() -> int:
    """Variables, arguments and attributes that are named by a filler."""
    return sum(name in FILLERS for path in files(*PRODUCT) for name in variables(path))


def variables(path: Path) -> Iterator[str]:
    """The names that a file assigns to, in any way."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name


@pytest.mark.parametrize(
    ("measure", "limit", "target"),
    [
        (product_lines, 22_918, 17_000),
        (product_files, 127, 120),
        (lines_of_tests, 22_510, 17_000),
        (long_files, 0, 0),
        (public_names, 671, 500),
        (shared_module_names, 0, 0),
        (modules_with_one_importer, 17, 15),
        (fillers, 0, 0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_measure_is_within_its_limit(measure: Callable[[], int], limit: int, target: int) -> None:
    assert measure() <= max(limit, target)
