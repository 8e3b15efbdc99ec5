"""`Page` -> one HTML file that needs nothing but itself.

Every value enters the template escaped, with its invisible characters spelled out; data for scripts are JSON in
elements that no browser runs. The content security policy allows the two scripts by their digests and no request; with
`live` it allows requests to the page's own server.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ngrpo.report.page_parts import Page
from ngrpo.report.theme import style_variables
from ngrpo.report.visible_text import visible
from ngrpo.storage import json_line

ASSETS = Path(__file__).parent / "assets"
GENERATOR = "ngrpo report"
_BUNDLE = "window.ngrpoDraw = (element, specification, options) => vegaEmbed(element, specification, options);"


class Live(NamedTuple):
    """How often a page that is served asks for news, and what it is a page of."""

    seconds: int
    version: str


def page_html(page: Page, live: Live | None = None) -> str:
    """Returns the page."""
    from markupsafe import Markup

    bundle, script = _bundle(), (ASSETS / "report.js").read_text(encoding="utf-8")
    charts = {
        f"{figure.slug}/{place}": panel.spec for figure in page.figures() for place, panel in enumerate(figure.panels)
    }
    text: str = _template().render(
        page=page,
        policy=_policy(bundle, script, live=live is not None),
        generator=GENERATOR,
        live_seconds=live.seconds if live else 0,
        live_version=live.version if live else "",
        style=Markup(style_variables() + (ASSETS / "report.css").read_text(encoding="utf-8")),  # noqa: S704
        sampled=_sampled(page.rollouts),
        charts=Markup(embedded_json({"charts": charts})),  # noqa: S704
        rollouts=Markup(embedded_json({"rollouts": page.rollouts})),  # noqa: S704
        bundle=Markup(bundle),  # noqa: S704
        script=Markup(script),  # noqa: S704
    )
    return text


def embedded_json(value: Mapping[str, Any]) -> str:
    r"""Returns an object as JSON that cannot end the element it stands in, nor open a comment.

    >>> embedded_json({"a": "</script><!--"})
    '{"a": "\\u003c/script>\\u003c!--"}'
    """
    return json_line(value).decode().strip().replace("<", "\\u003c")


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_shown)
    environment.filters["visible"] = visible
    return environment.from_string((ASSETS / "report.html.j2").read_text(encoding="utf-8"))


def _shown(value: Any) -> Any:
    """Returns what the template shows of a value: of a text, only what is visible; our own markup as it is."""
    return visible(value) if type(value) is str else value


@functools.cache
def _bundle() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed, and a line that gives the page's script a function to draw with."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle(_BUNDLE)
    return bundle.replace("\r\n", "\n").replace("</script", "<\\/script")


def _policy(*scripts: str, live: bool) -> str:
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    own = " connect-src 'self';" if live else ""
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:;{own} base-uri 'none'; "
        "form-action 'none'"
    )


def _sampled(rollouts: Mapping[str, Any] | None) -> str:
    if rollouts is None:
        return ""
    shown, total, groups = rollouts["shown"], rollouts["total"], len(rollouts["groups"])
    if shown == total:
        return f"All {total:,} completions in {groups:,} groups."
    return (
        f"A sample: {shown:,} of {total:,} completions, in {groups:,} whole groups chosen by a hash of step and "
        "problem, evenly over the steps. All figures above are made from all completions."
    )
