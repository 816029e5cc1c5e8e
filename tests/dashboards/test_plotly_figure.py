"""Figures of plotly: valid by its schema, drawn as their quantity asks, in colours of the style sheet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import httpx
import msgspec
import plotly.graph_objects as go
import plotly.io
import pytest

from techport_dashboards.charts.lines import PRESENTATIONS, Values
from techport_dashboards.charts.marks import Mark
from techport_dashboards.charts.palette import DARK, LIGHT, PALETTES, Palette, Theme
from techport_dashboards.charts.plotly_figure import LABEL_HEIGHT, LABELLED, figure_of
from techport_dashboards.charts.series import Chart, ChartLimit, ChartLine, Flagged
from techport_dashboards.charts.standalone import html_of
from techport_pilots.i18n import Language
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio
ENGLISH = Language("en")
X = [f"2026-11-22T0{hour}:00:00" for hour in range(6)]
Y: list[float | None] = [1.0, 2.0, None, 4.0, 5.0, 3.0]
BAND = Values(X, [0.5, 1.5, None, 3.5, 4.5, 2.5], [1.5, 2.5, None, 4.5, 5.5, 3.5])


def line(device: str = "kran", colour: int = 0, **more: Any) -> ChartLine:
    values = {"band": None, "earlier": None, "interval": 3_600_000, "summary": {}} | more
    return ChartLine(device=device, title=f"The {device}", colour=colour, x=X, y=Y, **values)


def chart(kind: str = "level", **more: Any) -> Chart:
    values = {
        "pilot": "kai-luft",
        "heading": "PM10 · Air at the quay",
        "quantity": "pm10",
        "kind": kind,
        "form": PRESENTATIONS[kind].form,
        "unit": "µg/m³",
        "decimals": 1,
        "start": X[0],
        "end": X[-1],
        "offset": None,
        "zone": "Europe/Oslo, UTC+01:00",
        "every": "PT1H",
        "bucket": 3_600_000,
        "shown": "",
        "summary": "",
        "difference": "",
        "classes": [],
        "limit": None,
        "states": [],
        "marks": [],
        "query": {},
        "lines": [line()],
        "flagged": [],
    }
    return Chart(**values | more)


EVERYTHING: dict[str, Any] = {
    "lines": [line(band=BAND, earlier=(X, Y)), line("port", colour=9, earlier=(X, Y))],
    "flagged": [Flagged("kran", "The kran", 0, [X[1], X[2]], [3.0, 900.0], 2)],
    "classes": [("good", 2), ("fair", 5), ("poor", None)],
    "limit": ChartLimit(4.0, "limit 4 µg/m³", "a directive"),
    "marks": [
        Mark("phase", "baseline", X[0], None),
        Mark("event", "road closed", X[1], X[2]),
        Mark("event", "<b>storm</b> & rain", X[3], None),
        Mark("excluded", "calibration of all sensors along the quay", X[4], X[5]),
    ],
}


def colours_in(part: Any) -> Iterator[str]:
    """Every #rrggbb of a figure, without what makes it translucent."""
    for text in re.findall(r'"(#[0-9a-f]{6})(?:[0-9a-f]{2})?"', json.dumps(part)):
        yield str(text)


def colours_of(palette: Palette) -> list[str]:
    named = [getattr(palette, field.name) for field in fields(palette)]
    return [colour for part in named for colour in ([part] if isinstance(part, str) else part)]


@pytest.mark.parametrize("kind", PRESENTATIONS)
@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("standalone", [False, True])
def test_a_figure_is_valid_by_the_schema_of_plotly(kind: str, theme: Theme, standalone: bool) -> None:
    for drawn in (chart(kind), chart(kind, **EVERYTHING), chart(kind, lines=[])):
        figure = figure_of(drawn, ENGLISH, PALETTES[theme], standalone=standalone)
        opened = go.Figure(figure)
        assert len(opened.data) == len(figure["data"])
        assert len(opened.layout.shapes) == len(figure["layout"]["shapes"])
        assert set(colours_in(figure)) <= set(colours_of(PALETTES[theme]))


def test_the_schema_refuses_what_plotly_does_not_know() -> None:
    figure = figure_of(chart(), ENGLISH)
    with pytest.raises(ValueError, match="colour"):
        go.Figure({**figure, "layout": {**figure["layout"], "font": {"colour": "red"}}})


def test_colours_are_those_of_the_style_sheet() -> None:
    css = (ROOT / "dashboards/techport_dashboards/web/static/css/base.css").read_text()
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", part)) for part in css.split("prefers-color-scheme: dark", 1)
    )
    names = {"text": "--quiet", "grid": "--line", "limit": "--late"}
    for palette, sheet in ((LIGHT, light), (DARK, dark)):
        for field in fields(palette):
            colours, name = getattr(palette, field.name), names.get(field.name, f"--{field.name}")
            if isinstance(colours, str):
                assert sheet[name] == colours
            else:
                assert [sheet[f"{name}-{i}"] for i in range(1, len(colours) + 1)] == list(colours)


def test_a_colour_of_light_pages_has_one_meaning() -> None:
    """Else a page in the dark could not tell which colour to put in its place."""
    light = colours_of(LIGHT)
    assert len(set(light)) == len(light)


def test_the_script_replaces_every_colour() -> None:
    script = (ROOT / "dashboards/techport_dashboards/web/static/js/drawing.js").read_text()
    listed = set(re.findall(r'"(--[\w-]+)"', script))
    assert {"--ink", "--quiet", "--line", "--surface", "--envelope", "--accent", "--late"} == listed
    for name in ("air", "series"):
        (count,) = re.findall(rf"length: (\d+) }}, \(_, i\) => `--{name}-", script)
        assert int(count) == len(getattr(LIGHT, name))


def traces(figure: dict[str, Any], role: str) -> list[dict[str, Any]]:
    return [trace for trace in figure["data"] if trace["meta"]["role"] == role]


def test_a_band_does_not_cross_a_gap() -> None:
    (band,) = traces(figure_of(chart(lines=[line(band=BAND)]), ENGLISH), "band")
    assert band["x"] == [*X[:2], *X[1::-1], None, *X[3:], *X[:2:-1], None]
    assert band["y"] == [1.5, 2.5, 1.5, 0.5, None, 4.5, 5.5, 3.5, 2.5, 4.5, 3.5, None]
    (drawn,) = traces(figure_of(chart(), ENGLISH), "line")
    assert drawn["connectgaps"] is False


def test_a_direction_is_points_on_a_whole_circle() -> None:
    figure = figure_of(chart("direction"), ENGLISH)
    assert traces(figure, "line")[0]["mode"] == "markers"
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < 0 < 360 < high
    assert figure["layout"]["yaxis"]["tickvals"] == [0, 90, 180, 270, 360]


def test_counts_are_bars_from_zero_and_states_are_steps() -> None:
    counts, states = (figure_of(chart(kind), ENGLISH) for kind in ("count", "state"))
    assert traces(counts, "line")[0]["type"] == "bar"
    assert traces(counts, "line")[0]["xperiod"] == 3_600_000
    assert counts["layout"]["yaxis"]["rangemode"] == "tozero"
    assert traces(states, "line")[0]["line"]["shape"] == "hv"


def test_bars_of_devices_stand_on_each_other_and_the_earlier_period_is_one_step_line() -> None:
    both = [line(earlier=(X, [1.0, 2.0, None, 4.0, 5.0, 3.0])), line("port", colour=1, earlier=(X, Y))]
    figure = figure_of(chart("count", lines=both), ENGLISH)
    assert figure["layout"]["barmode"] == "stack"
    (steps,) = traces(figure, "earlier")
    assert steps["line"]["shape"] == "hv"
    assert steps["x"] == [*X[:2], X[2], X[2], *X[3:], "2026-11-22T06:00:00"]
    assert steps["y"] == [2, 4, 4, None, 8, 10, 6, 6], "sums, to the end of the last slot"


def test_flagged_readings_are_drawn_and_set_no_scale() -> None:
    bad = Flagged("kran", "The kran", 0, X[:3], [3.0, 900.0, -900.0], 3)
    figure = figure_of(chart(flagged=[bad]), ENGLISH)
    low, high = figure["layout"]["yaxis"]["range"]
    assert -1 < low < 1, "as the others ask for, which go from 1 to 5"
    assert 5 < high < 6
    (marks,) = traces(figure, "flagged")
    assert marks["y"] == [3.0, high, low]
    assert marks["customdata"] == [3.0, 900.0, -900.0], "what is told of them is their value"
    assert marks["marker"]["symbol"] == ["x-thin-open", "triangle-up-open", "triangle-down-open"]
    alone = figure_of(chart(lines=[], flagged=[bad]), ENGLISH)
    assert alone["layout"]["yaxis"]["range"][1] > 900, "where there are no others, they do"


def test_words_of_marks_stand_above_the_plot() -> None:
    marks = [Mark("event", name, at, None) for name, at in (("early", X[0]), ("late", X[5]))]
    layout = figure_of(chart(marks=marks), ENGLISH)["layout"]
    plain = figure_of(chart(), ENGLISH)["layout"]
    assert {(label["y"], label["yanchor"]) for label in layout["annotations"]} == {(1, "bottom")}
    assert [label["xanchor"] for label in layout["annotations"]] == ["left", "right"], "within the axis"
    room = layout["margin"]["t"] - plain["margin"]["t"]
    assert room > 0
    assert layout["height"] - plain["height"] == room, "the plot keeps its size"


@pytest.mark.parametrize(("limit", "drawn"), [(3.0, True), (8.0, True), (9.0, False)])
def test_a_limit_that_is_near_is_within_the_axis(limit: float, drawn: bool) -> None:
    """Values go from 1 to 5: a limit up to 0.8 of that span above them is near."""
    layout = figure_of(chart(limit=ChartLimit(limit, "the limit", "")), ENGLISH)["layout"]
    low, high = layout["yaxis"]["range"]
    assert (low < limit < high) is drawn
    assert ("the limit" in [label["text"] for label in layout["annotations"]]) is drawn
    assert any(shape["y0"] == limit for shape in layout["shapes"]) is drawn


def test_classes_lie_behind_the_lines_from_zero() -> None:
    layout = figure_of(chart(classes=[("good", 2), ("fair", 5), ("poor", None)]), ENGLISH)["layout"]
    areas = [(shape["y0"], shape["y1"]) for shape in layout["shapes"] if shape["type"] == "rect"]
    assert areas[:2] == [(0.0, 2.0), (2.0, 5.0)]
    assert areas[2][1] > layout["yaxis"]["range"][1], "a reading that comes later may stretch the axis"
    assert {shape["layer"] for shape in layout["shapes"]} == {"below"}
    assert [label["text"] for label in layout["annotations"]] == ["good", "fair"]


@pytest.mark.parametrize("limit", [0.5, 1.0, 1.6, 2.4, 3.4, 4.6, 5.1])
@pytest.mark.parametrize("standalone", [False, True])
def test_names_of_classes_give_way_to_the_words_of_the_limit(limit: float, standalone: bool) -> None:
    drawn = chart(classes=[("good", 2), ("fair", 5), ("poor", None)], limit=ChartLimit(limit, "limit", ""))
    layout = figure_of(drawn, ENGLISH, standalone=standalone)["layout"]
    bottom, top = layout["yaxis"]["range"]
    plot_height = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    line_height = LABEL_HEIGHT / plot_height * (top - bottom)
    places = {label["text"]: label["y"] for label in layout["annotations"]}
    [anchor] = [label["yanchor"] for label in layout["annotations"] if label["text"] == "limit"]
    words_from = limit if anchor == "bottom" else limit - line_height
    assert words_from + line_height <= top + 1e-9, "not where the words of marks are"
    assert {"good", "fair"} <= set(places)
    for name in ("good", "fair"):
        assert (
            places[name] + line_height / 2 <= words_from + 1e-9
            or places[name] - line_height / 2 >= words_from + line_height - 1e-9
        )


def test_words_of_a_definition_are_no_tags() -> None:
    layout = figure_of(chart(**EVERYTHING), ENGLISH)["layout"]
    texts = [label["text"] for label in layout["annotations"]]
    assert "&lt;b>storm&lt;/b> &amp; rain" in texts
    many = chart(marks=[Mark("event", "again", X[0], None)] * 10)
    assert len(figure_of(many, ENGLISH)["layout"]["annotations"]) == LABELLED


def test_numbers_are_written_as_the_reader_does() -> None:
    assert figure_of(chart(), ENGLISH)["layout"]["separators"] == ".,"
    assert figure_of(chart(), Language("nb"))["layout"]["separators"] == ",\u00a0"
    assert traces(figure_of(chart(), ENGLISH), "line")[0]["hovertemplate"] == "%{y:,.1f} µg/m³"


def test_days_are_written_as_the_reader_does() -> None:
    for language, day in ((ENGLISH, "%e %b"), (Language("nb"), "%e. %b")):
        axis = figure_of(chart(), language)["layout"]["xaxis"]
        texts = [stop["value"] for stop in axis["tickformatstops"]] + [axis["hoverformat"]]
        assert [day in text for text in texts] == [False, True, True, False, True], texts


def test_a_page_has_a_place_for_the_latest_reading_of_each_line() -> None:
    lines = [line(), line("port", colour=1)]
    (latest,) = traces(figure_of(chart(lines=lines), ENGLISH), "latest")
    assert latest["meta"]["devices"] == ["kran", "port"]
    assert latest["x"] == latest["y"] == [None, None]
    assert traces(figure_of(chart(lines=lines), ENGLISH, standalone=True), "latest") == []


def test_a_file_ends_no_script_early() -> None:
    drawn = chart(heading="</script><script>alert(1)", lines=[line()])
    figure = figure_of(drawn, ENGLISH, standalone=True)
    text = html_of(figure, b"/* plotly.js */", drawn.heading, ENGLISH, LIGHT).decode()
    assert text.count("</script>") == 3
    assert "&lt;/script&gt;" in text
    (content,) = re.findall(r'id="content">(.*?)</script>', text, re.DOTALL)
    assert msgspec.json.decode(content)["figure"] == json.loads(json.dumps(figure))


QUERY = {"quantity": "pm10", "start": "2025-10-20", "end": "2025-11-10", "lang": "en"}


async def test_a_notebook_opens_the_figure_of_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/pilots/kai-luft/figure.json", params=QUERY)
    assert answer.status_code == 200, answer.text
    figure = plotly.io.from_json(answer.text)
    page = (await client.get("/pilots/kai-luft/chart", params=QUERY)).json()
    drawn = {trace["meta"]["device"]: trace for trace in page["figure"]["data"] if trace["meta"]["role"] == "line"}
    assert [trace.meta["device"] for trace in figure.data] == [*drawn] == ["kran", "port"]
    for trace in figure.data:
        assert list(trace.x) == drawn[trace.meta["device"]]["x"]
        assert list(trace.y) == drawn[trace.meta["device"]]["y"]
        assert trace.line.color == drawn[trace.meta["device"]]["line"]["color"]
    assert "PM10" in figure.layout.title.text
    assert figure.layout.yaxis.title.text == "µg/m³"
    assert figure.layout.meta["query"]["start"] == "2025-10-19T22:00:00.000000Z"


async def test_a_device_has_the_same_colour_whatever_else_is_shown(client: httpx.AsyncClient) -> None:
    async def colours(**more: str) -> dict[str, str]:
        answer = await client.get("/api/v1/pilots/kai-luft/figure.json", params=QUERY | more)
        return {trace["meta"]["device"]: trace["line"]["color"] for trace in answer.json()["data"]}

    both = await colours()
    assert len(set(both.values())) == 2
    assert await colours(device="port") == {"port": both["port"]}


async def test_a_figure_comes_in_dark_colours_and_as_a_file(client: httpx.AsyncClient) -> None:
    dark = (await client.get("/api/v1/pilots/kai-luft/figure.json", params=QUERY | {"theme": "dark"})).json()
    assert dark["layout"]["paper_bgcolor"] == DARK.surface
    answer = await client.get("/api/v1/pilots/kai-luft/figure.html", params=QUERY)
    assert answer.headers["content-disposition"] == 'attachment; filename="kai-luft-pm10-2025-10-20.html"'
    assert len(answer.content) > 1_000_000, "with plotly.js inside"


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("kai-luft/figure.json", {"quantity": "nothing"}, 400),
        ("kai-luft/figure.html", {"start": "then"}, 400),
        ("kai-luft/figure.json", {"theme": "sepia"}, 400),
        ("nowhere/figure.json", {}, 404),
    ],
)
async def test_wrong_questions_are_problems(
    client: httpx.AsyncClient, path: str, more: dict[str, str], status: int
) -> None:
    answer = await client.get(f"/api/v1/pilots/{path}", params=QUERY | more)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
