"""What every chart is made of: panels, one title, one table of rows; and charts as files.

A chart carries its rows once and shows a part of them in each panel. `usermeta` says what a page
needs beside the drawing: title, note, what the columns of its numbers are called.
"""

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from stir_ray.charts.style import CONFIG, ESTIMATORS

Rows = list[dict[str, Any]]
Spec = dict[str, Any]
ROWS = "rows"
"""Name of a chart's data."""
FORMATS = ("png", "svg", "pdf")
WIDTHS = {1: 430, 2: 320, 3: 205}
"""Of a panel, by panels in a row."""
_LETTERS = 119
"""In a line of the note."""
_PNG_SCALE = 2
"""Pixels of a PNG per pixel of the chart: about 220 per inch in a paper."""
# Resources of a page in a PDF. Sorted, they keep their length, and so the offsets of the file.
_RESOURCES = re.compile(rb"(?<=<<\n)(?: +/[a-z]+\d+ \d+ 0 R\n){2,}")
_FONTS = re.compile(rb"\n(\d+) 0 obj\n<<\n  /Type /Font\n  /Subtype /Type0\n")
_TRIES = 50


class Chart(alt.ConcatChart):
    """Panels of one chart, as a Vega-Lite specification.

    Altair shows and saves it like any other chart. The specification is complete as it is: built
    from Altair's objects it would be copied and validated some hundred times, for seconds.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(concat=[])
        object.__setattr__(self, "spec", spec)

    def to_dict(self, *_: Any, **__: Any) -> Spec:
        """Return the specification."""
        return dict(self.spec)


def assemble(
    panels: Sequence[Spec],
    title: str,
    note: str,
    rows: Rows,
    *,
    columns: int,
    params: Sequence[Spec] = (),
    shared: Sequence[str] = (),
    **usermeta: Any,
) -> Chart:
    """Return a chart of panels.

    Args:
        panels: layered charts, without data.
        title: `{epoch}` in it becomes the epoch that is shown.
        note: below the title: sample, and how to read the chart.
        rows: data of all panels.
        columns: panels in a row.
        params: that a reader changes.
        shared: channels whose scales all panels share.
        usermeta: what a page needs besides.
    """
    names = {param["name"] for param in params}
    pattern, title = title, title.replace("{epoch}", str(usermeta.get("epochs", [""])[-1]))
    text: Any = title
    if names:
        spoken = json.dumps(pattern if "shown" in names else title, ensure_ascii=False)
        by = ' + " (" + estimator + " CKA)"' if "estimator" in names else ""
        text = {"expr": spoken.replace("{epoch}", '" + shown + "') + by}
    lines = textwrap.wrap(note, _LETTERS, break_long_words=False, break_on_hyphens=False)
    return Chart(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "title": {"text": text, "subtitle": lines},
            "data": {"name": ROWS},
            "params": list(params),
            "concat": list(panels),
            "columns": columns,
            "resolve": {"scale": dict.fromkeys(shared, "shared")},
            "config": CONFIG,
            "datasets": {ROWS: rows},
            "usermeta": {"title": title, "pattern": pattern, "note": note, **usermeta},
        }
    )


def choose_estimator(estimator: str, options: Iterable[str] = ESTIMATORS) -> list[Spec]:
    """Return the choice of an estimator; none where rows belong to no estimator."""
    if estimator not in {"", *ESTIMATORS}:
        raise ValueError(f"estimator {estimator!r}: use one of {', '.join(ESTIMATORS)}")
    return [choice("estimator", "CKA estimator", list(options), estimator)] if estimator else []


def choice(name: str, text: str, options: Sequence[str], value: str) -> Spec:
    """Return a menu from which a reader chooses; with one option nothing is to choose."""
    bind = {"input": "select", "options": list(options), "name": f"{text} "}
    return {"name": name, "value": value, **({"bind": bind} if len(options) > 1 else {})}


def panel_title(text: str, subtitle: str = "") -> Spec:
    """Return the title of a panel, at the left edge of its axes."""
    title: Spec = {"text": text.split("\n"), "fontSize": 12.5, "offset": 7, "frame": "group"}
    if subtitle:
        title |= {"subtitle": subtitle, "subtitleFontSize": 10.5, "subtitlePadding": 3}
    return title


def when(test: str, then: Any, otherwise: Any) -> Spec:
    """Return an encoding with one value where a test holds, and else another."""
    return {"condition": {"test": test, "value": then}, "value": otherwise}


def calculate(name: str, expression: str) -> Spec:
    return {"calculate": expression, "as": name}


def cell_label(value: str) -> Spec:
    """Calculate `label`, a number as in the cell of a matrix: `.07`, `–.40`, `1.00`."""
    return calculate(
        "label",
        f"!isValid({value}) ? '' : ({value} <= -0.005 ? '–' : '')"
        f" + replace(format(abs({value}), '.2f'), regexp('^0'), '')",
    )


def signed_colour(field: str, title: str, limit: float) -> Spec:
    """Return an encoding of blue below 0, white at 0 and red above, to the same end."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"scheme": "redblue", "reverse": True, "domain": [-limit, limit]},
        "legend": {"gradientLength": 260, "gradientThickness": 9, "format": "~g"},
    }


def save(chart: alt.TopLevelMixin, path: str | Path) -> None:
    """Write a chart to a file.

    Args:
        chart: any of `stir_ray.charts`.
        path: ending in `.png`, `.svg`, `.pdf`, or `.json` for its Vega-Lite specification.

    Raises:
        ValueError: if the path ends otherwise.
    """
    path = Path(path)
    suffix = path.suffix.removeprefix(".")
    if suffix == "json":
        path.write_text(chart.to_json(), encoding="utf-8")
    elif suffix in FORMATS:
        path.write_bytes(render(chart.to_dict(validate=False), suffix)[suffix])
    else:
        raise ValueError(f"{path}: use .png, .svg, .pdf or .json")


def render_estimators(chart: Chart, stem: str) -> dict[str, bytes]:
    """Return a chart in all formats by file name, and `-biased` the same by biased CKA."""
    specs = {stem: chart.to_dict()}
    for param in specs[stem]["params"]:
        if param["name"] == "estimator" and "bind" in param:
            others = [other for other in specs[stem]["params"] if other is not param]
            biased = [*others, {**param, "value": "biased"}]
            specs[f"{stem}-biased"] = {**specs[stem], "params": biased}
    return {
        f"{name}.{suffix}": content
        for name, spec in specs.items()
        for suffix, content in render(spec, *FORMATS).items()
    }


def render(spec: Spec, *formats: str) -> dict[str, bytes]:
    """Draw a chart without a browser or a network, in the same bytes each time, by format."""
    svg = vl_convert.vegalite_to_svg(spec)
    makers: dict[str, Callable[[], bytes]] = {
        "png": lambda: vl_convert.svg_to_png(svg, scale=_PNG_SCALE),
        "svg": svg.encode,
        "pdf": lambda: _pdf(svg),
    }
    return {name: makers[name]() for name in formats}


def _pdf(svg: str) -> bytes:
    # The converter orders fonts, mostly two, and resources at random: convert until the fonts are
    # in order, and sort the resources.
    for _ in range(_TRIES):
        pdf = vl_convert.svg_to_pdf(svg)
        fonts = [int(number) for number in _FONTS.findall(pdf)]
        if fonts == sorted(fonts):
            break
    return _RESOURCES.sub(lambda lines: b"".join(sorted(lines[0].splitlines(keepends=True))), pdf)
