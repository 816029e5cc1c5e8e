"""Whether KPIs can be worked out before the readings that they need are erased by a stream's own retention."""

from __future__ import annotations

from collections.abc import Iterator

from techport_pilots.definition.measures import streams_of
from techport_pilots.definition.misfit import Misfit, Path, misfit
from techport_pilots.model import Kpi, Phase, PilotDefinition
from techport_pilots.time import Duration, InvalidDuration, micros_of, parse_duration, shifted
from techport_storage.microseconds import DAY
from techport_storage.model import Micros, Stream

_FROM: Micros = 20_454 * DAY  # 2026-01-01


def check_kpi_retention(pilot: PilotDefinition) -> Iterator[Misfit]:
    """What is measured in the first phase must still be there when the last phase that it is compared with is over."""
    kept = {
        Stream(pilot.id, device.id, stream.quantity): (("devices", place, "streams", index, "retention"), duration)
        for place, device in enumerate(pilot.devices)
        for index, stream in enumerate(device.streams)
        if (duration := _duration(stream.retention)) is not None
    }
    told: set[Path] = set()
    for kpi in pilot.kpis if kept else ():
        phases = [phase for phase in pilot.phases if kpi.after is not None or phase.kind != "other"]
        if not phases:
            continue
        begin, end = _span(phases, pilot.timezone)
        for stream in sorted(_needed(pilot, kpi) & kept.keys()):
            path, duration = kept[stream]
            if shifted(begin, duration) < end and path not in told:
                told.add(path)
                definition = pilot.devices[int(path[1])].streams[int(path[3])]
                yield misfit(
                    path, "kpi-needs-erased", kpi=kpi.id, given=definition.retention, days=-(-(end - begin) // DAY)
                )


def fixed_retention(text: str | None) -> Micros | None:
    """About how long a retention is, in µs, with months as long as they are from 2026 on; None without one."""
    duration = _duration(text)
    return None if duration is None else shifted(_FROM, duration) - _FROM


def _duration(text: str | None) -> Duration | None:
    """What is no duration is said elsewhere."""
    try:
        return None if text is None else parse_duration(text, calendar="allowed")
    except InvalidDuration:
        return None


def _span(phases: list[Phase], zone: str) -> tuple[Micros, Micros]:
    return min(micros_of(phase.start, zone) for phase in phases), max(micros_of(phase.end, zone) for phase in phases)


def _needed(pilot: PilotDefinition, kpi: Kpi) -> set[Stream]:
    """The pilot's own streams that the KPI reads."""
    measures = [kpi] if kpi.compare is None else [kpi, kpi.compare.measure]
    needed = {stream for measure in measures for streams in streams_of(pilot, measure).values() for stream in streams}
    if kpi.control:
        needed |= {stream for streams in streams_of(pilot, kpi, only=kpi.control).values() for stream in streams}
    needed |= {Stream(pilot.id, one.device, one.quantity) for one in kpi.adjust if one.pilot in (None, pilot.id)}
    after = kpi.after
    if after is not None and after.device and after.quantity and after.pilot in (None, pilot.id):
        needed.add(Stream(pilot.id, after.device, after.quantity))
    return needed
