"""Counting what a store holds of a device and day."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from techport_pilots.account import DAY, DeviceDay
from techport_storage.model import Every, Query, Selection
from techport_storage.store import ReadingStore


def count_rows(store: ReadingStore, device_days: Iterable[DeviceDay]) -> dict[DeviceDay, int]:
    """How many rows the store holds for each of these device-days, one query a pilot."""
    counts = dict.fromkeys(device_days, 0)
    for pilot, group in groupby(sorted(counts), key=lambda device_day: device_day.pilot):
        wanted = list(group)
        query = Query(
            select=Selection(pilots=(pilot,), devices=tuple(sorted({device_day.device for device_day in wanted}))),
            start=min(device_day.day for device_day in wanted) * DAY,
            end=(max(device_day.day for device_day in wanted) + 1) * DAY,
            every=Every(1, "d"),
            aggregates=("count",),
        )
        for batch in store.read(query):
            rows = zip(
                batch["device"].to_pylist(),
                batch["time"].cast("int64").to_pylist(),
                batch["count"].to_pylist(),
                strict=True,
            )
            for device, start, count in rows:
                device_day = DeviceDay(pilot, device, start // DAY)
                if device_day in counts:
                    counts[device_day] += count
    return counts
