"""A pilot in the browser: what the form shows is the definition, and what it sends becomes one."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.pages import pilot_form
from techport_dashboards.services.definitions import merged
from techport_pilots.access import audit_log
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.definition.load import check_document, parse_definition, read_definition, to_yaml
from techport_pilots.errors import DefinitionError
from techport_pilots.model import PilotDefinition, Position, Text
from techport_pilots.quantities import builtin
from techport_pilots.registry import events, lifecycle
from techport_pilots.registry.registration import status
from techport_pilots.registry.versioning import bump
from techport_simulators.demo import DEMO_PILOTS, REAL_PILOTS, definition_path, example_pilots
from techport_storage import clock
from techport_storage.microseconds import HOUR
from techport_storage.model import Reading
from tests.dashboards.web import City
from tests.odd_texts import ODD, page_problems

pytestmark = pytest.mark.anyio

EVERYTHING = """
id: alt
title: {nb: Alt, en: "Everything, “quoted”"}
question: {en: "Does it help?"}
hypothesis: {nb: "Ja"}
description: {en: "Two\\nlines"}
contact: {name: Kari, email: kari@example.org}
organisations: [{name: Kommunen, role: owner, url: "https://example.org"}]
personal_data: true
data_class: personal
purpose: {nb: Formål}
legal_basis: art. 6 1 e
controller: Kommunen
dpia: "2026/1"
dpia_date: 2026-01-31
timezone: Europe/Helsinki
retention: P18M
quarantine: P90D
looks: [2026-04-01T00:00:00+02:00]
area: [[10.3, 63.3], [10.5, 63.3], [10.5, 63.4]]
sign: {text: {nb: "Her måles støv"}, link: "https://example.org/støv"}
people_counts: {quantities: [pedestrian_count], width: PT1H}
personal_data_classes: ["number plates, replaced at once", faces]
phases:
  - {name: før, kind: baseline, start: 2026-01-01T00:00:00Z, end: 2026-03-01T00:00:30.500+05:30, title: {nb: Før}}
  - {name: "etter, med komma", kind: intervention, start: 2026-03-01T00:00:00Z, end: 2026-06-01T00:00:00Z}
quantities:
  - {name: mine, title: {en: Mine}, unit: m, range: [-40, 60.5]}
  - {name: door, title: {nb: Dør}, unit: "1", kind: state, states: [lukket, {nb: åpen, en: open}], words: {auf: 1}}
kpis:
  - id: k1
    title: {nb: K1}
    quantity: pm10
    statistic: percentile
    percentile: 98.5
    groups: ["a, b", c]
    control: [d]
    hours: [6.5, 18]
    weekdays: [mon, sun]
    target: 0.1
    decimals: 1
    minimum_completeness: 0.333
    adjust: [{quantity: mine, device: one}]
    role: secondary
  - id: k2
    title: {en: K2}
    quantity: pm10.inlet
    statistic: share_above
    threshold: 12345.678
    at_least: true
    compare: {kind: difference, measure: {quantity: pm10.inlet, statistic: share_above, threshold: 1}}
devices:
  - id: one
    group: "a, b"
    streams: [{quantity: pm10, interval: PT1M, range: [0, 5], retention: P1Y}, {quantity: mine}]
  - {id: two, group: c, aliases: ["0012"], streams: [{quantity: pm10}, {quantity: pm10.inlet}]}
  - {id: three, group: d, streams: [{quantity: pm10}]}
sources:
  - topic: "pilots/alt/+/push/json"
    format: json
    device: {level: 3}
    fields: {x: {quantity: pm10, factor: 0.1}, "y: #": mine, "0012": pm10}
    ignore: [z]
    time: {key: t, unit: ms}
  - {topic: "tele/+/SENSOR", format: tasmota, timezone: Europe/Oslo, position: {moves: 50}}
events: [{time: 2026-02-01T00:00:00Z, kind: moved, device: one, text: {nb: Flyttet}, position: {lat: 63.4, lon: 10.4}}]
exclusions: [{start: 2026-01-02T00:00:00Z, end: 2026-01-03T00:00:00Z, reason: {en: "Fire"}, quantity: pm10}]
alerts: [{quantity: pm10, above: 50, lasting: PT1H}]
lends: [{to: "*", device: one}]
"""
OLDER = """
id: older
title: {en: Older dust}
question: {en: "Was there?"}
devices: [{id: a, interval: PT1H, streams: [{quantity: pm10}]}]
"""
PACKAGED = [definition_path(name) for name in (*DEMO_PILOTS, *REAL_PILOTS)]


class Fields(HTMLParser):
    """The fields of the page's editor as a browser would send them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pairs: list[tuple[str, str]] = []
        self._inside = False
        self._select = self._textarea = ""
        self._text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = "editor" in named.get("class", "")
        elif self._inside and tag == "input" and named.get("name"):
            if named.get("type") != "checkbox" or "checked" in named:
                self.pairs.append((named["name"], named["value"]))
        elif self._inside and tag == "select":
            self._select = named["name"]
        elif tag == "option" and self._select and ("selected" in named or self._select not in dict(self.pairs)):
            self.pairs = [pair for pair in self.pairs if pair[0] != self._select]
            self.pairs.append((self._select, named["value"]))
        elif self._inside and tag == "textarea":
            self._textarea, self._text = named["name"], ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._textarea:
            text = self._text.removeprefix("\n").replace("\n", "\r\n")  # as browsers do it
            self.pairs.append((self._textarea, text))
            self._textarea = ""
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._inside = False


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    yield city
    city.close()


@pytest.fixture
async def client(city: City) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(city) as client:
        yield client


def client_of(city: City, **options: str) -> httpx.AsyncClient:
    app = city.app(WebSettings(examples=example_pilots), **options)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


async def send(client: httpx.AsyncClient, path: str, pairs: list[tuple[str, str]], **changed: str) -> httpx.Response:
    """Send the form with some fields changed; `__` in a name stands for a point, a field that is not there is added."""
    fields = {name.replace("__", "."): text for name, text in changed.items()}
    kept = [pair for pair in pairs if pair[0] not in fields]
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return await client.post(path, content=urlencode([*kept, *fields.items()]), headers=headers)


async def fields_of(client: httpx.AsyncClient, path: str) -> list[tuple[str, str]]:
    page = await client.get(path)
    assert page.status_code == 200
    return Fields(page.text).pairs


async def test_every_pilot_comes_out_of_its_form_as_it_went_in(city: City, client: httpx.AsyncClient) -> None:
    texts = [EVERYTHING, *(path.read_text("utf-8") for path in PACKAGED)]
    for text in texts:
        city.import_text(text)
        pilot = parse_definition(text)
        for language in ("nb", "en"):
            path = f"/pilots/{pilot.id}/edit?lang={language}"
            pairs = await fields_of(client, path)
            assert len(pairs) > 30
            answer = await send(client, path, pairs, do="save")
            assert (answer.status_code, answer.headers.get("location")) == (
                303,
                f"/pilots/{pilot.id}/edit?lang={language}&saved=0",
            ), answer.text
            version, written = city.registry.written(pilot.id)
            assert (version, msgspec.json.encode(written)) == (1, msgspec.json.encode(pilot))


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_form_of_a_definition_describes_it_anew(path: Path) -> None:
    """Of every packaged pilot as a new one, with all its rows: what the form knows of is the same."""
    pilot = read_definition(path)
    simple = msgspec.structs.replace(
        pilot,
        kpis=[kpi for kpi in pilot.kpis if kpi.quantity in builtin()],
        devices=[
            msgspec.structs.replace(
                device,
                aliases=[],
                previous=[],
                streams=[
                    msgspec.structs.replace(stream, range=None, interval=None, title=None)
                    for stream in device.streams
                    if stream.quantity in builtin()
                ],
            )
            for device in pilot.devices
        ],
    )
    form = pilot_form.form_of(simple, new=True)
    document, findings = pilot_form.document_from(form, None)
    assert findings == []
    assert check_document(document) == simple


def test_days_on_which_a_pilot_may_decide_are_written_as_dates() -> None:
    pilot = read_definition(PACKAGED[0])
    form = pilot_form.form_of(pilot)
    form.texts["looks"] = "2027-02-01, 15.3.2027, 2027-04-01T12:00, soon"
    document, _ = pilot_form.document_from(form, pilot)
    assert document["looks"] == ["2027-02-01T00:00", "2027-03-15T00:00", "2027-04-01T12:00", "soon"]
    looks = [
        dt.datetime.fromisoformat(text).astimezone() for text in ("2027-02-01T00:00+01:00", "2027-03-15T12:00+01:00")
    ]
    assert (
        pilot_form.form_of(msgspec.structs.replace(pilot, looks=looks)).get("looks") == "2027-02-01, 2027-03-15T12:00"
    )


def test_the_example_of_such_a_day_lies_within_the_intervention() -> None:
    form = pilot_form.PilotForm()
    assert pilot_form.day_of_intervention(form) == "2027-03-01"
    form.add_row("phases", {"kind": "baseline", "start": "2026-01-01T00:00", "end": "2026-03-01T00:00"})
    form.add_row("phases", {"kind": "intervention", "start": "2026-03-01T00:00", "end": "2026-03-31T00:00"})
    assert pilot_form.day_of_intervention(form) == "2026-03-16"


async def test_a_new_pilot_is_a_draft_that_yaml_shows_too(city: City) -> None:
    city.import_text(PACKAGED[0].read_text("utf-8"))
    async with client_of(city, caller="editor", pilot="school-air") as client:
        pairs = await fields_of(client, "/new-pilot?lang=nb")
        answer = await send(
            client,
            "/new-pilot?lang=nb",
            pairs,
            title__nb="Støv på Åsveien",
            question__nb="Hjelper vask?",
            **{
                "phases[0].start": "2027-01-01T00:00",
                "phases[0].end": "2027-02-01T00:00",
                "phases[1].start": "2027-02-01T00:00",
                "phases[1].end": "2027-03-01T00:00",
                "kpis[0].quantity": "pm10",
                "kpis[0].target": "−12,5",
                "kpis[0].target_is": "percent",
                "devices[0].title.nb": "Åsveien øst",
                "devices[0].streams": "Svevestøv PM10, air_temperature",
                "devices[0].interval": "PT10M",
                "devices[0].position.lat": "63,4305",
                "devices[0].position.lon": "10.3951",
            },
            do="save",
        )
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == "/pilots/stov-pa-asveien/edit?lang=nb&saved=1"
        pilot = city.registry.pilot("stov-pa-asveien")
        assert city.registry.state(pilot.id) == "draft"
        assert [(phase.name, phase.start.isoformat()) for phase in pilot.phases] == [
            ("baseline", "2027-01-01T00:00:00+01:00"),
            ("intervention", "2027-02-01T00:00:00+01:00"),
        ]
        (kpi,) = pilot.kpis
        assert (kpi.quantity, kpi.target, kpi.target_is, kpi.title.en) == (
            "pm10",
            -12.5,
            "percent",
            "Particulate matter PM10",
        )
        (device,) = pilot.devices
        assert device.id == "asveien-ost"
        assert [stream.quantity for stream in device.streams] == ["pm10", "air_temperature"]
        assert device.position is not None
        assert (device.position.lat, device.position.lon) == (63.4305, 10.3951)
        file = await client.get("/pilots/stov-pa-asveien/definition.yaml")
        assert file.headers["content-disposition"] == 'attachment; filename="stov-pa-asveien.yaml"'
        assert parse_definition(file.text) == pilot
        members = Accounts(city.registry.database).members(pilot.id)
        assert [(member.email, member.role) for member in members] == [("editor@example.org", "owner")]
        assert (await client.get("/pilots/stov-pa-asveien/people")).status_code == 200, "who creates it owns it at once"


async def test_a_mistake_keeps_what_was_written_and_all_are_told_at_once(city: City, client: httpx.AsyncClient) -> None:
    pairs = await fields_of(client, "/new-pilot")
    wrong = {
        "title.en": "<b>Æ & co</b>",
        "phases[0].start": "2027-02-01T00:00",
        "phases[0].end": "2027-01-01T00:00",
        "kpis[0].quantity": "pm10",
        "kpis[0].target": "about ten",
        "kpis[0].hours": "early",
        "kpis[0].further": "after: {event: [",
        "devices[0].title.en": "Box",
        "devices[0].streams": "pm10, temparature",
        "devices[0].position.lat": "630",
        "devices[0].position.lon": "10",
        "data_class": "open",
        "retention": "soon",
    }
    answer = await send(client, "/new-pilot?lang=en", pairs, **wrong, do="save")
    assert answer.status_code == 422
    assert city.registry.pilots() == []
    sent = dict(Fields(answer.text).pairs)
    assert {name: sent[name] for name in wrong} == wrong
    for name in ("question-nb", "phases-0-end", "kpis-0-target", "kpis-0-hours", "kpis-0-further", "devices-0-streams"):
        assert f'id="{name}-wrong"' in answer.text, name
    for name in ("devices-0-position-lat", "licence", "retention"):
        assert f'id="{name}-wrong"' in answer.text, name
        assert f'href="#{name}"' in answer.text, name
    assert "air_temperature" in answer.text, "the check suggests a name"


async def test_odd_texts_in_every_field_are_answered_with_what_is_wrong(city: City, client: httpx.AsyncClient) -> None:
    """Never with an error of the server, and never as markup; whatever is saved comes back as it was sent."""
    city.import_text(EVERYTHING)
    for path in ("/new-pilot?lang=en", "/pilots/alt/edit?lang=en"):
        pairs = await fields_of(client, path)
        hidden = ("base", "seen", "recorded", "limit")
        for what, odd in ODD.items():
            changed = {name: odd for name, _ in pairs if name not in hidden and not name.endswith((".was", ".further"))}
            changed["kpis[0].further"] = odd
            answer = await send(client, path, pairs, **{**changed, "why": odd, "do": "save"})
            assert answer.status_code in ((400,) if what == "nul" else (303, 422)), (path, what)
            assert page_problems(answer.text) == [], (path, what)
            for do in ("estimate", f"add:{odd}", f"remove:{odd}", odd):
                answer = await send(client, path, pairs, base=odd, do=do)
                assert answer.status_code < 500, (path, what, do)
        for odd in [text for what, text in ODD.items() if what != "nul"]:
            answer = await send(client, path, pairs, title__en=f"a{odd}b", question__en="Q?", do="save")
            assert answer.status_code == 303, answer.text
            name = answer.headers["location"].split("/")[2]
            assert city.registry.pilot(name).title.en == f"a{odd}b".replace("\r\n", "\n")
            pairs = await fields_of(client, path)


async def test_buttons_add_and_remove_rows_without_saving(city: City, client: httpx.AsyncClient) -> None:
    pairs = await fields_of(client, "/new-pilot")
    typed = {"title.en": "Dust", "kpis[0].quantity": "pm25", "phases[1].start": "2027-02-01T00:00"}
    answer = await send(client, "/new-pilot", pairs, **typed, do="add:kpis", limit="no2022-pm10-day")
    assert answer.status_code == 200
    fields = dict(Fields(answer.text).pairs)
    assert {name: fields[name] for name in typed} == typed
    assert fields["kpis[1].quantity"] == "pm10"
    assert fields["kpis[1].threshold"] == "50"
    assert fields["kpis[1].statistic"] == "share_above"
    assert fields["kpis[1].minimum_completeness"] == "85"
    answer = await send(client, "/new-pilot", Fields(answer.text).pairs, do="remove:kpis[0]")
    fields = dict(Fields(answer.text).pairs)
    assert fields["kpis[0].threshold"] == "50"
    assert "kpis[1].quantity" not in fields
    for odd in ("add:nothing", "remove:kpis[9]", "remove:", "add:", "remove:devices[x]"):
        answer = await send(client, "/new-pilot", pairs, do=odd)
        assert answer.status_code in (200, 422), odd
    assert city.registry.pilots() == []


async def test_limits_that_are_told_and_loans_are_edited(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(EVERYTHING)
    path = "/pilots/alt/edit?lang=en"
    pairs = await fields_of(client, path)
    assert dict(pairs)["alerts[0].lasting"] == "PT1H"
    page = await send(client, path, pairs, do="add:alerts", why="")
    changes = {
        "alerts[0].above": "55,5",
        "alerts[1].quantity": "pm10.inlet",
        "alerts[1].below": "-1",
        "alerts[1].device": "two",
        "lends[0].quantity": "pm10",
    }
    answer = await send(client, path, Fields(page.text).pairs, **changes, do="save", why="tests")
    assert answer.status_code == 303, answer.text
    pilot = city.registry.pilot("alt")
    assert [msgspec.to_builtins(alert) for alert in pilot.alerts] == [
        {"quantity": "pm10", "above": 55.5, "below": None, "lasting": "PT1H", "device": None},
        {"quantity": "pm10.inlet", "above": None, "below": -1, "lasting": None, "device": "two"},
    ]
    assert [(loan.to, loan.device, loan.quantity) for loan in pilot.lends] == [("*", "one", "pm10")]
    pairs = await fields_of(client, path)
    answer = await send(client, path, pairs, do="save", **{"alerts[1].above": "5"})
    assert 'id="alerts-1-wrong"' in answer.text, "one of the two"


async def test_sources_quantities_area_sign_and_counts_are_written_in_the_form(
    city: City, client: httpx.AsyncClient
) -> None:
    pairs = await fields_of(client, "/new-pilot")
    for section in ("sources", "quantities"):
        page = await send(client, "/new-pilot?lang=en", pairs, do=f"add:{section}")
        pairs = Fields(page.text).pairs
    written = {
        "title.en": "Harbour",
        "question.en": "Is it?",
        "sources[0].topic": "tele/+/SENSOR",
        "sources[0].fields": "temp: air_temperature\nlevel: {quantity: tide, factor: 0.1}",
        "sources[0].ignore": "rssi, uptime",
        "quantities[0].title.en": "Tide",
        "quantities[0].unit": "cm",
        "quantities[0].range": "−40 – 560,5",
        "kpis[0].quantity": "tide",
        "devices[0].title.en": "Pier",
        "devices[0].streams": "tide, pedestrian_count",
        "devices[0].system": "utm32",
        "devices[0].position.lat": "7 034 310",
        "devices[0].position.lon": "569 400",
        "area": "63.43, 10.39\n\n63,44 10,40\n63.44; 10.38",
        "sign.text.en": "Tide is measured here.",
        "people_counts.quantities": "pedestrian_count",
        "people_counts.width": "PT30M",
        "people_counts.least": "10",
        "personal_data_classes": "faces\n number plates, replaced at once",
    }
    answer = await send(client, "/new-pilot?lang=en", pairs, **written, do="save")
    assert answer.status_code == 303, answer.text
    pilot = city.registry.pilot("harbour")
    [source], [quantity], [device], [kpi] = pilot.sources, pilot.quantities, pilot.devices, pilot.kpis
    assert (source.topic, source.format, source.ignore) == ("tele/+/SENSOR", "tasmota", ["rssi", "uptime"])
    assert {key: (field.quantity, field.factor) for key, field in source.fields.items()} == {
        "temp": ("air_temperature", 1.0),
        "level": ("tide", 0.1),
    }
    assert (quantity.name, quantity.unit, quantity.kind, quantity.range) == ("tide", "cm", "level", (-40, 560.5))
    assert (kpi.quantity, kpi.title.en) == ("tide", "Tide"), "a quantity of the same form"
    assert device.position is not None
    assert (round(device.position.lat, 4), round(device.position.lon, 4)) == (63.4305, 10.3907)
    assert pilot.area == [(10.39, 63.43), (10.40, 63.44), (10.38, 63.44)]
    assert pilot.sign is not None
    assert (pilot.sign.text.en, pilot.sign.link) == ("Tide is measured here.", "")
    assert msgspec.to_builtins(pilot.people_counts) == {
        "quantities": ["pedestrian_count"],
        "width": "PT30M",
        "least": 10,
    }
    assert pilot.personal_data_classes == ["faces", "number plates, replaced at once"]
    path = "/pilots/harbour/edit?lang=en"
    emptied = {name: "" for name in written if name.startswith(("sign", "people", "personal", "area"))}
    answer = await send(client, path, await fields_of(client, path), **emptied, do="save")
    assert answer.status_code == 303, answer.text
    pilot = city.registry.pilot("harbour")
    assert (pilot.sign, pilot.people_counts, pilot.area, pilot.personal_data_classes) == (None, None, [], [])


async def test_what_is_wrong_there_is_told_beside_the_fields_all_at_once(client: httpx.AsyncClient) -> None:
    pairs = await fields_of(client, "/new-pilot")
    for section in ("sources", "quantities"):
        pairs = Fields((await send(client, "/new-pilot", pairs, do=f"add:{section}")).text).pairs
    wrong = {
        "title.en": "Harbour",
        "question.en": "Is it?",
        "sources[0].topic": "a/#/b",
        "sources[0].format": "json",
        "sources[0].fields": "temp: [",
        "sources[0].device.level": "0",
        "sources[0].further": "tiem: t",
        "sources[0].timezone": "Europe/Olso",
        "quantities[0].title.en": "Tide",
        "quantities[0].unit": "centimetres deep",
        "quantities[0].range": "low",
        "devices[0].title.en": "Pier",
        "devices[0].streams": "pm10",
        "devices[0].system": "utm33",
        "devices[0].position.lat": "63.43",
        "devices[0].position.lon": "10.39",
        "area": "63.43, 10.39\nthe pier",
        "sign.link": "javascript:alert(1)",
        "people_counts.least": "1",
    }
    answer = await send(client, "/new-pilot?lang=en", pairs, **wrong, do="save")
    assert answer.status_code == 422
    sent = dict(Fields(answer.text).pairs)
    assert {name: sent[name].replace("\r\n", "\n") for name in wrong} == wrong
    names = wrong.keys() - {"title.en", "question.en", "sources[0].format", "quantities[0].title.en"}
    names -= {"devices[0].title.en", "devices[0].streams", "devices[0].system", "devices[0].position.lon"}
    names -= {"sign.link", "people_counts.least"}
    for name in (*names, "sign.text.nb", "people_counts.quantities"):
        assert f'id="{pilot_form.anchor(name)}-wrong"' in answer.text, name
    answer = await send(client, "/new-pilot?lang=en", pairs, area="10.39, 63.43\n10.4, 63.43\n10.4, 63.44", do="save")
    assert "latitude and longitude in degrees" in answer.text, "in the order of the form, not in the file's"


async def test_readings_are_erased_earlier_by_quantity(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(EVERYTHING)
    path = "/pilots/alt/edit?lang=en"
    pairs = await fields_of(client, path)
    shown = {name: text for name, text in pairs if name.startswith("stream_retention.")}
    assert shown == {
        "stream_retention.pm10": "differs",
        "stream_retention.mine": "",
        "stream_retention.pm10.inlet": "",
    }
    page = await send(client, path, pairs, do="add:devices", **{"stream_retention.mine": "P30D"})
    pairs = Fields(page.text).pairs
    answer = await send(
        client, path, pairs, **{"devices[3].title.en": "Four", "devices[3].streams": "mine, pm10"}, do="save"
    )
    assert answer.status_code == 422, "a KPI adjusts for it over five months"
    assert 'id="stream-retention-mine-wrong"' in answer.text
    pairs = Fields(answer.text).pairs
    answer = await send(client, path, pairs, **{"stream_retention.mine": "P1Y"}, do="save")
    assert answer.status_code == 303, answer.text
    kept = {
        (device.id, stream.quantity): stream.retention
        for device in city.registry.pilot("alt").devices
        for stream in device.streams
    }
    assert kept == {
        ("one", "pm10"): "P1Y",
        ("one", "mine"): "P1Y",
        ("two", "pm10"): None,
        ("two", "pm10.inlet"): None,
        ("three", "pm10"): None,
        ("four", "mine"): "P1Y",
        ("four", "pm10"): None,
    }


class Parts(HTMLParser):
    """The parts of the form: whether each is unfolded, and the line that says what is in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.opened: dict[str, bool] = {}
        self.lines: dict[str, str] = {}
        self._part = ""
        self._in_line = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "details" and "step" in named.get("class", ""):
            self._part = named["aria-labelledby"].removesuffix("-heading")
            self.opened[self._part], self.lines[self._part] = "open" in named, ""
        elif named.get("class") == "state":
            self._in_line = True

    def handle_data(self, data: str) -> None:
        if self._in_line:
            self.lines[self._part] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "summary":
            self._in_line = False


async def test_parts_are_folded_with_a_line_each_and_unfold_where_something_is(
    city: City, client: httpx.AsyncClient
) -> None:
    city.import_text(EVERYTHING)
    path = "/pilots/alt/edit?lang=en"
    page = await client.get(path)
    parts = Parts(page.text)
    assert not any(parts.opened.values())
    assert parts.lines == {
        "question": "Everything, “quoted”",
        "phases": "2 phases",
        "kpis": "2 KPIs",
        "devices": "3 devices",
        "sources": "2 sources · 2 quantities of this pilot",
        "events": "1 event · 1 period is left out",
        "alerts": "1 limit",
        "place": "area of 3 corners · street sign",
        "data": "personal data: people with a role",
    }
    pairs = Fields(page.text).pairs

    async def unfolded(**changed: str) -> set[str]:
        answer = Parts((await send(client, path, pairs, **changed)).text)
        return {part for part, opened in answer.opened.items() if opened}

    assert await unfolded(do="add:kpis") == {"kpis"}
    assert await unfolded(do="add:exclusions", attribution="Me") == {"events", "data"}, "and what is not saved"
    assert await unfolded(do="estimate") == {"kpis"}
    assert await unfolded(do="save", **{"alerts[0].above": "much"}) == {"alerts"}
    answer = await send(client, path, pairs, do="save", **{"alerts[0].above": "much", "area": "here"})
    lines = Parts(answer.text).lines
    assert (lines["alerts"], lines["place"], lines["kpis"]) == ("2 things to fix", "1 thing to fix", "2 KPIs")
    ids = re.findall(r' id="([^"]+)"', page.text)
    assert {name for name in ids if ids.count(name) > 1} == set()
    new = Parts((await client.get("/new-pilot")).text).opened
    assert [part for part, opened in new.items() if opened] == ["question", "phases", "kpis", "devices"]


async def test_what_is_registered_changes_with_a_reason_only(city: City, client: httpx.AsyncClient) -> None:
    text = PACKAGED[0].read_text("utf-8")
    city.import_text(text)
    pilot = parse_definition(text)
    lifecycle.transition(city.registry.database, pilot, "running", "test")
    path = f"/pilots/{pilot.id}/edit"
    page = await client.get(path, params={"lang": "en"})
    assert "The plan was registered on" in page.text
    pairs = Fields(page.text).pairs
    changed = {"question.en": "Something else?", "kpis[0].target": "21"}
    answer = await send(client, path, pairs, **changed, do="save")
    assert answer.status_code == 422
    assert 'id="why-wrong"' in answer.text
    assert city.registry.written(pilot.id) == (1, pilot)
    sent = Fields(answer.text).pairs
    assert dict(sent)["kpis[0].target"] == "21"
    answer = await send(client, path, sent, why="The council asked", do="save")
    assert answer.headers["location"] == f"{path}?saved=2"
    changes = status(city.registry.database, city.registry.pilot(pilot.id)).changes
    assert {(change.field, change.why) for change in changes} == {
        ("question", "The council asked"),
        ("target", "The council asked"),
    }
    texts_only = await fields_of(client, path)
    answer = await send(client, path, texts_only, attribution="Me", do="save")
    assert answer.headers["location"] == f"{path}?saved=3", "no reason is asked for what is not the plan"


async def test_what_two_people_change_is_both_kept_or_said(city: City, client: httpx.AsyncClient) -> None:
    text = PACKAGED[0].read_text("utf-8")
    city.import_text(text)
    pilot = parse_definition(text)
    path = f"/pilots/{pilot.id}/edit"
    first, second = await fields_of(client, path), await fields_of(client, path)
    answer = await send(client, path, first, title__en="From the first", do="save")
    assert answer.status_code == 303
    answer = await send(client, path, second, attribution="From the second", do="save")
    assert answer.headers["location"] == f"{path}?saved=3"
    now = city.registry.pilot(pilot.id)
    assert (now.title.en, now.attribution) == ("From the first", "From the second")
    answer = await send(client, f"{path}?lang=en", second, title__en="Mine", do="save")
    assert answer.status_code == 409
    assert "Somebody else changed this meanwhile: title" in answer.text
    assert city.registry.pilot(pilot.id).title.en == "From the first"
    answer = await send(client, path, Fields(answer.text).pairs, do="save")
    assert answer.headers["location"] == f"{path}?saved=4"
    assert city.registry.pilot(pilot.id).title.en == "Mine"
    assert city.registry.pilot(pilot.id).attribution == "From the second"


def test_documents_are_merged_key_by_key() -> None:
    base = {"a": 1, "b": 2, "c": 3}
    assert merged({**base, "a": 9}, base, {**base, "b": 8}) == ({"a": 9, "b": 8, "c": 3}, [])
    assert merged({"a": 1, "b": 2}, base, {**base, "d": 4}) == ({"a": 1, "b": 2, "d": 4}, [])
    assert merged({**base, "a": 9}, base, {**base, "a": 8}) == ({**base, "a": 9}, ["a"])
    assert merged({**base, "a": 9}, base, {**base, "a": 9}) == ({**base, "a": 9}, [])
    assert merged({"b": 2, "c": 3}, base, {**base, "a": 8}) == ({"b": 2, "c": 3}, ["a"])


def test_lists_of_named_things_are_merged_thing_by_thing() -> None:
    base: dict[str, Any] = {"devices": [{"id": "a"}, {"id": "b"}], "kpis": [{"id": "k", "target": 1}]}
    claimed = {**base, "devices": [*base["devices"], {"id": "claimed"}]}
    added = {**base, "devices": [*base["devices"], {"id": "new"}]}
    both = [{"id": "a"}, {"id": "b"}, {"id": "new"}, {"id": "claimed"}]
    assert merged(added, base, claimed) == ({**base, "devices": both}, [])
    retired = {**base, "devices": [{"id": "b"}]}
    assert merged(added, base, retired) == ({**base, "devices": [{"id": "b"}, {"id": "new"}]}, [])
    mine, theirs = ({**base, "kpis": [{"id": "k", "target": target}]} for target in (2, 3))
    assert merged(mine, base, theirs) == (mine, ["kpis"])
    assert merged({"devices": base["devices"]}, base, theirs) == ({"devices": base["devices"], "kpis": []}, ["kpis"])


@pytest.mark.slow
async def test_a_large_pilot_keeps_what_its_form_does_not_show(city: City, client: httpx.AsyncClient) -> None:
    pilot = parse_definition(EVERYTHING)
    days = [dt.timedelta(days=day) for day in range(700)]
    events_ = [msgspec.structs.replace(pilot.events[0], time=pilot.events[0].time + day) for day in days]
    devices = [msgspec.structs.replace(pilot.devices[2], id=f"box-{number}") for number in range(400)]
    large = msgspec.structs.replace(pilot, events=events_, devices=[*pilot.devices, *devices])
    text = to_yaml(large)
    assert len(text) > 50_000
    answer = await send(client, "/import-pilot", [], text=text)
    assert answer.status_code == 303, answer.text[:2000]
    pairs = await fields_of(client, "/pilots/alt/edit?lang=en")
    answer = await send(client, "/pilots/alt/edit", pairs, do="save")
    assert answer.headers["location"].endswith("saved=0")
    last = f"events[{len(events_) - 1}].text.nb"
    assert dict(pairs)[last] == "Flyttet"
    answer = await send(client, "/pilots/alt/edit", pairs, **{last: "Flyttet igjen"}, do="save")
    assert answer.headers["location"].endswith("saved=2")
    for number in range(70):
        events.add_event(
            city.registry.database, large, msgspec.structs.replace(events_[0], text=Text(str(number))), "k"
        )
    pairs = await fields_of(client, "/pilots/alt/edit?lang=en")
    answer = await send(client, "/pilots/alt/edit", pairs, do="save")
    assert answer.headers["location"].endswith("saved=0")
    assert len(events.added(city.registry.database, "alt")) == 70
    now = city.registry.written("alt")[1]
    assert (len(now.events), len(now.devices)) == (700, 403)
    assert [event.text.nb for event in now.events[-2:]] == ["Flyttet", "Flyttet igjen"]


async def test_a_pilot_that_is_open_by_default_stays_open(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(OLDER + "licence: CC0-1.0\n")
    with city.registry.database.writing() as transaction:
        transaction.execute("INSERT INTO assumed_open (pilot) VALUES ('older')")
        bump(transaction)
    pairs = await fields_of(client, "/pilots/older/edit")
    assert dict(pairs)["data_class"] == "open"
    await send(client, "/pilots/older/edit", pairs, title__en="Older still", do="save")
    assert city.registry.pilot("older").data_class == "open"


async def test_an_id_that_is_taken_is_never_overwritten(city: City) -> None:
    hidden = "id: dust\ntitle: {en: Canary}\nquestion: {en: 'Canary?'}\ndevices: []\n"
    city.import_text(hidden)
    city.import_text(PACKAGED[0].read_text("utf-8"))
    async with client_of(city, caller="editor", pilot="school-air") as client:
        pairs = await fields_of(client, "/new-pilot")
        typed = {"title.en": "Dust", "question.en": "Is there?"}
        answer = await send(client, "/new-pilot?lang=en", pairs, **typed, id="dust", do="save")
        assert answer.status_code == 422
        assert 'id="id-wrong"' in answer.text
        assert "Canary" not in answer.text
        answer = await send(client, "/import-pilot?lang=en", [], text=hidden.replace("Canary", "Mine"))
        assert answer.status_code == 422
        assert "is taken" in answer.text
        answer = await send(client, "/new-pilot", pairs, **typed, do="save")
        assert answer.headers["location"].startswith("/pilots/dust-2/edit")
    assert city.registry.pilot("dust").title == Text(en="Canary")


async def test_a_definition_is_imported_shown_and_changed_as_yaml(city: City, client: httpx.AsyncClient) -> None:
    text = PACKAGED[0].read_text("utf-8")
    answer = await send(client, "/import-pilot", [], text=text.replace("\n", "\r\n"))
    assert answer.headers["location"] == "/pilots/school-air"
    assert city.registry.pilot("school-air") == parse_definition(text)
    assert city.registry.source("school-air", 1) == text, "the file stays as it was written, with its comments"
    page = await client.get("/pilots/school-air/definition")
    shown = dict(Fields(page.text).pairs)["text"].replace("\r\n", "\n")
    assert shown == to_yaml(parse_definition(text))
    answer = await send(client, "/pilots/school-air/definition?lang=en", [], text="title: [\nfoo", why="because")
    assert answer.status_code == 422
    assert dict(Fields(answer.text).pairs)["text"] == "title: [\r\nfoo"
    assert 'value="because"' in answer.text
    for changed, said in (
        (shown.replace("id: school-air", "id: other"), "The id of a pilot stays"),
        (shown.replace("quantity: no2\n", "quantity: nothing_here\n"), "data-line="),
    ):
        answer = await send(client, "/pilots/school-air/definition?lang=en", [], text=changed)
        assert answer.status_code == 422
        assert said in answer.text
    answer = await send(client, "/pilots/school-air/definition", [], text=shown.replace("P2Y", "P3Y"), why="law")
    assert answer.headers["location"] == "/pilots/school-air/definition?saved=2"
    page = await client.get("/pilots/school-air/definition", params={"version": "1"})
    assert "retention: P2Y" in page.text
    assert "law" in page.text
    assert (await client.get("/pilots/school-air/definition", params={"version": "9"})).status_code == 404


async def test_what_was_recorded_is_edited_like_what_was_written(city: City, client: httpx.AsyncClient) -> None:
    """Recorded while the pilot ran: unchanged it stays there, changed it becomes part of the definition."""
    text = PACKAGED[0].read_text("utf-8")
    city.import_text(text)
    database, pilot = city.registry.database, city.registry.pilot("school-air")
    place = Position(63.4, 10.4)
    plough, fire, moved = (
        msgspec.structs.replace(pilot.events[0], text=Text(en=words), kind="moved", device=device, position=place)
        for words, device in (("Plough", None), ("Fire", None), ("Moved", pilot.devices[0].id))
    )
    for event in (plough, fire, moved):
        events.add_event(database, pilot, event, "kari")
    path, own = "/pilots/school-air/edit", len(pilot.events)
    pairs = await fields_of(client, path)
    assert [dict(pairs)[f"events[{own + n}].text.en"] for n in range(3)] == ["Plough", "Fire", "Moved"]
    answer = await send(client, path, pairs, attribution="New", do="save")
    assert answer.headers["location"].endswith("saved=2")
    assert city.registry.written("school-air")[1].events == pilot.events
    assert [one.what for one in events.added(database, "school-air")] == [plough, fire, moved]

    pairs = await fields_of(client, path)
    answer = await send(client, path, pairs, do=f"remove:events[{own}]")
    kept = Fields(answer.text).pairs
    answer = await send(client, path, kept, **{f"events[{own + 1}].text.en": "Moved east"}, do="save")
    assert answer.headers["location"].endswith("saved=3")
    assert [one.what for one in events.added(database, "school-air")] == [fire]
    east = msgspec.structs.replace(moved, text=Text(en="Moved east"))
    assert city.registry.written("school-air")[1].events == [*pilot.events, east], "with its position"

    pairs = await fields_of(client, path)
    events.take_back(database, city.registry.pilot("school-air"), events.added(database, "school-air")[0].id)
    answer = await send(client, path, pairs, attribution="Newer", do="save")
    assert answer.status_code == 303
    assert city.registry.pilot("school-air").events == [*pilot.events, east], "what somebody else removed stays removed"


async def test_the_effect_that_can_be_found_is_estimated_from_another_pilots_days(
    city: City, client: httpx.AsyncClient
) -> None:
    city.import_text(OLDER)
    end = clock.now() // HOUR * HOUR
    hours = 40 * 24
    city.write(
        *(
            Reading("older", "a", "pm10", end - (hours - n) * HOUR, 20 + n % 24 / 4 + n * 7919 % 101 / 20, end)
            for n in range(hours)
        )
    )
    pairs = await fields_of(client, "/new-pilot")
    typed = {
        "title.en": "Dust",
        "question.en": "Less?",
        "phases[0].start": "2027-01-01T00:00",
        "phases[0].end": "2027-02-01T00:00",
        "phases[1].start": "2027-02-01T00:00",
        "phases[1].end": "2027-03-29T00:00",
        "kpis[0].quantity": "pm10",
        "devices[0].title.en": "B",
        "devices[0].streams": "pm10",
    }
    answer = await send(client, "/new-pilot?lang=en", pairs, **typed, do="estimate")
    assert answer.status_code == 200
    assert "With 1 device and 8 weeks of intervention" in answer.text
    assert "Estimated from the days of “Older dust”" in answer.text
    assert [pilot.id for pilot in city.registry.pilots()] == ["older"], "nothing is saved"
    typed["kpis[0].quantity"] = typed["devices[0].streams"] = "no2"
    answer = await send(client, "/new-pilot?lang=en", pairs, **typed, do="estimate")
    assert "There are no two weeks of baseline readings" in answer.text


async def test_an_empty_platform_shows_the_way(city: City, client: httpx.AsyncClient) -> None:
    page = await client.get("/", params={"lang": "en"})
    for way in ('href="/new-pilot?lang=en"', 'href="/import-pilot?lang=en"', 'action="/example-pilot?lang=en"'):
        assert way in page.text
    for path in ("/portfolio", "/catalogue", "/decode", "/people"):
        assert (await client.get(path)).status_code == 200, path
    assert (await client.get("/explore")).headers["location"] == "/"
    assert 'href="/"' in (await client.get("/portfolio")).text.partition("<main")[2]
    answer = await send(client, "/example-pilot", [], example="school-air")
    assert answer.headers["location"] == "/pilots/school-air"
    assert city.registry.state("school-air") == "draft"
    assert (await client.get("/pilots/school-air")).status_code == 200
    assert (await send(client, "/example-pilot", [], example="school-air")).status_code == 409
    assert (await send(client, "/example-pilot", [], example="nothing")).status_code == 404


async def test_the_audit_log_has_what_was_saved_and_no_more(city: City, client: httpx.AsyncClient) -> None:
    pairs = await fields_of(client, "/new-pilot")
    typed = {"title.en": "Dust", "question.en": "Less?"}
    await send(client, "/new-pilot", pairs, **typed, do="add:kpis")
    await send(client, "/new-pilot", pairs, **typed, do="save")
    fields = await fields_of(client, "/pilots/dust/edit")
    await send(client, "/pilots/dust/edit", fields, do="estimate")
    await send(client, "/pilots/dust/edit", fields, licence="CC0-1.0", do="save")
    logged = [(entry.what, entry.pilot) for entry in audit_log.entries(city.registry.database)]
    assert logged == [("POST /pilots/{pilot}/edit", "dust"), ("POST /new-pilot", "dust")]


async def test_who_has_no_role_is_told_whom_to_ask(city: City) -> None:
    async with client_of(city, caller="outsider") as client:
        page = await client.get("/", params={"lang": "en"})
        assert "You have no role in any pilot" in page.text
        assert "/new-pilot" not in page.text
        assert (await client.get("/new-pilot")).status_code == 403


async def test_a_token_of_some_pilots_creates_no_others(city: City) -> None:
    city.import_text(PACKAGED[0].read_text("utf-8"))
    accounts = Accounts(city.registry.database)
    user = accounts.create("kari@example.org", "Kari", "test")
    accounts.grant("school-air", "user", user.id, "owner", "test")
    token = ApiTokens(city.registry.database).create(user.id, "t", ["school-air"], ["see", "edit"])
    secret = token[1] if isinstance(token, tuple) else token
    app = city.app(signed_in=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/x-www-form-urlencoded"}
        for path in ("/new-pilot", "/import-pilot", "/example-pilot"):
            answer = await client.post(path, content="title.en=X&question.en=Y", headers=headers)
            assert answer.status_code == 403, path
    assert [pilot.id for pilot in city.registry.pilots()] == ["school-air"]


async def test_a_closed_pilot_is_not_edited(city: City, client: httpx.AsyncClient) -> None:
    text = PACKAGED[0].read_text("utf-8")
    city.import_text(text)
    pilot = parse_definition(text)
    for state in ("running", "ended", "closed"):
        lifecycle.transition(city.registry.database, pilot, state, "test")
    pairs = await fields_of(client, "/pilots/school-air/edit")
    answer = await send(client, "/pilots/school-air/edit", pairs, title__en="Changed", why="x", do="save")
    assert answer.status_code == 422
    assert city.registry.written("school-air")[0] == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("12.5", 12.5),
        ("12,5", 12.5),
        ("−3", -3),
        ("1 200", 1200),
        ("1\u00a0200,5", 1200.5),
        ("1,200.5", "1,200.5"),
        ("ten", "ten"),
        ("1e400", "1e400"),
        ("nan", "nan"),
        ("9" * 30, "9" * 30),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: object) -> None:
    assert pilot_form._value("number", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("7-16", [7, 16]), ("22–7", [22, 7]), ("06:30 - 18", [6.5, 18]), ("7", "7"), ("a-b", "a-b")],
)
def test_hours_are_read_as_people_write_them(text: str, value: object) -> None:
    assert pilot_form._value("hours", text) == value


def test_findings_belong_to_the_nearest_field() -> None:
    form = pilot_form.PilotForm()
    form.add_row("kpis")
    form.add_row("devices")
    document = {
        "id": "p",
        "kpis": [{"id": "k", "after": {"lag": "x"}}],
        "devices": [{"id": "d", "streams": [{"quantity": "no"}]}],
    }
    document |= {"sources": [{"topic": "a", "format": "nothing"}]}
    with pytest.raises(DefinitionError) as refused:
        check_document(document)
    names = set(pilot_form.placed(refused.value.findings, form))
    assert {"title.nb", "question.nb", "kpis[0].title.nb", "kpis[0].quantity", "kpis[0].further"} <= names


def test_a_new_pilot_needs_no_names_that_can_be_made() -> None:
    form = pilot_form.PilotForm({"title.en": "A & B", "question.en": "Q?"})
    for _ in range(2):
        row = form.add_row("phases", {"kind": "baseline"})
        form.texts[f"{row}.start"] = "2027-01-01T00:00"
    document, _ = pilot_form.document_from(form, None)
    assert document["id"] == "a-b"
    assert [phase["name"] for phase in document["phases"]] == ["baseline", "baseline-2"]


def test_what_is_new_is_empty() -> None:
    empty = PilotDefinition(id="", title=Text(), question=Text(), devices=[])
    assert not any(pilot_form.form_of(empty, new=True).rows.values())
