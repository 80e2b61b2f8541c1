"""Figures as files: the same bytes for the same figure, and a mark of what it was drawn from."""

import io
import re

from matplotlib.figure import Figure

from stir_ray.report.style import drawing

_DRAWING = 7
"""Bumped by hand when the figures of equal results come to look different."""
_DPI = 200
HEAD_BYTES = 4096
"""Of a saved figure, among which its mark stands."""
_MARK = re.compile(rb"stir_ray figure \d+ of ([\w.:-]+) as ([\w.:-]+?)\.")


def save(figure: Figure, stem: str, *, inputs: str) -> dict[str, bytes]:
    """A figure's files by name: `<stem>.png` and `<stem>.svg`.

    Args:
        figure: its layout is fixed by this.
        stem: of the file names.
        inputs: what says whether the figure is still current, e.g. a digest of the results.

    Raises:
        ValueError: if one of the two has other characters than letters, digits, `.`, `_`, `:`
            and `-`.
    """
    mark = f"{_mark(inputs)} as {_plain('stem', stem)}."
    with drawing():
        _fix_layout(figure)
        return {
            f"{stem}.png": _encode(figure, "png", {"Software": None, "Comment": mark}),
            f"{stem}.svg": _encode(figure, "svg", {"Date": None, "Creator": None, "Source": mark}),
        }


def is_current(content: bytes, inputs: str) -> bool:
    """Whether a saved figure was drawn from these inputs by the code of today.

    Args:
        content: its bytes, or the first `HEAD_BYTES` of them.
        inputs: as of `save`.
    """
    return f"{_mark(inputs)} as ".encode() in content


def drawn_as(content: bytes) -> tuple[str, str] | None:
    """What a saved figure was drawn from, and its stem; None of any other file.

    Args:
        content: as of `is_current`.
    """
    found = _MARK.search(content)
    return (found[1].decode(), found[2].decode()) if found else None


def _mark(inputs: str) -> str:
    return f"stir_ray figure {_DRAWING} of {_plain('inputs', inputs)}"


def _plain(name: str, said: str) -> str:
    # Nothing that PNG or SVG would escape or compress, so that the mark stands in the bytes as is.
    if not re.fullmatch(r"[\w.:-]+", said, re.ASCII):
        raise ValueError(f"{name} {said!r}: use letters, digits, `.`, `_`, `:` and `-`")
    return said


def _fix_layout(figure: Figure) -> None:
    """Lay out once: again would take seconds, and move things by a hair and so change the bytes."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def _encode(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
    return content.getvalue()
