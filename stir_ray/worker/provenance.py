"""Who computed a part: code, packages, machine."""

import platform
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stir_ray.identity import bytes_digest
from stir_ray.version import __version__

_PACKAGES = ("torch", "timm", "numpy", "pyarrow", "ray")


@cache
def _constant() -> dict[str, Any]:
    return {
        "version": __version__,
        "code": _code_digest(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "host": f"{platform.system()} {platform.machine()}",
        "node": socket.gethostname(),
    }


def _code_digest() -> str:
    """Of the package's own source, which says more than a version number during development."""
    folder = Path(__file__).parents[1]

    def sources() -> Iterator[bytes]:
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(folder)).encode()
            yield path.read_bytes()

    return bytes_digest(sources())


def provenance(
    *,
    job: str,
    task: str,
    attempt: int,
    batch_size: int | None,
    at_once: int | None,
    halvings: int,
    device: str,
    seconds: float,
) -> dict[str, Any]:
    """What stands in a part's footer beside its checksum.

    Args:
        job: name of the job that first asked for the part.
        task: in words.
        attempt: number of the attempt at it, from 1.
        batch_size: images of one forward pass, as asked for; None for all at once.
        at_once: of them that were predicted to fit, in the work that came last; None if none was.
        halvings: of that number, for which memory did not suffice.
        device: that it was computed on.
        seconds: that its task had taken when the part was written.
    """
    return {
        **_constant(),
        "job": job,
        "task": task,
        "attempt": attempt,
        "batch_size": batch_size,
        "at_once": at_once,
        "halvings": halvings,
        "device": device,
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
