"""How much of what was expected has arrived, for a stream, a device, a pilot, over any time.

A stream promises a reading every `interval`. Over a period that is so many readings:

    expected = period / interval, rounded
    missing  = between two readings that are d apart, round(d / interval) - 1; before the first and after the last one,
               the whole intervals that fit in
    observed = expected - missing

For readings on a grid this is the number of expected slots that hold one. But readings may come a little early or late,
twice, or faster than promised, and never make more than 100 %; a device whose clock ticks slowly is not incomplete.
A gap is a place where at least one reading is missing. The flagged share is of the readings that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.model import PilotDefinition
from techport_pilots.promises import Promise, earlier_of
from techport_pilots.time import interval_micros, micros_of
from techport_storage.coverage import Coverage, missing_within
from techport_storage.model import Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

MINIMUM_COVER = 0.75
"""Share of its readings that an hour must hold to count (2008/50/EC annex XI: 45 minutes of an hour)."""


def enough_readings(readings: NDArray[np.int64], expected: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether an hour, or another bucket of time, holds enough readings to stand for the whole of it.

    Parameters
    ----------
    readings : array of int
        Number of readings in each bucket.
    expected : float or array of float
        How many the stream's interval promises in a bucket; below one where nothing was promised, or where readings
        come more seldom than buckets.

    Returns
    -------
    array of bool
        At least 75 % of the readings expected (2008/50/EC annex XI), and at least one.
    """
    return (readings > 0) & ((readings >= MINIMUM_COVER * np.asarray(expected)) | (np.asarray(expected) < 1))


class Gap(NamedTuple):
    """From the last reading before (or the start of the period) to the first one after (or its end), µs."""

    start: Micros
    end: Micros
    missing: int


class Completeness(msgspec.Struct, frozen=True, kw_only=True):
    """Expected against observed. `expected` is None for streams that promise no interval."""

    expected: int | None
    observed: int
    readings: int  # rows, those beyond the promised ones included
    flagged: int  # of the readings: with any quality flag
    first: Micros | None = None
    last: Micros | None = None
    longest_gap: Micros = 0  # µs without a reading, the ends of the period included; 0: no reading is missing
    promised: float | None = None  # µs for which readings were promised, of all streams
    covered: float | None = None  # µs of those that were observed

    @property
    def share(self) -> float | None:
        """Of the time that was promised readings, 0..1; None where nothing was promised.

        A day counts as a day, whether a device sent every hour then or every second. With one interval all along this
        is observed ÷ expected.
        """
        if self.promised and self.covered is not None:
            return self.covered / self.promised
        return self.observed / self.expected if self.expected else None

    @property
    def flagged_share(self) -> float:
        return self.flagged / self.readings if self.readings else 0.0


Earlier = Mapping[Stream, Sequence[Promise]]
"""What streams promised before they came as often as now, the oldest first."""


def stream_completeness(
    store: ReadingStore,
    intervals: Mapping[Stream, Micros | None],
    start: Micros,
    end: Micros,
    earlier: Earlier | None = None,
) -> dict[Stream, Completeness]:
    """Completeness of streams over a period.

    Parameters
    ----------
    store : ReadingStore
    intervals : mapping of Stream to int or None
        What each stream promises, µs between readings; None where it promises nothing.
    start, end : int
        The period [start, end), µs since the epoch.
    earlier : mapping of Stream to sequence of Promise, optional
        What streams promised before, as `earlier_promises` gives it: each time counts by what was promised then.

    Returns
    -------
    dict of Stream to Completeness
        Of every stream, those without any reading included.

    Raises
    ------
    ValueError
        For an empty period.
    StoreError
        What the store raises.
    """
    if end <= start:
        raise ValueError("completeness needs a period: the end lies after the start")
    by_window: dict[tuple[Micros, Micros], dict[Stream, Micros | None]] = {}
    for stream, interval in intervals.items():
        for begin, until, promised in promised_windows(interval, (earlier or {}).get(stream, ()), start, end):
            by_window.setdefault((begin, until), {})[stream] = promised
    parts: dict[Stream, list[Completeness]] = {stream: [] for stream in intervals}
    for (begin, until), promises in sorted(by_window.items()):
        # A stream that promises nothing is asked with an interval as long as the period: nothing can be missing.
        counted = store.coverage({s: interval or until - begin for s, interval in promises.items()}, begin, until)
        for stream, interval in promises.items():
            parts[stream].append(_completeness(counted.get(stream), interval, begin, until))
    return {stream: some[0] if len(some) == 1 else together(some) for stream, some in parts.items()}


def promised_windows(
    interval: Micros | None, earlier: Sequence[Promise], start: Micros, end: Micros
) -> list[tuple[Micros, Micros, Micros | None]]:
    """Parts of a period with what a stream promised in each.

    Parameters
    ----------
    interval : int or None
        What it promises now, µs between readings.
    earlier : sequence of Promise
        What it promised before, the oldest first.
    start, end : int
        The period [start, end), µs since the epoch.

    Returns
    -------
    list of (int, int, int or None)
        Start, end and interval of each part (µs), in order of time; one part where nothing was changed in the period.
    """
    windows: list[tuple[Micros, Micros, Micros | None]] = []
    for promise in earlier:
        if start < min(promise.until, end):
            windows.append((start, min(promise.until, end), promise.interval))
            start = promise.until
    return [*windows, (start, end, interval)] if start < end else windows


def intervals_at(times: NDArray[np.int64], interval: Micros, earlier: Sequence[Promise]) -> NDArray[np.int64]:
    """What a stream promised at times.

    Parameters
    ----------
    times : array of int
        µs since the epoch.
    interval : int
        What it promises now, µs between readings.
    earlier : sequence of Promise
        What it promised before, the oldest first.

    Returns
    -------
    array of int
        µs between readings, one for each time.
    """
    intervals = np.full(len(times), interval, np.int64)
    for promise in reversed(earlier):
        intervals[times < promise.until] = promise.interval
    return intervals


def expected_between(
    starts: NDArray[np.int64], ends: NDArray[np.int64], interval: Micros, earlier: Sequence[Promise]
) -> NDArray[np.float64]:
    """How many readings a stream promised in each of some periods.

    Parameters
    ----------
    starts, ends : array of int
        The periods [start, end), µs since the epoch.
    interval : int
        What it promises now, µs between readings.
    earlier : sequence of Promise
        What it promised before, the oldest first.

    Returns
    -------
    array of float
        A number of readings for each period, not rounded; none for a period that ends before it starts.
    """
    expected = np.zeros(len(starts))
    for promise in earlier:
        expected += np.maximum(0, np.minimum(ends, promise.until) - starts) / promise.interval
        starts = np.maximum(starts, promise.until)
    return np.asarray(expected + np.maximum(0, ends - starts) / interval, np.float64)


def earlier_promises(pilot: PilotDefinition) -> dict[Stream, Sequence[Promise]]:
    """What a pilot's streams promised before the intervals that they have now.

    Parameters
    ----------
    pilot : PilotDefinition

    Returns
    -------
    dict of Stream to sequence of Promise
        Only streams of devices whose interval was changed; the oldest first, µs.
    """
    return {
        Stream(pilot.id, device.id, stream.quantity): earlier_of(pilot, device)
        for device in pilot.devices
        if device.previous
        for stream in device.streams
    }


def pilot_intervals(pilot: PilotDefinition, at: Micros | None = None) -> dict[Stream, Micros | None]:
    """What a pilot's streams promise.

    Parameters
    ----------
    pilot : PilotDefinition
        Whose streams have an interval, or their device has one.
    at : int, optional
        Without devices that are retired by then, µs since the epoch; all devices unless told.

    Returns
    -------
    dict of Stream to int or None
        µs between readings; None where the definition gives no interval.
    """
    return {
        Stream(pilot.id, device.id, stream.quantity): None if promised is None else interval_micros(promised)
        for device in pilot.devices
        if at is None or counted_until(pilot, device.id, at) == at
        for stream in device.streams
        for promised in [stream.interval or device.interval]
    }


class Counted(NamedTuple):
    """From when and until when a device's readings are expected, [since, until), both µs."""

    since: Micros
    until: Micros


class SinceStart(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what a pilot was to send has arrived: the one number that every page, report and catalogue gives."""

    since: Micros  # from when the first of its devices counts
    until: Micros
    streams: dict[Stream, Completeness]  # without those of devices that count from later

    @property
    def whole(self) -> Completeness:
        """All streams as one."""
        return together(self.streams.values())


def counted_from(pilot: PilotDefinition, device: str, start: Micros) -> Micros:
    """From when a device's readings are expected.

    Parameters
    ----------
    pilot : PilotDefinition
    device : str
        Its id.
    start : int
        Of the pilot, µs since the epoch.

    Returns
    -------
    int
        The later of the pilot's start and the device's first deployment: its first event of the kind `installed`.
    """
    installed = [
        micros_of(event.time, pilot.timezone)
        for event in pilot.events
        if event.kind == "installed" and event.device == device
    ]
    return max(start, min(installed, default=start))


def counted_until(pilot: PilotDefinition, device: str, end: Micros) -> Micros:
    """Until when a device's readings are expected.

    Parameters
    ----------
    pilot : PilotDefinition
    device : str
        Its id.
    end : int
        Of the period that is asked about, µs since the epoch.

    Returns
    -------
    int
        The earlier of the end and the moment from which the device is retired.
    """
    retired = [
        micros_of(described.retired, pilot.timezone)
        for described in pilot.devices
        if described.id == device
        if described.retired
    ]
    return min([end, *retired])


def counted_in(pilot: PilotDefinition, device: str, start: Micros, end: Micros) -> Counted | None:
    """The part of a period in which a device's readings are expected.

    Parameters
    ----------
    pilot : PilotDefinition
    device : str
        Its id.
    start, end : int
        The period [start, end), µs since the epoch.

    Returns
    -------
    Counted or None
        From its first deployment until it is retired; None where that is no time of the period.
    """
    since, until = counted_from(pilot, device, start), counted_until(pilot, device, end)
    return Counted(since, until) if since < until else None


def period(store: ReadingStore, pilot: PilotDefinition, now: Micros) -> tuple[Micros, Micros]:
    """From the first phase to the end of the last, not beyond now. Without phases, from the first reading until now:
    where all devices have fallen silent, readings are missing.
    """
    zone = pilot.timezone
    if pilot.phases:
        start = min(micros_of(phase.start, zone) for phase in pilot.phases)
        end = min(max(micros_of(phase.end, zone) for phase in pilot.phases), now)
        return start, max(end, start + 1)
    intervals: dict[Stream, Micros | None] = dict.fromkeys(pilot_intervals(pilot))
    total = together(stream_completeness(store, intervals, 0, now).values()) if intervals else None
    if total is None or total.first is None:
        return now - 1, now
    return total.first, now


def since_start(store: ReadingStore, pilot: PilotDefinition, now: Micros) -> SinceStart:
    """Completeness of a pilot from its start, each device from the later of that and its first deployment, and until it
    is retired.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
    now : int
        Until when a pilot counts whose phases go on: of one that has ended, its end; µs since the epoch.

    Returns
    -------
    SinceStart
        With the period that it is of; streams of devices that are deployed later than it ends, or were retired before
        it began, are left out.

    Raises
    ------
    StoreError
        What the store raises.
    """
    start, end = period(store, pilot, now)
    by_stream = counted_completeness(store, pilot, pilot_intervals(pilot), start, end)
    begun = [counted.since for stream in by_stream if (counted := counted_in(pilot, stream.device, start, end))]
    return SinceStart(since=min(begun, default=start), until=end, streams=by_stream)


def counted_completeness(
    store: ReadingStore,
    pilot: PilotDefinition,
    intervals: Mapping[Stream, Micros | None],
    start: Micros,
    end: Micros,
) -> dict[Stream, Completeness]:
    """Completeness of a pilot's streams, of each device while its readings are expected.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        Says when devices were deployed and retired, and what they promised before.
    intervals : mapping of Stream to int or None
        The streams, with what each promises: µs between readings; None where it promises nothing.
    start, end : int
        The period [start, end), µs since the epoch.

    Returns
    -------
    dict of Stream to Completeness
        Without the streams of devices of which nothing is expected in the period.

    Raises
    ------
    StoreError
        What the store raises.
    """
    by_period: dict[Counted, dict[Stream, Micros | None]] = {}
    for stream, interval in intervals.items():
        counted = counted_in(pilot, stream.device, start, end)
        if counted is not None:
            by_period.setdefault(counted, {})[stream] = interval
    by_stream: dict[Stream, Completeness] = {}
    earlier = earlier_promises(pilot)
    for (since, until), promises in by_period.items():
        by_stream |= stream_completeness(store, promises, since, until, earlier)
    return by_stream


def phase_completeness(store: ReadingStore, pilot: PilotDefinition, now: Micros) -> dict[str, Completeness]:
    """Completeness of phases, over all streams of the pilot.

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
    now : int
        Until when a phase that goes on counts, µs since the epoch.

    Returns
    -------
    dict of str to Completeness
        By the names of the phases that have begun; devices that came later count from then.
    """
    answer = {}
    for phase in pilot.phases:
        start, end = micros_of(phase.start, pilot.timezone), min(micros_of(phase.end, pilot.timezone), now)
        if start < end:
            counted = counted_completeness(store, pilot, pilot_intervals(pilot), start, end)
            answer[phase.name] = together(counted.values())
    return answer


def by_device(streams: Mapping[Stream, Completeness]) -> dict[str, Completeness]:
    """Completeness of devices from that of their streams.

    Parameters
    ----------
    streams : mapping of Stream to Completeness
        Of one pilot, as `stream_completeness` gives them.

    Returns
    -------
    dict of str to Completeness
        By device, as `together` adds them up.
    """
    devices: dict[str, list[Completeness]] = {}
    for stream, completeness in streams.items():
        devices.setdefault(stream.device, []).append(completeness)
    return {device: together(parts) for device, parts in devices.items()}


def together(parts: Iterable[Completeness]) -> Completeness:
    """Several streams as one.

    Parameters
    ----------
    parts : iterable of Completeness
        Of the same period.

    Returns
    -------
    Completeness
        Sums of readings and of times, and the longest gap of any. `expected` is None where no stream promises anything.
    """
    parts = list(parts)
    promised = [part for part in parts if part.expected is not None]
    timed = bool(promised) and all(part.promised is not None and part.covered is not None for part in promised)
    return Completeness(
        expected=sum(part.expected or 0 for part in promised) if promised else None,
        observed=sum(part.observed for part in promised),
        readings=sum(part.readings for part in parts),
        flagged=sum(part.flagged for part in parts),
        first=min((part.first for part in parts if part.first is not None), default=None),
        last=max((part.last for part in parts if part.last is not None), default=None),
        longest_gap=max((part.longest_gap for part in parts), default=0),
        promised=sum(part.promised or 0.0 for part in promised) if timed else None,
        covered=sum(part.covered or 0.0 for part in promised) if timed else None,
    )


def gaps(
    store: ReadingStore,
    stream: Stream,
    interval: Micros,
    start: Micros,
    end: Micros,
    earlier: Sequence[Promise] = (),
) -> list[Gap]:
    """Every gap of a stream.

    Parameters
    ----------
    store : ReadingStore
    stream : Stream
    interval : int
        What the stream promises, µs between readings.
    start, end : int
        The period [start, end), µs since the epoch.
    earlier : sequence of Promise
        What it promised before; see earlier_promises.

    Returns
    -------
    list of Gap
        In order of time, with the number of readings missing in each.

    Raises
    ------
    StoreError
        What the store raises.
    """
    windows = promised_windows(interval, earlier, start, end)
    if len(windows) > 1:
        return [
            gap
            for begin, until, promised in windows
            if promised is not None
            for gap in gaps(store, stream, promised, begin, until)
        ]
    start, end, interval = windows[0][0], windows[0][1], windows[0][2] or interval
    gaps_found: list[Gap] = []
    before = start
    first = True
    for batch in _batches(store, [stream], start, end):
        time = batch.column("time").cast(pa.int64()).to_numpy()
        points = np.concatenate([[before], time])
        missing = missing_within(np.diff(points), interval)
        if first:
            missing[0] = (time[0] - start) // interval
        gaps_found += [Gap(int(points[i]), int(points[i + 1]), int(missing[i])) for i in np.flatnonzero(missing)]
        before, first = int(time[-1]), False
    rest = _after(before, end, interval) if not first else round((end - start) / interval)
    return [*gaps_found, Gap(before, end, rest)] if rest > 0 else gaps_found


def _after(last: Micros, end: Micros, interval: Micros) -> int:
    """Whole intervals between the last reading and the end: a reading due exactly at the end is not in [start, end)."""
    return max(0, -(-(end - last) // interval) - 1)


def _completeness(coverage: Coverage | None, interval: Micros | None, start: Micros, end: Micros) -> Completeness:
    expected = None if interval is None else max(1, round((end - start) / interval))
    promised = None if expected is None else float(end - start)
    if coverage is None:
        covered = None if expected is None else 0.0
        gap = end - start
        return Completeness(
            expected=expected, observed=0, readings=0, flagged=0, longest_gap=gap, promised=promised, covered=covered
        )
    observed, longest = coverage.readings, 0
    if interval is not None and expected is not None:
        head, tail = (coverage.first - start) // interval, _after(coverage.last, end, interval)
        # Of those due from the first until after the last, wherever between two readings the period ends. A device that
        # sends more often than promised covers less time with its last one.
        span = coverage.last - coverage.first
        due = round((span + min(interval, span / max(1, coverage.readings - 1) or interval)) / interval)
        observed = min(expected, max(1, due - coverage.missing))
        longest = max(coverage.longest, coverage.first - start if head else 0, end - coverage.last if tail else 0)
    return Completeness(
        expected=expected,
        observed=observed,
        readings=coverage.readings,
        flagged=coverage.flagged,
        first=coverage.first,
        last=coverage.last,
        longest_gap=longest,
        promised=promised,
        covered=None if promised is None or expected is None else promised * (observed / expected),
    )


def _batches(store: ReadingStore, streams: Sequence[Stream], start: Micros, end: Micros) -> Iterator[pa.RecordBatch]:
    query = Query(select=Selection(streams=tuple(streams)), start=start, end=end)
    return (batch for batch in store.read(query) if batch.num_rows)
