"""From sections to one HTML file: template, style, script and charts in the same bytes."""

import base64
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stir_ray.charts.blocks import ROWS, Chart
from stir_ray.charts.style import CONFIG
from stir_ray.numerics import criteria
from stir_ray.numerics.correlation import TRANSIENT
from stir_ray.report.hypotheses import Table
from stir_ray.report.sections import Section

# A browser ends a script at `</script`, wherever that stands, and may take `<!--` for a comment.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
_CRITERIA = {
    "converged_residual": criteria.CONVERGED_RESIDUAL,
    "not_inverted_residual": criteria.NOT_INVERTED_RESIDUAL,
    "converged_self_stir": criteria.CONVERGED_SELF_STIR,
    "converged_drift": criteria.CONVERGED_DRIFT,
    "transient": TRANSIENT,
}
_AXES_WIDTH = 70
"""Of labels and titles beside a panel, in pixels."""


@dataclass(frozen=True)
class PageChart:
    """A chart in the page: its words are text of the page, its rows stand there in columns."""

    id: str
    title: str
    words: str
    note: str
    width: int
    spec: Markup


@dataclass(frozen=True)
class PageSection:
    """A section whose charts are ready to be embedded."""

    id: str
    title: str
    words: Sequence[str]
    paper: str
    warnings: Sequence[str]
    tables: Sequence[Table]
    charts: Sequence[PageChart]


def page_sections(sections: Iterable[Section]) -> list[PageSection]:
    """Return sections with their words and charts, each drawn once."""
    return [
        PageSection(
            section.id,
            words["title"],
            [*(text.format(**_CRITERIA) for text in words["words"]), *section.findings],
            words.get("paper", ""),
            section.warnings,
            section.tables,
            [_chart(stem, chart, words) for stem, chart in section.charts.items()],
        )
        for section in sections
        for words in [_words()[section.id]]
    ]


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads(_text("words.toml"))


def _chart(stem: str, chart: Chart, words: Mapping[str, Any]) -> PageChart:
    paragraphs = [text for prefix, text in words.items() if stem.startswith(prefix)]
    spec = chart.to_dict()
    meta = spec["usermeta"]
    for part in ("title", "config", "$schema"):
        del spec[part]
    spec["datasets"] = {ROWS: _in_columns(spec["datasets"][ROWS])}
    # Without the epoch, which a slider changes.
    spec["description"] = meta["pattern"].replace(", epoch {epoch}", "")
    panels = min(spec["columns"], len(spec["concat"]))
    first = spec["concat"][0]
    width = panels * (first.get("width", first.get("layer", [{}])[0].get("width", 0)) + _AXES_WIDTH)
    return PageChart(stem, meta["title"], " ".join(paragraphs), meta["note"], width, embedded(spec))


def _in_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows without the names of their fields, which are half of their length."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {"columns": columns, "rows": [[row.get(name) for name in columns] for row in rows]}


def assembled(template: str, *, mark: str, **words: Any) -> bytes:
    """Return a page.

    What comes from jobs and lakes is text in it: the template escapes all words, charts are data,
    and the policy of the page runs no other script than its own and asks nothing of a network.

    Args:
        template: name of a file in `static`.
        mark: what tells later whether the page is current.
        words: what the template says.
    """
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            policy=f"default-src 'none'; script-src 'sha256-{digest}'; "
            "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'",
            style=Markup(_text("page.css")),  # noqa: S704 - ours
            script=script,
            config=embedded({**CONFIG, "background": None}),
            mark=mark,
            **words,
        )
        .encode()
    )


def embedded(value: Any) -> Markup:
    """Return JSON that stands in a `<script>` and stays text whatever it says.

    Raises:
        ValueError: if a number is not finite.
    """
    # What is not ASCII is escaped: so are U+2028 and U+2029, which end a line of a script.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return Markup(text)  # noqa: S704 - nothing is left in it that HTML would read


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("stir_ray.report.page", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


@cache
def _script() -> Markup:
    """Vega, Vega-Lite, Vega-Embed, and the page's own script, as one module."""
    import vl_convert

    bundle = vl_convert.javascript_bundle(_text("page.js"))
    # As a browser reads it, of which the digest is taken.
    return Markup(bundle.replace("\r\n", "\n"))  # noqa: S704 - scripts of packages and ours


def _text(file: str) -> str:
    return (files("stir_ray.report.page") / "static" / file).read_text(encoding="utf-8")
