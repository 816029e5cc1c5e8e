"""What real devices get wrong, on purpose: switched on per device, each with a rate, repeatable like the readings.

Faults that last (gap, reboot, stuck, drift) hit whole stretches of EPISODE instants; a rate is the share of stretches
that are hit. The others hit single messages; a rate is the share of messages. 0 switches a fault off.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from techport_simulators.chance import Steps, key, uniform
from techport_simulators.devices import Device, Values, iso, with_battery
from techport_simulators.truth import Outcome, Truth
from techport_storage.microseconds import MINUTE, SECOND

EPISODE = 20
"""Instants that a lasting fault lasts at most."""

OLDEST = 946_684_800 * SECOND
"""2000-01-01: a reading before it comes from a clock that was never set, and is quarantined."""

AHEAD = 5 * MINUTE
"""A reading further than this in the future is quarantined."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates 0..1 of what goes wrong with one device."""

    gap: float = 0.0  # nothing is sent for up to EPISODE readings
    reboot: float = 0.0  # two readings missing, then one with the clock at 1970
    stuck: float = 0.0  # the first value of the stretch is repeated
    drift: float = 0.0  # the clock runs away by `drift_rate`, and is set right at the stretch's end
    drift_rate: float = 0.02  # seconds a second; negative: the clock is slow
    duplicate: float = 0.0  # the message goes out twice
    late: float = 0.0  # the message goes out after the ones behind it
    spike: float = 0.0  # one quantity is ten times too high, plus 100
    flip: float = 0.0  # a number comes without its fraction: 31 between 31.2 and 30.9
    broken: float = 0.0  # the payload ends in the middle
    battery: dt.timedelta | None = None  # the battery lasts this long; below 2 % the device says nothing
    battery_since: int | None = None  # µs: when that battery was new
    silent_from: int | None = None  # µs: nothing is sent from then on


FaultPlan = Callable[[str, str], Faults]
"""(pilot, device) -> its faults."""


def no_faults(pilot: str, device: str) -> Faults:
    return Faults()


def everyday_faults(pilot: str, device: str) -> Faults:
    """What an ordinary week brings: every third device now and then, so that the quarantine is not empty."""
    troubled = key("everyday", pilot, device) % 3 == 0
    if not troubled:
        return Faults()
    return Faults(
        gap=0.02, reboot=0.01, stuck=0.02, drift=0.02, duplicate=0.01, late=0.01, spike=0.002, flip=0.05, broken=0.002
    )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that is due at `due` (µs; the instant of measuring, or later), with the truth about it."""

    due: int
    topic: str
    payload: bytes
    truth: Truth = field(compare=False)


class FaultyDevice:
    """A device and its faults: turns instants into the messages that really go out."""

    def __init__(self, device: Device, faults: Faults) -> None:
        self.device = device
        if faults.battery is not None:
            self.device = with_battery(device, faults.battery, faults.battery_since)
        self.faults = faults
        self._battery = next((s.quantity for s in device.sensors if s.quantity == "battery_level"), None)

    def messages(self, time: Steps, now: int = 0) -> list[Outgoing]:
        """One entry an instant, in order; an entry whose truth says "lost" never goes out.

        Deterministic for each instant, whichever others are asked for with it. `now` (µs) says that they go out at that
        time, as history does: a clock that was fast then is no longer ahead.
        """
        truths = self.device.measure(time)
        starts = self._episode_starts(time)
        held = self.device.measure(starts) if self.faults.stuck else truths
        return [
            self._message(int(t), int(start), true, stuck, now)
            for t, start, true, stuck in zip(time.tolist(), starts.tolist(), truths, held, strict=True)
        ]

    def _episode_starts(self, time: Steps) -> Steps:
        length = EPISODE * self.device.interval
        shifted = time - self.device.offset
        return shifted - shifted % length + self.device.offset

    def _hit(self, fault: str, rate: float, instant: int) -> bool:
        if rate <= 0.0:
            return False
        chance = uniform(key(self.device.key, fault), np.array([instant], np.int64))
        return bool(chance[0] < rate)

    def _message(self, time: int, start: int, true: Values, held: Values, now: int) -> Outgoing:
        names = self._faults_at(time, start, true)
        if "gap" in names or "battery" in names or self._away(names, time, start):
            return self._outgoing(time, Truth(*self._named(time), true, "lost", faults=names))
        sent, clock = self._disturbed(names, time, start, true, held)
        payload = msgspec.json.encode({"time": iso(clock), **sent})
        due = time + (round(2.5 * self.device.interval) if "late" in names else 0)
        if "broken" in names:
            payload = payload[: max(1, len(payload) * 2 // 3)]
        outcome = self._outcome(clock, max(due, now), broken="broken" in names)
        truth = Truth(
            *self._named(time),
            true,
            outcome,
            clock,
            sent,
            copies=2 if "duplicate" in names else 1,
            faults=names,
            payload=payload.decode() if "broken" in names else None,
        )
        return self._outgoing(due, truth, payload)

    def _named(self, time: int) -> tuple[str, str, int]:
        return self.device.pilot, self.device.id, time

    def _outgoing(self, due: int, truth: Truth, payload: bytes = b"") -> Outgoing:
        return Outgoing(due, self.device.topic, payload, truth)

    def _faults_at(self, time: int, start: int, true: Values) -> list[str]:
        rates = self.faults
        lasting = {"gap": rates.gap, "reboot": rates.reboot, "stuck": rates.stuck, "drift": rates.drift}
        single = {
            "duplicate": rates.duplicate,
            "late": rates.late,
            "spike": rates.spike,
            "flip": rates.flip,
            "broken": rates.broken,
        }
        names = [name for name, rate in lasting.items() if self._hit(name, rate, start)]
        names += [name for name, rate in single.items() if self._hit(name, rate, time)]
        if rates.silent_from is not None and time >= rates.silent_from:
            names.append("gap")
        if rates.battery is not None and self._battery and true[self._battery] < 2.0:
            names.append("battery")
        return names

    def _away(self, names: Sequence[str], time: int, start: int) -> bool:
        return "reboot" in names and time - start < 2 * self.device.interval

    def _disturbed(self, names: list[str], time: int, start: int, true: Values, held: Values) -> tuple[Values, int]:
        """The values and the clock as they leave the device. Takes faults from `names` that do not show after all."""
        sent = dict(held if "stuck" in names else true)
        if "spike" in names:
            victim = sorted(sent)[key(self.device.key, time) % len(sent)]
            sent[victim] = sent[victim] * 10 + 100
        if "flip" in names:
            sent = {name: int(value) for name, value in sent.items()}
        clock = time
        if "drift" in names:
            clock += round((time - start) * self.faults.drift_rate) // 1000 * 1000
        if "reboot" in names:
            if time - start == 2 * self.device.interval:
                clock = 12 * SECOND
            else:
                names.remove("reboot")
        return sent, clock

    @staticmethod
    def _outcome(clock: int, sending: int, *, broken: bool) -> Outcome:
        return "quarantined" if broken or clock < OLDEST or clock > sending + AHEAD else "stored"


def bundle(messages: Sequence[Outgoing], most: int = 500) -> list[Outgoing]:
    """Messages of one device as fewer, larger ones: readable neighbours become one JSON array of at most `most`.

    What is broken or sent twice stays alone, so that what the truth log says about it stays true. The result carries
    the truth of its first reading; write the log from the messages, not from the bundle.
    """
    result: list[Outgoing] = []
    plain: list[Outgoing] = []

    def flush() -> None:
        for at in range(0, len(plain), most):
            part = plain[at : at + most]
            payload = b"[" + b",".join(m.payload for m in part) + b"]" if len(part) > 1 else part[0].payload
            result.append(Outgoing(part[0].due, part[0].topic, payload, part[0].truth))
        plain.clear()

    for message in messages:
        if message.truth.outcome == "lost":
            continue
        if message.truth.outcome == "stored" and message.truth.copies == 1:
            plain.append(message)
        else:
            flush()
            result.append(message)
    flush()
    return result
