"""A figure as one HTML file that needs nothing else: plotly.js and the readings are inside, and it opens offline."""

from __future__ import annotations

from html import escape
from typing import Any

import msgspec
from babel import Locale

from techport_dashboards.charts.palette import Palette
from techport_pilots.i18n import Language

CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,
    "showEditInChartStudio": False,
    "locale": "file",
}
PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>html {{ background: {background} }} body {{ margin: 0 }} #figure {{ height: 100vh; min-height: 320px }}</style>
</head>
<body>
<div id="figure"></div>
<script>"""
SCRIPT = """</script>
<script type="application/json" id="content">{content}</script>
<script>
const {{ figure, config, locale }} = JSON.parse(document.getElementById("content").textContent);
Plotly.register(locale);
Plotly.newPlot("figure", figure.data, {{ ...figure.layout, height: undefined }}, config);
</script>
</body>
</html>
"""


def html_of(figure: dict[str, Any], plotly_js: bytes, title: str, language: Language, palette: Palette) -> bytes:
    """The file, UTF-8. `figure` has its title and legend; `plotly_js` is the library's source."""
    assert b"</script" not in plotly_js
    content = msgspec.json.encode({"figure": figure, "config": CONFIG, "locale": _locale(language.locale)})
    head = PAGE.format(language=language.code, title=escape(title), background=palette.surface)
    foot = SCRIPT.format(content=content.decode().replace("<", "\\u003c"))
    return head.encode() + plotly_js + foot.encode()


def _locale(locale: Locale) -> dict[str, Any]:
    """Names of days and months for plotly.js, whose weeks begin on Sunday."""

    def days(width: str) -> list[str]:
        names = locale.days["format"][width]
        return [names[day] for day in (6, 0, 1, 2, 3, 4, 5)]

    def months(width: str) -> list[str]:
        names = locale.months["format"][width]
        return [names[month] for month in range(1, 13)]

    return {
        "moduleType": "locale",
        "name": "file",
        "dictionary": {},
        "format": {
            "days": days("wide"),
            "shortDays": days("abbreviated"),
            "months": months("wide"),
            "shortMonths": months("abbreviated"),
            "date": "%d.%m.%Y",
        },
    }
