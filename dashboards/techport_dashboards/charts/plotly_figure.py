"""How a quantity over time is drawn: a Chart as a figure of plotly, for pages, notebooks and files alike.

A figure is `{"data": traces, "layout": layout}` in plotly's own JSON: `plotly.io.from_json` opens it and
`Plotly.react` draws it. It is written as dictionaries, which take a thirtieth of the time of `plotly.graph_objects`
(decision 13); tests validate it with those.

    figure_of(chart, language)                    for a page, which has title, legend and table around the plot
    figure_of(chart, language, standalone=True)   with title, legend, axis titles and a background of its own

What a page needs in order to add readings as they come is in each trace's `meta`: its `device` and its `role`, which is
line, earlier, band, flagged or latest.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Any

from techport_dashboards.charts.lines import Column, Values
from techport_dashboards.charts.palette import LIGHT, Palette, with_alpha
from techport_dashboards.charts.series import FINE_BANDS, Chart, ChartLine, Flagged
from techport_pilots.i18n import Language

Trace = dict[str, Any]
Json = dict[str, Any]

DASHES = ("solid", "dot", "dash")  # of devices beyond the number of colours
FEW_POINTS = 40  # below which a line's readings are marked
MANY_LINES = 10  # above which pointing at a chart tells one line's value, not all
LABELLED = 6  # marks of a chart that have their words beside them; the table has all
LONGEST_LABEL = 32  # letters
LABEL_ROWS, LABEL_HEIGHT = 3, 15  # px, of words above the plot
RIGHT = 0.6  # of the axis, from where words of a mark stand to its left
LIMIT_REACH = 0.8  # of the values' span: a limit at most so far above them is shown
ROOM = 0.06  # of the values' span, free above and below
HEIGHT, STANDALONE_HEIGHT = 240, 480  # px
MARGIN = {"l": 46, "r": 10, "t": 8, "b": 42}
"""px around a page's plot; fixed, so that all charts of a page lie alike under one reading line."""
STANDALONE_MARGIN = {"l": 64, "r": 16, "t": 56, "b": 88}
DIRECTION_AXIS = {"range": [-10, 370], "tickvals": [0, 90, 180, 270, 360], "autorange": False}
TRANSPARENT = "rgba(0,0,0,0)"


def figure_of(chart: Chart, language: Language, palette: Palette = LIGHT, *, standalone: bool = False) -> Json:
    """The figure; `standalone` with what a page says around it."""
    return {
        "data": list(_traces(chart, language, palette, standalone)),
        "layout": _layout(chart, language, palette, standalone),
    }


def _traces(chart: Chart, language: Language, palette: Palette, standalone: bool) -> Iterator[Trace]:
    """Bands first, then earlier periods, then lines: later ones are drawn over earlier ones."""
    alpha = 0.16 if len(chart.lines) <= FINE_BANDS else 0.1
    for line in chart.lines:
        if line.band is not None:
            yield _band(line.band, _colour(line, palette), alpha, {"role": "band", "device": line.device})
    for line in chart.lines:
        if line.earlier is not None and chart.form != "bar":
            yield _earlier(line, line.earlier, chart, language, palette)
    yield from (_line(line, chart, palette) for line in chart.lines)
    if chart.form == "bar" and any(line.earlier is not None for line in chart.lines):
        yield _earlier_steps(chart, language, palette)
    heights = _heights(chart)
    yield from (_flagged(flagged, heights, chart, language, palette) for flagged in chart.flagged)
    if chart.form != "bar" and not standalone and chart.lines:
        yield _latest(chart.lines, palette)


def _band(band: Values, colour: str, alpha: float, meta: Json) -> Trace:
    """From lowest to highest as closed outlines, one for each run without a gap: plotly.js would fill across gaps."""
    x: list[str | None] = []
    y: Column = []
    begin = 0
    for end in [*(i for i, low in enumerate(band.low) if low is None), len(band.low)]:
        if end > begin:
            run = slice(begin, end)
            x += [*band.x[run], *band.x[run][::-1], None]
            y += [*band.high[run], *band.low[run][::-1], None]
        begin = end + 1
    return {
        "type": "scatter",
        "mode": "lines",
        "fill": "toself",
        "fillcolor": with_alpha(colour, alpha),
        "line": {"width": 0},
        "x": x,
        "y": y,
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": meta,
    }


def _line(line: ChartLine, chart: Chart, palette: Palette) -> Trace:
    colour = _colour(line, palette)
    common = {
        "x": line.x,
        "y": line.y,
        "name": _plain(line.title),
        "hovertemplate": _hover(chart),
        "meta": {"role": "line", "device": line.device},
        **_state_words(line.y, chart),
    }
    if chart.form == "bar":
        return common | _bar(chart) | {"marker": {"color": colour}}
    if chart.form == "dots":
        return common | {"type": "scatter", "mode": "markers", "marker": {"color": colour, "size": 3}}
    dash = DASHES[line.colour // len(palette.series) % len(DASHES)]
    shape = "hv" if chart.form == "steps" else "linear"
    return common | {
        "type": "scatter",
        "mode": "lines+markers" if len(line.y) < FEW_POINTS else "lines",
        "connectgaps": False,
        "line": {"color": colour, "width": 1.6, "dash": dash, "shape": shape},
        "marker": {"size": 4},
    }


def _earlier(
    line: ChartLine, values: tuple[list[str], Column], chart: Chart, language: Language, palette: Palette
) -> Trace:
    """The earlier period under a line, faint."""
    colour, words = _colour(line, palette), language.gettext("earlier")
    common = {
        "x": values[0],
        "y": values[1],
        "name": f"{_plain(line.title)} ({words})",
        "hovertemplate": _hover(chart),
        "opacity": 0.55,
        "meta": {"role": "earlier", "device": line.device},
        **_state_words(values[1], chart),
    }
    if chart.form == "dots":
        marker = {"color": colour, "size": 3, "symbol": "circle-open"}
        return common | {"type": "scatter", "mode": "markers", "marker": marker}
    stroke = {"color": colour, "width": 1.2, "dash": "dot"}
    return common | {"type": "scatter", "mode": "lines", "connectgaps": False, "line": stroke}


def _earlier_steps(chart: Chart, language: Language, palette: Palette) -> Trace:
    """The earlier period of bars that stand on each other: their sum in each slot, as a step line."""
    sums: dict[str, float] = {}
    for line in chart.lines:
        for x, y in zip(*line.earlier, strict=True) if line.earlier is not None else ():
            if y is not None:
                sums[x] = sums.get(x, 0.0) + y
    slot = dt.timedelta(milliseconds=chart.bucket or 0)
    x_steps: list[str] = []
    y_steps: Column = []
    until: dt.datetime | None = None
    for x in sorted(sums):
        begin = dt.datetime.fromisoformat(x)
        if until is not None and begin > until:  # slots without readings
            x_steps += [until.isoformat(), until.isoformat()]
            y_steps += [y_steps[-1], None]
        x_steps.append(x)
        y_steps.append(sums[x])
        until = begin + slot
    if until is not None:
        x_steps.append(until.isoformat())
        y_steps.append(y_steps[-1])
    return {
        "type": "scatter",
        "mode": "lines",
        "connectgaps": False,
        "x": x_steps,
        "y": y_steps,
        "name": language.gettext("earlier"),
        "line": {"color": palette.ink, "width": 1.6, "dash": "dot", "shape": "hv"},
        "hovertemplate": _hover(chart),
        "meta": {"role": "earlier"},
    }


def _flagged(
    flagged: Flagged, heights: Sequence[float] | None, chart: Chart, language: Language, palette: Palette
) -> Trace:
    """Flagged readings as crosses. Those beyond the axis, which they do not stretch, as arrows at its edge."""
    bottom, top = heights or (-math.inf, math.inf)
    values = [value for value in flagged.y if value is not None]
    unit = f"%{{customdata:,.{chart.decimals}f}} {_plain(chart.unit)}".rstrip()
    return {
        "type": "scatter",
        "mode": "markers",
        "x": flagged.x,
        "y": [min(max(value, bottom), top) for value in values],
        "customdata": values,
        "name": f"{_plain(flagged.title)} ({language.gettext('flagged')})",
        "hovertemplate": unit,
        "showlegend": False,
        "cliponaxis": False,
        "marker": {
            "color": palette.series[flagged.colour % len(palette.series)],
            "size": 7,
            "symbol": [
                "triangle-up-open" if value > top else "triangle-down-open" if value < bottom else "x-thin-open"
                for value in values
            ],
        },
        "meta": {"role": "flagged", "device": flagged.device},
    }


def _latest(lines: Sequence[ChartLine], palette: Palette) -> Trace:
    """Where each line stands this moment, for a page that takes readings as they come: a point a line, empty so far."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [None] * len(lines),
        "y": [None] * len(lines),
        "marker": {
            "size": 7,
            "color": [_colour(line, palette) for line in lines],
            "line": {"color": palette.surface, "width": 1.5},
        },
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": {"role": "latest", "devices": [line.device for line in lines]},
    }


def _bar(chart: Chart) -> Trace:
    """A bar in the middle of its bucket."""
    period = {} if chart.bucket is None else {"xperiod": chart.bucket, "xperiodalignment": "middle"}
    return {"type": "bar"} | period


def _colour(line: ChartLine, palette: Palette) -> str:
    return palette.series[line.colour % len(palette.series)]


def _hover(chart: Chart) -> str:
    if chart.states:
        return "%{customdata}"
    return f"%{{y:,.{chart.decimals}f}} {_plain(chart.unit)}".rstrip()


def _state_words(values: Column, chart: Chart) -> Json:
    """The word of each value of a state, to be shown when it is pointed at."""
    if not chart.states:
        return {}
    named = {float(number): _plain(word) for number, word in enumerate(chart.states)}
    return {"customdata": [None if value is None else named.get(float(value), f"{value:.2f}") for value in values]}


def _ticks(day: str) -> list[Json]:
    """How times are written below an axis: the finer the ticks, the more of the clock and the less of the year."""
    return [
        {"dtickrange": [None, 60_000], "value": "%H:%M:%S"},
        {"dtickrange": [60_000, 43_200_000], "value": f"%H:%M\n{day}"},
        {"dtickrange": [43_200_000, "M1"], "value": f"{day}\n%Y"},
        {"dtickrange": ["M1", None], "value": "%b\n%Y"},
    ]


def _layout(chart: Chart, language: Language, palette: Palette, standalone: bool) -> Json:
    heights = _heights(chart)
    class_shapes, class_labels = _classes(chart, palette, heights, _plot_height(standalone))
    mark_shapes, mark_labels = _marks(chart, palette)
    above = LABEL_HEIGHT * min(LABEL_ROWS, len(mark_labels))  # px: words of marks stand above the plot, on no reading
    day = "%e %b" if language.code == "en" else "%e. %b"
    layout: Json = {
        "margin": MARGIN | {"t": MARGIN["t"] + above},
        "height": HEIGHT + above,
        "autosize": True,
        "paper_bgcolor": TRANSPARENT,
        "plot_bgcolor": TRANSPARENT,
        "font": {"family": "inherit", "size": 12, "color": palette.text},
        "separators": ".," if language.code == "en" else ",\u00a0",
        "dragmode": "zoom" if standalone else False,  # a page's own gestures see to it
        "hovermode": "closest" if len(chart.lines) > MANY_LINES else "x unified",  # pages show all (crosshair.js)
        "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.grid},
        "barmode": "stack",
        "bargap": 0.1,
        "showlegend": False,
        "shapes": class_shapes + mark_shapes,
        "annotations": class_labels + mark_labels,
        "xaxis": {
            "type": "date",
            "range": [chart.start, chart.end],
            "gridcolor": palette.grid,
            "linecolor": palette.grid,
            "hoverformat": f"%a {day} %Y %H:%M:%S",
            "tickformatstops": _ticks(day),
        },
        "yaxis": {
            "fixedrange": not standalone,
            "gridcolor": palette.grid,
            "zeroline": False,
            "rangemode": "tozero" if chart.form == "bar" else "normal",
            "nticks": 6,
            **({} if heights is None else {"range": heights, "autorange": False}),
            **(DIRECTION_AXIS if chart.kind == "direction" else {}),
            **_state_axis(chart),
        },
    }
    return _standing_alone(layout, chart, palette) if standalone else layout


def _state_axis(chart: Chart) -> Json:
    """Words in place of a state's numbers."""
    if not chart.states:
        return {}
    numbers = list(range(len(chart.states)))
    words = [_plain(word) for word in chart.states]
    return {"tickvals": numbers, "ticktext": words, "range": [-0.2, len(words) - 0.8], "autorange": False}


def _standing_alone(layout: Json, chart: Chart, palette: Palette) -> Json:
    """With all that a page says around its plots."""
    title = {"text": _plain(chart.heading), "x": 0.01, "xanchor": "left", "font": {"size": 18, "color": palette.ink}}
    return layout | {
        "title": title,
        "height": STANDALONE_HEIGHT,
        "margin": STANDALONE_MARGIN | {"t": STANDALONE_MARGIN["t"] + layout["margin"]["t"] - MARGIN["t"]},
        "paper_bgcolor": palette.surface,
        "plot_bgcolor": palette.surface,
        "font": layout["font"] | {"family": "sans-serif"},
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.24},
        "xaxis": layout["xaxis"] | {"title": {"text": _plain(chart.zone)}},
        "yaxis": layout["yaxis"] | {"title": {"text": _plain(chart.unit)}},
        "meta": {
            "pilot": chart.pilot,
            "quantity": chart.quantity,
            "unit": chart.unit,
            "zone": chart.zone,
            "shown": chart.shown,
            "query": chart.query,
        },
    }


def _heights(chart: Chart) -> list[float] | None:
    """From where to where the axis of a chart with classes or a limit goes; None leaves it to plotly.js.

    Classes and bars begin at zero. A limit that is not far above the values is within the axis. Flagged readings are
    not asked, unless there are no others.
    """
    if not chart.classes and chart.limit is None and not chart.flagged:
        return None
    columns = [column for line in chart.lines for column in line.columns()]
    numbers = [value for column in columns for value in column if value is not None]
    if not numbers:
        numbers = [value for flagged in chart.flagged for value in flagged.y if value is not None]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    if chart.form == "bar":
        high = max(high, *_stack_heights(chart))
    if chart.limit is not None and high < chart.limit.value <= high + LIMIT_REACH * (high - low):
        high = chart.limit.value
    room = ROOM * (high - low) or 1.0
    return [min(0.0, low) if chart.classes or chart.form == "bar" else low - room, high + room]


def _stack_heights(chart: Chart) -> list[float]:
    """How high the bars of all devices stand together in each slot, now and in the earlier period."""
    heights = [0.0]
    for columns in ([(line.x, line.y) for line in chart.lines], [line.earlier for line in chart.lines]):
        sums: dict[str, float] = {}
        for column in columns:
            for x, y in zip(*column, strict=True) if column is not None else ():
                sums[x] = sums.get(x, 0.0) + (y or 0.0)
        heights += sums.values()
    return heights


def _plot_height(standalone: bool) -> int:
    """px from the bottom of the axis to its top."""
    height, margin = (STANDALONE_HEIGHT, STANDALONE_MARGIN) if standalone else (HEIGHT, MARGIN)
    return height - margin["t"] - margin["b"]


def _classes(
    chart: Chart, palette: Palette, heights: Sequence[float] | None, plot_height: int
) -> tuple[list[Json], list[Json]]:
    """Shapes and labels: classes of what is measured as areas behind the lines, the limit as a stroke over them.

    Areas go on for a whole height above the axis: readings that come later may stretch it. The name of a class gives
    way to the words of the limit, which on a narrow chart reach as far left.
    """
    shapes: list[Json] = []
    labels: list[Json] = []
    if heights is None:
        return shapes, labels
    bottom, top = heights
    reach = top + (top - bottom)
    across = {"xref": "paper", "x0": 0, "x1": 1, "yref": "y", "layer": "below"}
    words = {
        "xref": "paper",
        "yref": "y",
        "showarrow": False,
        "font": {"size": 11, "color": palette.text},
        "bgcolor": with_alpha(palette.surface, 0.7),
    }
    line_height = LABEL_HEIGHT / plot_height * (top - bottom)
    limit = chart.limit if chart.limit is not None and bottom <= chart.limit.value <= top else None
    # Above the stroke, unless that is where the words of marks are.
    above = limit is None or limit.value + line_height <= top
    words_from = None if limit is None else limit.value if above else limit.value - line_height
    begin = bottom
    for (name, upper), colour in zip(chart.classes, palette.air, strict=False):
        end = reach if upper is None else min(float(upper), reach)
        if end <= begin:
            continue
        fill = {"line": {"width": 0}, "fillcolor": with_alpha(colour, 0.16)}
        shapes.append(across | fill | {"type": "rect", "y0": begin, "y1": end})
        if upper is not None and upper < reach:
            shapes.append(across | {"type": "line", "y0": upper, "y1": upper, "line": {"color": colour, "width": 1}})
        place = _class_label(begin, min(end, top), line_height, words_from)
        if place is not None:
            beside = {"x": 0, "xanchor": "left", "xshift": 3, "yanchor": "middle"}  # the newest points are right
            labels.append(words | beside | {"y": place, "text": _plain(name)})
        begin = end
    if limit is not None:
        level = limit.value
        stroke = {"color": palette.limit, "width": 1.5, "dash": "dash"}
        shapes.append(across | {"type": "line", "layer": "above", "y0": level, "y1": level, "line": stroke})
        beside = {"x": 0.4, "xanchor": "center", "yanchor": "bottom" if above else "top"}
        labels.append(words | beside | {"y": level, "text": _plain(limit.text)})
    return shapes, labels


def _class_label(low: float, high: float, line_height: float, words_from: float | None) -> float | None:
    """The middle of a class's name between `low` and `high`, above or below the words of the limit, which begin at
    `words_from`; None where it has no room."""
    half = line_height / 2
    places = [(low + high) / 2]
    if words_from is not None and words_from - half < places[0] < words_from + line_height + half:
        places = [words_from + line_height + half, words_from - half]
    return next((place for place in places if low <= place - half and place + half <= high), None)


def _marks(chart: Chart, palette: Palette) -> tuple[list[Json], list[Json]]:
    """Shapes and labels: phases, events and excluded periods behind the lines, each with its words above the plot."""
    axes = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    shapes: list[Json] = []
    for mark in chart.marks:
        if mark.end is not None:
            colour = palette.envelope if mark.kind == "excluded" else palette.accent
            fill = {"line": {"width": 0}, "fillcolor": with_alpha(colour, 0.13)}
            shapes.append(axes | fill | {"type": "rect", "x0": mark.start, "x1": mark.end})
        else:
            phase = mark.kind == "phase"
            stroke = {
                "color": palette.accent if phase else palette.text,
                "width": 1.5,
                "dash": "solid" if phase else "dot",
            }
            shapes.append(axes | {"type": "line", "x0": mark.start, "x1": mark.start, "line": stroke})
    labels = [
        {
            "x": mark.start,
            "xref": "x",
            "xanchor": "right" if _place(mark.start, chart) > RIGHT else "left",
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "yshift": LABEL_HEIGHT * (place % LABEL_ROWS),
            "text": _plain(_shortened(mark.text)),
            "hovertext": _plain(mark.text),
            "showarrow": False,
            "font": {"size": 11, "color": palette.text},
        }
        for place, mark in enumerate(chart.marks[:LABELLED])
    ]
    return shapes, labels


def _place(x: str, chart: Chart) -> float:
    """Where a time lies on the axis: 0 at its start, 1 at its end."""
    at, start, end = (dt.datetime.fromisoformat(text) for text in (x, chart.start, chart.end))
    return (at - start) / (end - start)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _plain(text: str) -> str:
    """Words of a definition as they are: plotly.js reads tags in its texts."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
