"""Figures as files: the same bytes for the same figure, and a mark of what it was drawn from."""

import io
import re

from matplotlib.figure import Figure

from stir_ray.report.style import drawing

_DRAWING = 4
"""Bumped by hand when the figures of equal results come to look different."""
_DPI = 200
HEAD_BYTES = 4096
"""Of a saved figure, among which its mark stands."""


def save(figure: Figure, stem: str, *, inputs: str) -> dict[str, bytes]:
    """A figure's files by name: `<stem>.png` and `<stem>.svg`.

    Args:
        figure: its layout is fixed by this.
        stem: of the file names.
        inputs: what says whether the figure is still current, e.g. a digest of the results.

    Raises:
        ValueError: if `inputs` has other characters than letters, digits, `.`, `_`, `:`, `-`.
    """
    mark = _mark(inputs)
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
    return _mark(inputs).encode() in content


def _mark(inputs: str) -> str:
    # Nothing that PNG or SVG would escape or compress, so that the mark stands in the bytes as is.
    if not re.fullmatch(r"[\w.:-]+", inputs, re.ASCII):
        raise ValueError(f"inputs {inputs!r}: use letters, digits, `.`, `_`, `:` and `-`")
    return f"stir_ray figure {_DRAWING} of {inputs}."


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
