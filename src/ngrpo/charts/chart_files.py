"""Writes a chart as PNG or SVG, as an HTML page that needs nothing but itself, or as its specification.

All formats come from the one Vega-Lite specification that an altair chart is. vl-convert is only loaded when a chart is
written.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngrpo.errors import ConfigError
from ngrpo.storage import atomic_file

if TYPE_CHECKING:
    import altair as alt

CHART_FORMATS = (".png", ".svg", ".html", ".json")
"""Endings of the files that `save_chart` writes; .json is the Vega-Lite specification."""

_PIXEL_RATIO = 2.0

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 2em; background: #fff; color: #000; }}</style>
</head>
<body>
<div id="chart"></div>
<script type="application/json" id="specification">{specification}</script>
<script>{script}</script>
</body>
</html>
"""

_DRAW = """
const specification = JSON.parse(document.getElementById("specification").textContent);
vegaEmbed("#chart", specification, {ast: true, actions: {export: true, source: false, editor: false}});
"""


def check_chart_path(path: Path) -> None:
    """Raises ConfigError where `save_chart` could not write: another ending, or no such folder."""
    if path.suffix.lower() not in CHART_FORMATS:
        raise ConfigError(f"{path}: a chart's file ends in {', '.join(CHART_FORMATS)}")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"{path}: must be a file in a folder that exists")


def save_chart(chart: alt.TopLevelMixin, path: Path, *, title: str = "Chart") -> None:
    """Writes a chart in the format that the file's name ends in: .png, .svg, .html or .json.

    Args:
        chart: an altair chart.
        path: where to; a file of that name is replaced.
        title: title of the HTML page.

    Raises:
        ConfigError: for another ending or a folder that does not exist.
    """
    save_specification(chart.to_dict(), path, title=title)


def save_specification(spec: dict[str, Any], path: Path, *, title: str = "Chart") -> None:
    """Writes a chart that is given as its Vega-Lite specification; as `save_chart`."""
    check_chart_path(path)
    with atomic_file(path) as file:
        file.write(_rendered(spec, path.suffix.lower(), title))


def chart_page(spec: dict[str, Any], title: str) -> str:
    """Returns a page that draws a Vega-Lite specification, with all scripts in it.

    Its content security policy allows that one script and no request to anywhere. The chart's expressions are
    interpreted instead of compiled, so that the policy need not allow scripts to make code.
    """
    # "<" could end the element or open a comment from inside a string.
    specification = json.dumps(spec).replace("<", "\\u003c")
    script = _drawing_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:"
    return _PAGE.format(policy=policy, title=html.escape(title), specification=specification, script=script)


@functools.cache
def _drawing_script() -> str:
    """Returns Vega, Vega-Lite and Vega-Embed, and a line that draws the page's specification with them."""
    import vl_convert

    script: str = vl_convert.javascript_bundle(_DRAW)
    return script.replace("\r\n", "\n")


def _rendered(spec: dict[str, Any], suffix: str, title: str) -> bytes:
    import vl_convert

    if suffix == ".png":
        # Nothing is fetched: all data stand in the specification.
        return _repacked(vl_convert.vegalite_to_png(spec, scale=_PIXEL_RATIO, allowed_base_urls=[]))
    if suffix == ".svg":
        return vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).encode()
    text = chart_page(spec, title) if suffix == ".html" else json.dumps(spec, indent=1) + "\n"
    return text.encode()


def _repacked(png: bytes) -> bytes:
    """Returns the same PNG, its pixels packed as small as zlib can: the renderer packs for speed, 2.5 times larger."""
    chunks: list[tuple[bytes, bytes]] = []
    position = 8
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        chunks.append((kind, png[position + 8 : position + 8 + length]))
        position += 12 + length
    pixels = zlib.compress(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), 9)
    kept = [chunk for chunk in chunks if chunk[0] not in (b"IDAT", b"IEND")]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*kept, (b"IDAT", pixels), (b"IEND", b""))
    )
