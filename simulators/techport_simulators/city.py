"""A district that lives: every device of the given pilots publishes its readings over MQTT, one gateway a pilot.

    devices ─► faults ─► truth log ─► gateway of the pilot ─► broker

Readings are functions of (seed, device, instant) and devices measure at fixed instants, so a city that is stopped and
started again carries on as if it had never been away, and history is the same whether it was lived or filled in.
"""

from __future__ import annotations

import datetime as dt
import heapq
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from techport_pilots.model import PilotDefinition
from techport_simulators.devices import all_devices, micros
from techport_simulators.faults import FaultPlan, FaultyDevice, Outgoing, bundle, no_faults
from techport_simulators.gateway import LOCAL_BROKER, Broker, Gateway
from techport_simulators.truth import TruthLog
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR, MINUTE

_MICROSECOND = dt.timedelta(microseconds=1)
_PATIENCE = 3.0  # seconds to wait for the last acknowledgements when the city is stopped
_SELDOM = 5 * MINUTE  # devices that read no more often than this have the long history, which costs them little
_WINDOW = 2000  # messages of a pilot that may wait for the broker; then the city waits too


@dataclass(slots=True)
class Progress:
    """How far a city has come. Counts are of messages that went out, not of readings."""

    devices: int = 0
    live: int = 0
    history: int = 0
    history_done: float = 1.0  # share of the hours that were asked for
    outstanding: int = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """The city's time in µs: from `start`, `speed` times as fast until it has caught up with the present."""

    start: int
    speed: float
    origin: float = field(default_factory=time.monotonic)

    def now(self) -> int:
        return min(now(), self.start + round((time.monotonic() - self.origin) * 1e6 * self.speed))

    def seconds_until(self, instant: int) -> float:
        return (instant - self.now()) / 1e6 / self.speed


@dataclass(frozen=True, slots=True, kw_only=True)
class CitySettings:
    """What is simulated. The same seed gives the same readings."""

    seed: int = 1
    interval: dt.timedelta | None = None
    """Between readings, instead of the definitions' own intervals."""
    backfill: dt.timedelta = dt.timedelta(0)
    """History of every device."""
    seldom_backfill: dt.timedelta = dt.timedelta(0)
    """History of the devices that read every five minutes or less often."""
    start: dt.datetime | None = None
    """Where the city's time begins; the present unless given."""
    speed: float = 1.0
    """Seconds a second, until the city's time has reached the present."""
    faults: FaultPlan = no_faults
    truth_path: Path | None = None
    """File for what was true and what was sent (NDJSON)."""


WITHOUT_HISTORY = CitySettings()


def run_city(
    pilots: Sequence[PilotDefinition],
    broker: Broker = LOCAL_BROKER,
    settings: CitySettings = WITHOUT_HISTORY,
    *,
    stop_event: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Run the devices of `pilots` against the broker until `stop_event` is set; returns what went out.

    Every device publishes its newest reading at once. Then history goes out beside the live readings, newest first,
    which a store takes most easily. `progress` is called about once a second, from this thread.
    """
    stop = stop_event or threading.Event()
    began = now() if settings.start is None else micros(settings.start)
    gateways = {pilot.id: Gateway(broker, f"techport-city-{pilot.id}", _WINDOW) for pilot in pilots}
    devices = [
        FaultyDevice(device, settings.faults(device.pilot, device.id))
        for device in all_devices(pilots, settings.seed, settings.interval)
    ]
    truth = TruthLog(settings.truth_path) if settings.truth_path is not None else None
    city = City(devices, gateways, Clock(began, settings.speed), truth, stop)
    history, seldom_history = (began - span // _MICROSECOND for span in (settings.backfill, settings.seldom_backfill))
    try:
        city.run(history, seldom_history, progress)
    finally:
        deadline = time.monotonic() + _PATIENCE
        for gateway in gateways.values():
            if gateway.connected:
                gateway.drain(deadline - time.monotonic())
            gateway.close()
        if truth is not None:
            truth.close()
    return city.progress


class City:
    """The schedule: what is due goes out when it is due, history fills the pauses."""

    def __init__(
        self,
        devices: Sequence[FaultyDevice],
        gateways: dict[str, Gateway],
        clock: Clock,
        truth: TruthLog | None,
        stop: threading.Event,
    ) -> None:
        self.progress = Progress(devices=len({(d.device.pilot, d.device.id) for d in devices}))
        self._devices = devices
        self._gateways = gateways
        self._clock = clock
        self._truth = truth
        self._stop = stop
        # (due µs, tie-breaker, which device measures then, or the message that waits until then)
        self._schedule: list[tuple[int, int, FaultyDevice | Outgoing]] = []
        self._ties = 0

    def run(self, history_from: int, seldom_from: int, report: Callable[[Progress], None] | None) -> None:
        """Until stopped. `history_from` is the instant (µs) where filling in ends; the start of the city for none.

        `seldom_from`, if it is earlier, is where it ends for the devices that read seldom.
        """
        for device in self._devices:
            self._plan(device.device.latest(self._clock.start), device)
        history = self._history(history_from, seldom_from)
        self.progress.history_done = 0.0 if min(history_from, seldom_from) < self._clock.start else 1.0
        reported = 0.0
        while not self._stop.is_set():
            if report is not None and time.monotonic() - reported >= 1.0:
                reported = time.monotonic()
                self.progress.outstanding = sum(g.outstanding for g in self._gateways.values())
                report(self.progress)
            if self._publish_due() or next(history, False):
                continue
            self._stop.wait(min(max(self._clock.seconds_until(self._schedule[0][0]), 0.005), 0.5))

    def _plan(self, due: int, sender: FaultyDevice | Outgoing) -> None:
        self._ties += 1
        heapq.heappush(self._schedule, (due, self._ties, sender))

    def _publish_due(self) -> bool:
        """Publish the next thing that is due, if any."""
        if not self._schedule or self._schedule[0][0] > self._clock.now():
            return False
        due, _, sender = heapq.heappop(self._schedule)
        if isinstance(sender, Outgoing):
            self._note([sender])
            self.progress.live += self._send(sender)
            return True
        self._plan(due + sender.device.interval, sender)
        for message in sender.messages(np.array([due], np.int64)):
            if message.due > due:
                self._plan(message.due, message)  # logged when it goes out: a stop may come first
                continue
            self._note([message])
            if message.truth.outcome != "lost":
                self.progress.live += self._send(message)
        return True

    def _history(self, until: int, seldom_until: int) -> Iterator[bool]:
        """Fill in the past, newest first: an hour of one device at each step, then a day of each that reads seldom.

        Yields while there is more to do.
        """
        start = self._clock.start
        seldom = [device for device in self._devices if device.device.interval >= _SELDOM]
        steps = [*_spans(self._devices, start, until, HOUR), *_spans(seldom, min(until, start), seldom_until, DAY)]
        for done, (device, begin, end) in enumerate(steps, 1):
            instants = device.device.instants(begin, min(end, device.device.latest(start)))
            messages = device.messages(instants, now=self._clock.now())
            self._note(messages)
            for message in bundle(messages):
                self.progress.history += self._send(message)
            self.progress.history_done = done / len(steps)
            yield True

    def _send(self, message: Outgoing) -> int:
        gateway = self._gateways[message.truth.pilot]
        return sum(gateway.publish(message.topic, message.payload, self._stop) for _ in range(message.truth.copies))

    def _note(self, messages: Sequence[Outgoing]) -> None:
        if self._truth is not None:
            for message in messages:
                self._truth.write(message.truth)


def _spans(
    devices: Sequence[FaultyDevice], start: int, until: int, width: int
) -> Iterator[tuple[FaultyDevice, int, int]]:
    """(device, begin, end) from `start` back to `until`, each device's newest `width` µs first."""
    for end in range(start, until, -width):
        for device in devices:
            yield device, max(end - width, until), end
