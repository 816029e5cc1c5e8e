"""A platform on which every example of the API's description has something to show."""

from __future__ import annotations

from pathlib import Path

import httpx
from fastapi import FastAPI

from techport_dashboards import WebSettings
from techport_pilots.accounting.commit_log import CommitLog, CommitSpan
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import DeviceDay, QuarantineEntry, Tally
from techport_storage.microseconds import DAY, HOUR, SECOND
from techport_storage.model import Reading
from tests.dashboards.web import City

SCHOOL = """
id: school-air
title: {nb: Luft ved skolene, en: Air at the schools}
question: {nb: "Blir lufta renere?", en: "Is the air cleaner?"}
data_class: open
licence: CC-BY-4.0
attribution: Trondheim kommune
organisations: [{name: Trondheim kommune, role: owner}]
devices:
  - id: ila-skole
    title: {nb: Ila skole, en: Ila school}
    kind: SPS30
    group: streets
    position: {lat: 63.4297, lon: 10.3705}
    interval: PT1H
    streams: [{quantity: pm10}, {quantity: air_temperature}]
  - id: kuhaugen
    position: {lat: 63.424, lon: 10.435}
    interval: PT1H
    streams: [{quantity: pm10}]
phases:
  - {name: before, kind: baseline, start: 2026-09-01, end: 2026-09-21}
  - {name: after, kind: intervention, start: 2026-09-21, end: 2026-10-11}
kpis:
  - {id: dust, title: {nb: Svevestøv, en: Dust}, quantity: pm10, target: 20}
events:
  - {time: 2026-09-03T08:00:00+02:00, kind: calibrated, device: ila-skole, text: {en: Zero air}}
"""
START = 1_788_220_800 * SECOND  # 2026-09-01T00:00Z
HOURS = 40 * 24


def build(folder: Path, school: str = SCHOOL) -> City:
    """40 days of hours with a gap, an entry in quarantine and a device that nobody knows."""
    city = City.at(folder)
    city.import_text(school)
    streams = [("ila-skole", "pm10"), ("ila-skole", "air_temperature"), ("kuhaugen", "pm10")]
    city.write(
        *(
            Reading("school-air", device, quantity, at, 20 + (hour * 7) % 11 - hour / 100, at + SECOND)
            for device, quantity in streams
            for hour in range(HOURS)
            if not (device == "kuhaugen" and HOURS - 60 < hour < HOURS - 50)
            for at in [START + hour * HOUR]
        )
    )
    day = START // DAY + 39
    received = START + (HOURS - 1) * HOUR

    def aside(device: str, reason: str, payload: bytes) -> QuarantineEntry:
        topic = f"pilots/school-air/{device}/readings"
        return QuarantineEntry(
            pilot="school-air",
            device=device,
            topic=topic,
            payload=payload,
            received=received,
            rejection=Rejection(reason, recorded=RecordedText("pm10 is text", "send it without quotes")),
            field="pm10",
        )

    tallies = {
        DeviceDay("school-air", device, day): Tally(messages=1, received=1, quarantined=1)
        for device in ("ila-skole", "new-box")
    }
    entries = [
        aside("ila-skole", "not-a-number", b'{"pm10": "12"}'),
        aside("new-box", "unknown-device", b'{"pm10": 12}'),
    ]
    city.ledger.close_batch("ingest-1", tallies, entries)
    passed = received, received + SECOND, received + SECOND + SECOND // 10  # the reading of that hour is in it too
    devices = {("school-air", device) for device in ("ila-skole", "kuhaugen", "new-box")}
    CommitLog(city.registry.database).note([CommitSpan("ingest-1", *passed, devices)])
    return city


def application(city: City, folder: Path, packages: Path | None = None) -> FastAPI:
    # An evaluation takes longer than its limit where many tests share a processor: this is not about speed.
    settings = WebSettings(snapshots=folder / "snapshots", packages=packages, rate_limit=0, query_seconds=600)
    return city.app(settings)


async def prepare(client: httpx.AsyncClient) -> None:
    """A snapshot, which only the API itself can make."""
    (await client.post("/api/v1/snapshots", json={"end": "2026-09-02"})).raise_for_status()
