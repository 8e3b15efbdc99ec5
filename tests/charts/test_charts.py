"""Charts: what is drawn, that no name covers another, and that a page needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ngrpo.charts.chart_files import chart_page, check_chart_path, save_chart
from ngrpo.charts.charts import Line, Panel, line_chart, merged_lines, panel_chart
from ngrpo.errors import ConfigError

LINES = [
    Line("one", [(0.0, 1.0), (1.0, 2.0)]),
    Line("same", [(0.0, 1.0), (1.0, 2.0 + 1e-9)]),
    Line("gap", [(0.0, None), (0.5, 0.5), (1.0, -1.0)]),
]


def chart(lines: list[Line] = LINES, **options: Any) -> dict[str, Any]:
    spec: dict[str, Any] = line_chart(lines, title=["T", "below"], x_title="x", y_title="y", **options).to_dict()
    return spec


def layers_with(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    return [layer for layer in spec["layer"] if layer.get("mark", {}).get("type") == mark]


def datum(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    data = layer["data"]
    values: list[dict[str, Any]] = data["values"] if "values" in data else spec["datasets"][data["name"]]
    return values


def test_equal_lines_are_drawn_once_under_all_their_names() -> None:
    assert [line.name for line in merged_lines(LINES)] == ["one, same", "gap"]
    spec = chart()
    assert len(layers_with(spec, "line")) == 2
    assert [datum(spec, layer)[0]["text"] for layer in layers_with(spec, "text")] == [["one, same"], ["gap"]]


def test_an_undefined_point_stays_undefined() -> None:
    spec = chart()
    assert datum(spec, layers_with(spec, "line")[1])[0] == {"name": "gap", "x": 0.0, "y": None}


def test_a_line_without_any_point_is_left_out_and_nothing_at_all_is_an_error() -> None:
    nothing = Line("nothing", [(0.0, None)])
    assert len(layers_with(chart([*LINES, nothing]), "line")) == 2
    with pytest.raises(ConfigError, match="nothing to draw"):
        chart([nothing])
    with pytest.raises(ConfigError, match="nothing to draw"):
        panel_chart([], title="t", x_title="x", y_title="y")


def test_lines_are_told_apart_by_colour_and_dash_and_the_bold_one_is_black() -> None:
    lines = [Line(f"line {i}", [(0.0, 0.0), (1.0, float(i))]) for i in range(15)]
    marks = [layer["mark"] for layer in layers_with(chart(lines, bold="line 3"), "line")]
    assert len({(mark["color"], tuple(mark["strokeDash"])) for mark in marks}) == 15
    assert [i for i, mark in enumerate(marks) if mark["color"] == "#000000"] == [3]
    assert marks[3]["strokeWidth"] > marks[0]["strokeWidth"]


@pytest.mark.parametrize("ends", [[0.0] * 12, [0.0, 0.01, 0.02, 5.0], [3.0, 1.0, 2.0, 1.0], [-1.0, 1.0]])
def test_no_name_covers_another(ends: list[float]) -> None:
    lines = [Line(f"{i}" + " long name" * (i % 3) * 3, [(0.0, i + 10.0), (1.0, end)]) for i, end in enumerate(ends)]
    spec = chart(lines, size=(300, 400))
    domain = layers_with(spec, "line")[0]["encoding"]["y"]["scale"]["domain"]
    pixels = 400 / (domain[1] - domain[0])
    spans = []
    for layer in layers_with(spec, "text"):
        (label,) = datum(spec, layer)
        centre, half = label["label_y"] * pixels, len(label["text"]) * 7.5
        spans.append((centre - half, centre + half, label["y"]))
    spans.sort()
    for (_, above, end), (below, _, next_end) in itertools.pairwise(spans):
        assert above <= below + 1e-6
        assert end <= next_end, "names stand in the order of the lines' ends"


def test_panels_share_axes_and_colours() -> None:
    panels = [Panel("a", LINES[:1], behind=[LINES[2]]), Panel("b", [Line("one", [(0, 9.0)]), Line("two", [(0, 0.0)])])]
    spec = panel_chart(panels, title="t", x_title="x", y_title="y", columns=1).to_dict()
    drawn = [row["hconcat"][0] for row in spec["vconcat"][1:]]
    lines = [
        part
        for panel in drawn
        for layer in panel["layer"]
        for part in layer.get("layer", [layer])
        if part["mark"]["type"] == "line"
    ]
    assert len({json.dumps(line["encoding"]["y"]["scale"]["domain"]) for line in lines}) == 1
    grey, first, again, other = (line["mark"]["color"] for line in lines)
    assert first == again
    assert len({grey, first, other}) == 3
    assert [panel["title"]["text"] for panel in drawn] == [["a"], ["b"]]


class Scripts(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.inside = False
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.policy = ""
        self.title: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        if self.inside:
            self.texts.append("")
        found = dict(attrs)
        self.sources += [value for key in ("src", "href") if (value := found.get(key))]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def test_a_page_holds_all_it_needs_and_may_ask_for_nothing_else() -> None:
    spec = chart([Line("</script><script>alert(1)</script><!--", [(0.0, 1.0)])])
    page = chart_page(spec, "<b>title</b>")
    found = Scripts(page)
    assert found.sources == []
    specification, script = found.texts
    assert json.loads(specification) == spec
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert found.policy == (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:"
    )
    assert not re.search(r"<script[^>]*src|@import|<link", page)
    assert "<title>&lt;b&gt;title&lt;/b&gt;</title>" in page
    assert "{ast:true," in script[-300:], "the policy forbids scripts to make code"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".json", ".PNG"])
def test_files_are_what_their_names_say(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"chart{suffix}"
    save_chart(line_chart(LINES, title="T", x_title="x", y_title="y"), path)
    content = path.read_bytes()
    if suffix == ".json":
        assert json.loads(content)["title"]["text"] == "T"
    elif suffix == ".svg":
        assert b"one, same" in content
    else:
        position, kinds, pixels = 8, [], b""
        while position < len(content):
            length, kind = struct.unpack_from(">I4s", content, position)
            data = content[position + 8 : position + 8 + length]
            assert struct.unpack_from(">I", content, position + 8 + length) == (zlib.crc32(kind + data),)
            pixels += data if kind == b"IDAT" else b""
            kinds.append(kind)
            position += 12 + length
        width, height = struct.unpack_from(">II", content, 16)
        assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
        assert len(zlib.decompress(pixels)) == height * (4 * width + 1)
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "no partial file is left"


def test_where_no_chart_can_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "c.pdf", tmp_path / "c", tmp_path / "none" / "c.png"):
        with pytest.raises(ConfigError):
            check_chart_path(path)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match="must be a file in a folder that exists"):
        check_chart_path(tmp_path / "folder.png")
