"""Devices post Observations: refused with a reason, or in the store under the address that is answered."""

from __future__ import annotations

import base64
import dataclasses
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import anyio
import anyio.from_thread
import httpx
import pytest

from techport_dashboards.settings import NotTaken
from techport_dashboards.sta import writing
from techport_ingest.decoding.lint import explain
from techport_pilots.access.credentials import Credentials
from techport_storage import clock
from techport_storage.model import Reading
from tests.dashboards.web import City
from tests.sta.test_sensorthings import ROOT, datastream

pytestmark = pytest.mark.anyio
AT = "2025-11-02T12:00:00Z"


class Ingest:
    """A broker and an ingest in one: what is posted is in the store when it is acknowledged."""

    def __init__(self, city: City) -> None:
        self._city = city
        self.topics: list[str] = []
        self.away = False

    def __call__(self, topic: str, payload: bytes) -> Future[None]:
        answer: Future[None] = Future()
        if self.away:
            answer.set_exception(NotTaken("the broker takes no messages from here now"))
            return answer
        self.topics.append(topic)
        _, pilot, _, *_ = topic.split("/")
        definition = next(one for one in self._city.registry.pilots() if one.id == pilot)
        found = explain(payload, topic, clock.now(), None, definition)
        self._city.write(
            *(Reading(pilot, one.device, one.quantity, one.time or 0, one.value, clock.now()) for one in found.readings)
        )
        answer.set_result(None)
        return answer


@pytest.fixture
def ingest(city: City) -> Ingest:
    return Ingest(city)


@pytest.fixture
async def sending(city: City, ingest: Ingest) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows the crane's password."""
    app = city.app()
    app.state.services = dataclasses.replace(app.state.services, post=ingest)
    issued = Credentials(city.registry.database).issue("kai-luft", "kran", "test")
    secret = base64.b64encode(f"{issued.username}:{issued.password}".encode()).decode()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers={"Authorization": f"Basic {secret}"}
    ) as client:
        yield client


async def test_what_is_answered_201_is_there(
    client: httpx.AsyncClient, sending: httpx.AsyncClient, ingest: Ingest
) -> None:
    crane = await datastream(client, "kran", "pm10")
    body = {"phenomenonTime": AT, "resultTime": AT, "result": 21.5, "validTime": None}
    answer = await sending.post(f"{ROOT}/Datastreams({crane['@iot.id']})/Observations", json=body)
    assert answer.status_code == 201, answer.text
    there = await client.get(answer.headers["location"])
    assert there.json() == answer.json()
    assert (there.json()["result"], there.json()["phenomenonTime"]) == (21.5, "2025-11-02T12:00:00.000000Z")
    assert ingest.topics == ["pilots/kai-luft/kran/push/native"]

    linked = {"phenomenonTime": "2025-11-02T14:00:00+01:00/2025-11-02T15:00:00+01:00", "result": 22}
    answer = await sending.post(f"{ROOT}/Observations", json=linked | {"Datastream": {"@iot.id": crane["@iot.id"]}})
    assert answer.status_code == 201, answer.text
    assert (await client.get(answer.headers["location"])).json()["phenomenonTime"] == "2025-11-02T13:00:00.000000Z"

    without = await sending.post(f"{ROOT}/Datastreams({crane['@iot.id']})/Observations", json={"result": 23})
    newest = await client.get(f"{ROOT}/Datastreams({crane['@iot.id']})/Observations?$orderby=id desc&$top=1")
    assert newest.json()["value"][0]["@iot.selfLink"] == without.headers["location"]


async def test_arrays_keep_what_can_be_kept(client: httpx.AsyncClient, sending: httpx.AsyncClient) -> None:
    crane = await datastream(client, "kran", "pm10")
    warmth = await datastream(client, "kran", "air_temperature")
    other = await datastream(client, "port", "pm10")
    place = (await client.get(f"{ROOT}/Observations?$top=1&$expand=FeatureOfInterest")).json()["value"][0]
    groups: list[dict[str, Any]] = [
        {
            "Datastream": {"@iot.id": crane["@iot.id"]},
            "components": ["phenomenonTime", "result", "FeatureOfInterest/id"],
            "dataArray@iot.count": 3,
            "dataArray": [
                [AT, 1.5, place["FeatureOfInterest"]["@iot.id"]],
                ["yesterday", 2.5, None],
                ["2025-11-02T13:00:00-0000", 3.5, None],
            ],
        },
        {
            "Datastream": {"@iot.id": other["@iot.id"]},
            "components": ["phenomenonTime", "result"],
            "dataArray": [[AT, 1]],
        },
        {
            "Datastream": {"@iot.id": warmth["@iot.id"]},
            "components": ["result", "resultTime"],
            "dataArray": [["warm", AT], [-3, AT], [-4]],
        },
    ]
    answer = await sending.post(f"{ROOT}/CreateObservations", json=groups)
    assert answer.status_code == 201, answer.text
    links = answer.json()
    assert [link == "error" for link in links] == [False, True, False, True, True, False, True]
    values = [(await client.get(link)).json()["result"] for link in links if link != "error"]
    assert values == [1.5, 3.5, -3]
    reasons = {
        one["number"]: one["detail"] for one in httpx.Response(200, text=answer.headers["techport-errors"]).json()
    }
    assert sorted(reasons) == [2, 4, 5, 7]
    assert "offset" in reasons[2]
    assert "no Datastream" in reasons[4]

    many = [[f"2025-11-03T{i // 60:02d}:{i % 60:02d}:00Z", i / 100] for i in range(1200)]
    group = {"Datastream": groups[2]["Datastream"], "components": ["phenomenonTime", "result"], "dataArray": many}
    answer = await sending.post(f"{ROOT}/CreateObservations", json=[group])
    assert answer.status_code == 201
    assert len(set(answer.json())) == 1200


WRONG: dict[str, tuple[str, Any, int]] = {
    "no JSON": ("Observations", b"{", 400),
    "a list": ("Observations", [], 400),
    "of no Datastream": ("Observations", {"result": 1}, 400),
    "of one that is not": ("Observations", {"result": 1, "Datastream": {"@iot.id": 99_999}}, 404),
    "of another device": ("Datastreams(PORT)/Observations", {"result": 1}, 404),
    "of two": ("Datastreams(CRANE)/Observations", {"result": 1, "Datastream": {"@iot.id": "WARMTH"}}, 400),
    "without a result": ("Datastreams(CRANE)/Observations", {"phenomenonTime": AT}, 400),
    "with a list": ("Datastreams(CRANE)/Observations", {"result": [1]}, 400),
    "with a word": ("Datastreams(CRANE)/Observations", {"result": "much"}, 400),
    "in local time": ("Datastreams(CRANE)/Observations", {"result": 1, "phenomenonTime": "2025-11-02T12:00:00"}, 400),
    "of the future": ("Datastreams(CRANE)/Observations", {"result": 1, "phenomenonTime": "2999-01-01T00:00:00Z"}, 400),
    "at the calendar's end": (
        "Datastreams(CRANE)/Observations",
        {"result": 1, "phenomenonTime": "0001-01-01T00:00:00+14:00"},
        400,
    ),
    "with what is not kept": ("Datastreams(CRANE)/Observations", {"result": 1, "resultQuality": "good"}, 400),
    "with what is not known": ("Datastreams(CRANE)/Observations", {"result": 1, "phenomenontime": AT}, 400),
    "elsewhere": ("Datastreams(CRANE)/Observations", {"result": 1, "FeatureOfInterest": {"@iot.id": 1}}, 400),
    "no array": ("CreateObservations", {"result": 1}, 400),
    "an empty array": ("CreateObservations", [], 400),
    "nothing but errors": (
        "CreateObservations",
        [{"Datastream": {"@iot.id": "PORT"}, "components": ["result"], "dataArray": [[1]]}],
        400,
    ),
    "many of one time": (
        "CreateObservations",
        [
            {
                "Datastream": {"@iot.id": "CRANE"},
                "components": ["phenomenonTime", "result"],
                "dataArray": [[AT, number] for number in range(201)],
            }
        ],
        413,
    ),
    "a Thing": ("Things", {"name": "mine"}, 405),
}


async def test_what_is_wrong_is_refused_with_a_reason(
    client: httpx.AsyncClient, sending: httpx.AsyncClient, ingest: Ingest
) -> None:
    ids = {
        "CRANE": (await datastream(client, "kran", "pm10"))["@iot.id"],
        "WARMTH": (await datastream(client, "kran", "air_temperature"))["@iot.id"],
        "PORT": (await datastream(client, "port", "pm10"))["@iot.id"],
    }

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(one) for name, one in value.items()}
        if isinstance(value, list):
            return [filled(one) for one in value]
        return ids.get(value, value) if isinstance(value, str) else value

    for name, (path, body, status) in WRONG.items():
        for placeholder, entity_id in ids.items():
            path = path.replace(placeholder, str(entity_id))
        sent = {"content": body} if isinstance(body, bytes) else {"json": filled(body)}
        answer = await sending.post(f"{ROOT}/{path}", **sent)
        assert answer.status_code == status, (name, answer.text)
        assert answer.json()["detail"], name
    assert ingest.topics == []


async def test_who_is_no_device_and_a_broker_that_is_away(
    client: httpx.AsyncClient, sending: httpx.AsyncClient, ingest: Ingest
) -> None:
    crane = (await datastream(client, "kran", "pm10"))["@iot.id"]
    path = f"{ROOT}/Datastreams({crane})/Observations"
    answer = await client.post(path, json={"result": 1})
    assert (answer.status_code, "www-authenticate" in answer.headers) == (401, True)
    assert (await client.options(path)).headers["allow"] == "GET, HEAD, POST, OPTIONS"
    ingest.away = True
    answer = await sending.post(path, json={"result": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_few_wait_for_the_store(
    client: httpx.AsyncClient, sending: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits holds a slot that pages need, and what is over a device's budget never comes."""
    path = f"{ROOT}/Datastreams({(await datastream(client, 'kran', 'pm10'))['@iot.id']})/Observations"
    looked, stored = anyio.Event(), threading.Event()

    def is_stored(*_: object) -> bool:
        anyio.from_thread.run_sync(looked.set)
        return stored.is_set()

    monkeypatch.setattr(writing, "MOST_WAITING", 1)
    monkeypatch.setattr(writing, "STORED_WITHIN", 60)
    monkeypatch.setattr(writing, "_stored", is_stored)
    answers: list[int] = []

    async def first() -> None:
        answers.append((await sending.post(path, json={"result": 1, "phenomenonTime": AT})).status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await looked.wait()
        second = await sending.post(path, json={"result": 2, "phenomenonTime": "2025-11-02T13:00:00Z"})
        assert (second.status_code, answers) == (202, [])
        stored.set()
    assert answers == [201]
    third = await sending.post(path, json={"result": 3, "phenomenonTime": "2025-11-02T14:00:00Z"})
    assert third.status_code == 201, "it has let go"
