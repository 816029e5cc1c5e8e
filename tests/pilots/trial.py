"""A small pilot with everything in it, for reports and packages: true effect -4, a gap, an event, an exclusion."""

from __future__ import annotations

import datetime as dt

import numpy as np

from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream
from techport_storage.store import ReadingStore

Parts = tuple[Registry, ReadingStore, Ledger]

START = int(dt.datetime(2026, 3, 2, tzinfo=dt.UTC).timestamp()) * 1_000_000
DAYS = 60  # across the change to summer time

YAML = """
id: elgeseter
title: {nb: Renere gate, en: A cleaner street}
question: {nb: "Gir gatefeiing mindre svevestøv?", en: "Does sweeping lower the dust?"}
hypothesis: {nb: "Støvet <går ned>", en: "The dust <goes down> & stays there"}
organisations: [{name: Trondheim kommune, role: owner, url: "https://www.trondheim.kommune.no"}]
contact: {name: Bymiljø, email: bymiljo@example.org}
purpose: {nb: Bestemme hvor ofte det feies, en: To decide how often to sweep}
retention: P2Y
data_class: open
licence: CC-BY-4.0
area: [[10.38, 63.41], [10.41, 63.41], [10.41, 63.43], [10.38, 63.43], [10.38, 63.41]]
phases:
  - {name: before, kind: baseline, start: 2026-03-02, end: 2026-04-01}
  - {name: sweeping, kind: intervention, start: 2026-04-01, end: 2026-05-01}
kpis:
  - {id: dust, title: {nb: Svevestøv, en: Dust}, quantity: pm10, target: -2, target_is: change, groups: [street]}
  - {id: dusty, title: {nb: Støvtimer, en: Dusty hours}, quantity: pm10, statistic: share_above, threshold: 25}
events:
  - {time: 2026-04-10, kind: outage, device: bridge, end: 2026-04-11, text: {nb: Strømbrudd, en: No power}}
exclusions:
  - {start: "2026-03-20", end: "2026-03-22", device: kirka, reason: {nb: Veiarbeid, en: Road works}}
devices:
  - id: kirka
    title: {nb: Kirka, en: The church}
    position: {lat: 63.4243, lon: 10.3955}
    group: street
    interval: PT10M
    streams: [{quantity: pm10}, {quantity: air_temperature}]
  - {id: bridge, position: {lat: 63.4200, lon: 10.3970}, group: street, interval: PT10M, streams: [{quantity: pm10}]}
"""


def definition() -> PilotDefinition:
    return parse_definition(YAML)


def readings(seed: int = 1, shuffled: bool = False) -> Batch:
    """Ten-minute readings of sixty days, with days that resemble each other, an outage, and two flagged values."""
    chance = np.random.default_rng(seed)
    count = DAYS * 144
    time = START + np.arange(count) * (HOUR // 6)
    daily = np.zeros(DAYS)
    for day in range(1, DAYS):
        daily[day] = 0.5 * daily[day - 1] + chance.normal()
    dust = 20 + np.repeat(daily, 144) + 4 * np.sin(np.arange(count) / 144 * 2 * np.pi) + chance.normal(size=count)
    dust -= 4 * (np.arange(count) >= 30 * 144)
    streams = [
        Stream("elgeseter", "kirka", "pm10"),
        Stream("elgeseter", "bridge", "pm10"),
        Stream("elgeseter", "kirka", "air_temperature"),
    ]
    values = [dust, dust * 1.1 + chance.normal(size=count), chance.normal(5, 3, count)]
    kept = [np.ones(count, bool), (np.arange(count) < 39 * 144) | (np.arange(count) >= 40 * 144), np.ones(count, bool)]
    index = np.concatenate([np.full(k.sum(), i, np.int32) for i, k in enumerate(kept)])
    times = np.concatenate([time[k] for k in kept])
    value = np.concatenate([v[k] for v, k in zip(values, kept, strict=True)])
    quality = np.zeros(len(times), np.uint8)
    quality[[100, 200]] = 2
    order = chance.permutation(len(times)) if shuffled else np.arange(len(times))
    received = times + 1_234_000
    return Batch(streams, index[order], times[order], value[order], received[order], quality[order])
