"""From sections to one HTML file: template, style, scripts and data in the same bytes."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stir_ray.report.page.values import embedded

_SCRIPTS = ("data", "theme", "lines", "matrix", "matrix_words", "gallery", "page")
"""In the order in which they are read; they share their names."""
_STATIC = "static"


def assembled(template: str, *, data: Mapping[str, Any], **words: Any) -> bytes:
    """A page.

    Whatever comes from jobs and lakes is text in it: the template escapes all words, the data are
    no script, and the page's policy lets no other script run than those of this package, nor
    anything be asked of a network.

    Args:
        template: name of a file beside this module.
        data: what the scripts draw.
        words: what the template says.
    """
    scripts = [_plotly(), _own_scripts()]
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    page = _environment().get_template(template)
    return page.render(
        # Styles that are set by a script, as Plotly's are, have no digest that one could know.
        policy=f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        style=_text("page.css"),
        scripts=scripts,
        data=embedded(data),
        **words,
    ).encode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("stir_ray.report.page", _STATIC),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


@cache
def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    # As a browser reads it, of which the digest is taken.
    return Markup(get_plotlyjs().replace("\r\n", "\n"))  # noqa: S704 - a script of a package


@cache
def _own_scripts() -> Markup:
    whole = "\n".join(_text(f"{name}.js") for name in _SCRIPTS)
    return Markup(f"(() => {{\n{whole}}})();")  # noqa: S704 - ours


def _text(file: str) -> Markup:
    place = files("stir_ray.report.page") / _STATIC / file
    return Markup(place.read_text(encoding="utf-8"))  # noqa: S704 - ours


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def plots_of(sections: Sequence[Any]) -> dict[str, Any]:
    """All plots of sections by their id, as the page's script looks them up."""
    return {plot.id: plot for section in sections for plot in section.plots}
