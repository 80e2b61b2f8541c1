"""The page of a job, and that of several: one file that holds all there is and needs nothing else.

Words that belong to sections, whatever the job, stand in `static/words.toml`.
"""

import base64
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stir_ray import __version__, charts
from stir_ray.charts.blocks import ROWS, Chart, Rows
from stir_ray.charts.comparison import NamedResults, PublishedNumbers
from stir_ray.charts.curves import METRICS
from stir_ray.charts.readings import compared_model
from stir_ray.charts.style import CONFIG, model_at
from stir_ray.numerics import criteria
from stir_ray.numerics.correlation import TRANSIENT
from stir_ray.report.about import About
from stir_ray.report.job_results import JobResults
from stir_ray.report.sections import Section, sections

# A browser ends a script at `</script`, wherever that stands, and may take `<!--` for a comment.
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_CRITERIA = {
    "converged_residual": criteria.CONVERGED_RESIDUAL,
    "not_inverted_residual": criteria.NOT_INVERTED_RESIDUAL,
    "converged_self_stir": criteria.CONVERGED_SELF_STIR,
    "converged_drift": criteria.CONVERGED_DRIFT,
    "transient": TRANSIENT,
}
_AXES_WIDTH = 70
"""Of labels and titles beside a panel, in pixels."""


def job_page(about: About, shown: JobResults) -> bytes:
    return _page(
        "job.html.jinja",
        title=f"{about.name}: what training did to invariances",
        about=about,
        tiles=list(_tiles(shown.results)) if shown.results is not None else [],
        sections=_sections(sections(shown)),
    )


def comparison_page(
    jobs: Sequence[NamedResults],
    differing: pd.DataFrame,
    *,
    title: str,
    published: PublishedNumbers | None = None,
) -> bytes:
    """Return the page of several jobs.

    Args:
        jobs: two or more, by names that tell them apart.
        differing: their settings and outcomes.
        title: of the page.
        published: numbers of others, dashed.
    """
    drawn = {"jobs-by-layer": charts.compare_jobs(jobs, published=published)}
    if any(len(compared_model(job.results).epochs) > 1 for job in jobs):
        drawn["jobs-over-epochs"] = charts.compare_jobs_over_epochs(jobs)
    return _page(
        "compared.html.jinja",
        title=title,
        names=[job.name for job in jobs],
        sections=_sections([Section("jobs", drawn)]),
        differing=differing,
    )


def _tiles(results: xr.Dataset) -> Iterator[tuple[str, str, str]]:
    """Forgetting, learning and CKA divergence of the deepest layer that has a number."""
    compared = compared_model(results)
    model = model_at(compared.model, compared.epochs[-1], results)
    for metric in ("forgetting", "learning", "cka_divergence"):
        curve, biased = (compared.curve(metric, by) for by in ("unbiased", "biased"))
        defined = np.flatnonzero(np.isfinite(curve.mean[-1]))
        if defined.size:
            n = defined[-1]
            std = f" ± {curve.std[-1, n]:.2f}" if np.isfinite(curve.std[-1, n]) else ""
            by = f"unbiased CKA (biased: {number(biased.mean[-1, n])})"
            moving = "; still moving" if curve.moving[-1, n] else ""
            detail = f"layer {curve.layers[n]}, {model}, {by}{moving}"
            yield METRICS[metric], f"{number(curve.mean[-1, n])}{std}", detail


def number(value: float) -> str:
    """Return a number with two decimals; what is nearly 0 has no sign."""
    rounded = round(float(value), 2)
    return f"{'−' if rounded < 0 else ''}{abs(rounded):.2f}"


def _sections(drawn: Iterable[Section]) -> list[dict[str, Any]]:
    """Return sections with their words, their charts ready to be embedded."""
    every_word = tomllib.loads(_text("words.toml"))
    parts = []
    for section in drawn:
        words = every_word[section.id]
        paragraphs = [text.format(**_CRITERIA) for text in words["words"]]
        parts.append(
            {
                "id": section.id,
                "title": words["title"],
                "words": [*paragraphs, *section.findings],
                "paper": words.get("paper", ""),
                "warnings": section.warnings,
                "tables": section.tables,
                "charts": [_chart(stem, chart, words) for stem, chart in section.charts.items()],
            }
        )
    return parts


def _chart(stem: str, chart: Chart, words: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chart whose words are text of the page, and whose rows stand in columns."""
    spec = chart.to_dict()
    meta, first = spec["usermeta"], spec["concat"][0]
    for part in ("title", "config", "$schema"):
        del spec[part]
    spec["datasets"] = {ROWS: _in_columns(spec["datasets"][ROWS])}
    # Without the epoch, which a slider changes.
    spec["description"] = meta["pattern"].replace(", epoch {epoch}", "")
    width = min(spec["columns"], len(spec["concat"])) * (first["width"] + _AXES_WIDTH)
    return {
        "id": stem,
        "title": meta["title"],
        "words": " ".join(text for prefix, text in words.items() if stem.startswith(prefix)),
        "note": meta["note"],
        "width": width,
        "spec": embedded(spec),
    }


def _in_columns(rows: Rows) -> dict[str, Any]:
    """Return rows without the names of their fields, which are half of their length."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {"columns": columns, "rows": [[row.get(name) for name in columns] for row in rows]}


def embedded(value: Any) -> Markup:
    """Return JSON that stands in a `<script>` and stays text whatever it says.

    Raises:
        ValueError: if a number is not finite.
    """
    # What is not ASCII is escaped: so are U+2028 and U+2029, which end a line of a script.
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))  # noqa: S704 - nothing is left that HTML would read


def _page(template: str, **words: Any) -> bytes:
    """Return a page.

    What comes from jobs and lakes is text in it: the template escapes all words, charts are data,
    and the policy of the page runs no other script than its own and asks nothing of a network.
    """
    environment = Environment(
        loader=PackageLoader("stir_ray.report", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template(template).render(
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        style=Markup(_text("page.css")),  # noqa: S704 - ours
        script=script,
        config=embedded({**CONFIG, "background": None}),
        generator=f"stir_ray {__version__}",
        **words,
    )
    return page.encode()


@cache
def _script() -> Markup:
    """Vega, Vega-Lite, Vega-Embed, and the page's own script, as one module."""
    bundle = vl_convert.javascript_bundle(_text("page.js"))
    # As a browser reads it, of which the digest is taken.
    return Markup(bundle.replace("\r\n", "\n"))  # noqa: S704 - scripts of packages and ours


def _text(file: str) -> str:
    return (files("stir_ray.report") / "static" / file).read_text(encoding="utf-8")
