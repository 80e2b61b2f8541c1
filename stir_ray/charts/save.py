"""Charts as files: PNG, SVG and PDF without a browser or a network, the same bytes each time."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

FORMATS = ("png", "svg", "pdf")
_SCALE = 2
"""Pixels of a PNG per pixel of the chart: about 220 per inch in a paper."""
# Resources of a page in a PDF. Sorted, they keep their length, and so the offsets of the file.
_RESOURCES = re.compile(rb"(?<=<<\n)(?: +/[a-z]+\d+ \d+ 0 R\n){2,}")
_FONTS = re.compile(rb"\n(\d+) 0 obj\n<<\n  /Type /Font\n  /Subtype /Type0\n")
_TRIES = 50


def _pdf(svg: str) -> bytes:
    """Return a PDF with the same bytes each time.

    The converter orders fonts, mostly two, and resources at random: convert until the fonts are in
    order, and sort the resources.
    """
    for _ in range(_TRIES):
        pdf = vl_convert.svg_to_pdf(svg)
        fonts = [int(number) for number in _FONTS.findall(pdf)]
        if fonts == sorted(fonts):
            break
    return _RESOURCES.sub(lambda lines: b"".join(sorted(lines[0].splitlines(keepends=True))), pdf)


def render(chart: alt.TopLevelMixin, *formats: str) -> dict[str, bytes]:
    """Return a chart in some formats, by name; in all of `FORMATS` if none is named."""
    return _render(chart.to_dict(validate=False), formats or FORMATS)


def render_estimators(chart: alt.TopLevelMixin, stem: str) -> dict[str, bytes]:
    """Return a chart in all formats by file name, and `-biased` the same by biased CKA."""
    spec = chart.to_dict(validate=False)
    specs = {stem: spec}
    for param in spec.get("params", ()):
        if param["name"] == "estimator" and "bind" in param:
            others = [other for other in spec["params"] if other is not param]
            biased = {**param, "value": "biased"}
            specs[f"{stem}-biased"] = {**spec, "params": [*others, biased]}
    return {
        f"{name}.{kind}": content
        for name, variant in specs.items()
        for kind, content in _render(variant, FORMATS).items()
    }


def _render(spec: dict[str, Any], formats: Sequence[str]) -> dict[str, bytes]:
    svg = vl_convert.vegalite_to_svg(spec)
    makers: dict[str, Callable[[], bytes]] = {
        "png": lambda: vl_convert.svg_to_png(svg, scale=_SCALE),
        "svg": svg.encode,
        "pdf": lambda: _pdf(svg),
    }
    return {name: makers[name]() for name in formats}


def save(chart: alt.TopLevelMixin, path: str | Path) -> None:
    """Write a chart to a file.

    Args:
        chart: any of `stir_ray.charts`.
        path: ending in `.png`, `.svg`, `.pdf`, or `.json` for its Vega-Lite specification.

    Raises:
        ValueError: if the path ends otherwise.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    if kind == "json":
        path.write_text(chart.to_json(), encoding="utf-8")
    elif kind in FORMATS:
        path.write_bytes(render(chart, kind)[kind])
    else:
        raise ValueError(f"{path}: use .png, .svg, .pdf or .json")
