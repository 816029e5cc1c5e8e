"""Jinja2 for the pages: everything is escaped, a missing name is an error, texts are in the reader's language."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from techport_dashboards.query import times
from techport_dashboards.viewer import NOBODY, Viewer
from techport_dashboards.web import i18n, navigation
from techport_dashboards.web.assets import Assets
from techport_dashboards.web.dependencies import services_of
from techport_dashboards.web.i18n import SCRIPT_MESSAGES
from techport_dashboards.web.paths import below
from techport_pilots.definition.kinds import kind_named
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import StreamInfo
from techport_storage import clock
from techport_storage.model import Quality

TEMPLATES = Path(__file__).with_name("templates")


def environment(assets: Assets) -> Environment:
    """The templates, with `asset(name)` for addresses of files and `embed(data)` for data that scripts read."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        finalize=without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.tests.update(
        out_of_range=lambda quality: bool(quality & int(Quality.RANGE)),
        odd_clock=lambda quality: bool(quality & int(Quality.CLOCK)),
    )
    templates.filters["commands"] = mark_commands
    templates.filters["segment"] = lambda name: quote(name, safe="")  # one part of a path, whatever is in it
    templates.globals.update(asset=assets.url, embed=embed, iso=times.iso, micros=times.micros)
    templates.globals.update(kind_named=kind_named, named_event_kinds=i18n.named_event_kinds)
    templates.globals.update(worded=worded, words_of=words_of)
    return templates


def worded(value: float, info: StreamInfo, language: Language) -> str:
    """A value as people read it: a word where it is a state, else a number."""
    word = info.word(value)
    return language.number(value, info.decimals) if word is None else language.text(word)


def words_of(info: StreamInfo, language: Language) -> str:
    """The words of a state's numbers, for scripts: JSON."""
    return msgspec.json.encode([language.text(word) for word in info.states]).decode()


_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


_COMMAND = re.compile(r"`([^`]+)`")


def without_controls(value: object) -> object:
    """A value as pages show it: control characters of devices, and those that turn the text behind them around, are
    escaped. Where a form has to send exactly the same text back, the template says `{{ value | e }}`.
    """
    if type(value) is not str or value.isprintable():
        return value
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), value)


def mark_commands(text: object) -> Markup:
    """A sentence in which what stands between backticks is shown as code; everything in it is escaped."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(without_controls(str(text))))))


def embed(data: object) -> Markup:
    """JSON for a `<script type="application/json">`: no `<` in it, so it cannot end the element early."""
    return Markup(msgspec.json.encode(data).decode().replace("<", "\\u003c"))


def language_of(request: Request) -> Language:
    settings = services_of(request).settings
    return i18n.pick(request.query_params.get("lang"), request.headers.get("accept-language", ""), settings.language)


def address_of_page(request: Request, path: str, **parameters: str) -> str:
    """A page's address. A `?lang=` that was asked for goes on in it, for nothing is kept in cookies."""
    asked = request.query_params.get("lang")
    parameters = {**({"lang": asked} if asked else {}), **parameters}
    return f"{path}?{urlencode(parameters)}" if parameters else path


def see_other(request: Request, path: str, *, fragment: str = "", **parameters: str) -> RedirectResponse:
    """To a page after a form, in the language of the form, so that reloading it repeats nothing."""
    address = address_of_page(request, path, **parameters)
    return RedirectResponse(f"{address}#{fragment}" if fragment else address, 303)


def render(request: Request, template: str, language: Language, status: int = 200, **values: Any) -> Response:
    """The page, in whose links the language goes on (address_of_page)."""
    viewer: Viewer = getattr(request.state, "viewer", NOBODY)
    link = partial(address_of_page, request)

    def in_language(code: str) -> str:
        others = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
        return f"{request.url.path}?{urlencode([*others, ('lang', code)])}"

    text = (
        services_of(request)
        .templates.get_template(template)
        .render(
            _=language.gettext,  # as a plain function, so that it can be handed to macros of other templates
            gettext=language.gettext,
            ngettext=language.ngettext,
            n_=language.ngettext,
            language=language,
            link=link,
            in_language=in_language,
            places=navigation.by_group(navigation.tabs(navigation.MAIN, request.url.path, link, viewer)),
            tabs=_tabs(request, link, viewer, values.get("pilot")),
            viewer=viewer,
            request_lang=request.query_params.get("lang"),
            printed=language.date_time(clock.now(), services_of(request).settings.zone),
            query_items=request.query_params.multi_items(),
            request_path=f"{request.url.path}?{request.url.query}".rstrip("?"),
            script_messages={message: language.gettext(message) for message in SCRIPT_MESSAGES},
            wall=request.query_params.get("wall") in ("1", "true"),
            heartbeat=services_of(request).settings.heartbeat,
            root=below(request.scope, ""),
            **{"public": False, "embedded": False, **values},
        )
    )
    headers = {"Content-Language": language.code, "Vary": "Accept-Language", "Cache-Control": "no-cache"}
    return Response(text, status, headers, "text/html; charset=utf-8")


def _tabs(
    request: Request, link: Callable[..., str], viewer: Viewer, pilot: object
) -> list[tuple[str, list[navigation.Tab]]]:
    """A pilot's tabs by their menus, for pages that are about one."""
    if not isinstance(pilot, PilotDefinition):
        return []
    return navigation.by_group(navigation.tabs(navigation.OF_PILOT, request.url.path, link, viewer, pilot.id))
