"""Server-sent events from a real server: what is stored is shown, to each viewer what they watch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.query.live import QUEUE_LENGTH, RESYNC, Subscription, encode
from techport_storage.clock import now
from techport_storage.errors import StoreUnavailable
from techport_storage.microseconds import HOUR
from techport_storage.model import Reading
from tests.dashboards.conftest import START
from tests.dashboards.web import City, serving

FAST = WebSettings(poll_interval=0.05, heartbeat=0.2)
Event = tuple[str, dict[str, Any]]


@contextmanager
def watching(address: str, query: str = "") -> Iterator[Iterator[Event]]:
    """The events of a viewer, from the first on."""
    with httpx.stream("GET", f"{address}/api/v1/live{query}", timeout=20) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


def events(answer: httpx.Response) -> Iterator[Event]:
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def until(stream: Iterator[Event], name: str) -> dict[str, Any]:
    return next(data for event, data in stream if event == name)


@pytest.mark.dates
def test_a_new_reading_arrives(city: City) -> None:
    with serving(city.app(FAST)) as address, watching(address) as stream:
        assert until(stream, "hello") == {"heartbeat": 0.2}
        at = now()
        city.write(Reading("kai-luft", "kran", "pm10", at, 12.5, at))
        (item,) = until(stream, "readings")["items"]
        assert (item["pilot"], item["device"], item["quantity"]) == ("kai-luft", "kran", "pm10")
        assert (item["value"], item["unit"]) == (12.5, "ug/m3")


def test_what_is_stored_after_the_hello_is_told_also_when_the_first_look_is_slow(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = type(city.store).latest

    def slow(*arguments: object) -> object:
        time.sleep(0.5)
        return latest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(city.store), "latest", slow)
    with serving(city.app(FAST)) as address, watching(address) as stream:
        until(stream, "hello")
        at = now()
        city.write(Reading("kai-luft", "kran", "pm10", at, 12.5, at))
        assert until(stream, "readings")["items"][0]["value"] == 12.5


@pytest.mark.dates
def test_a_reading_that_came_late_is_said(city: City) -> None:
    with serving(city.app(FAST)) as address, watching(address, "?pilot=kai-luft") as stream:
        until(stream, "hello")
        city.write(Reading("kai-luft", "kran", "pm10", START - HOUR, 3.0, now()))
        assert until(stream, "late") == {"items": [{"pilot": "kai-luft", "device": "kran", "quantity": "pm10"}]}


def test_a_viewer_of_one_pilot_gets_nothing_of_others(city: City) -> None:
    with serving(city.app(FAST)) as address, watching(address, "?pilot=stille") as stream:
        until(stream, "hello")
        at = now()
        city.write(Reading("kai-luft", "kran", "pm10", at, 12.5, at))
        city.write(Reading("stille", "kran", "laeq", at, 51.0, at))
        items = until(stream, "readings")["items"]
        assert {item["pilot"] for item in items} == {"stille"}


def test_a_pilot_that_is_not_there_is_refused(city: City) -> None:
    with serving(city.app(FAST)) as address:
        answer = httpx.get(f"{address}/api/v1/live?pilot=nobody")
        assert answer.status_code == 400


def test_a_store_that_fails_is_said_and_then_the_readings_go_on(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreUnavailable("away")

    with serving(city.app(FAST)) as address, watching(address) as stream:
        until(stream, "beat")
        with monkeypatch.context() as patch:
            patch.setattr(type(city.store), "latest", broken)
            assert until(stream, "stale") == {"reason": "the store does not answer"}
            at = now()
            city.write(Reading("kai-luft", "kran", "pm10", at, 13.5, at))
        until(stream, "resync")  # ask anew: something may have been missed
        assert until(stream, "readings")["items"][0]["value"] == 13.5


def test_the_server_stops_while_somebody_watches(city: City) -> None:
    with serving(city.app(FAST)) as address:
        stream = watching(address)
        until(stream.__enter__(), "beat")
    stream.__exit__(None, None, None)  # serving() has waited for the server to end


def test_a_slow_viewer_gets_resync_in_place_of_what_it_missed() -> None:
    viewing = Subscription(None)
    news = encode("readings", {"items": []})
    assert all(viewing.offer(news) for _ in range(QUEUE_LENGTH))
    assert not viewing.offer(news)
    assert viewing.queue.get_nowait() == RESYNC
    assert viewing.queue.empty()
