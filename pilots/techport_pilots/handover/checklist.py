"""What to read before a pilot is closed: what will happen, and what is not as it should be.

From registry and store as they are now; nothing is changed by looking.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.evaluation.messages import phase_titles
from techport_pilots.handover import retention
from techport_pilots.handover.package import borrowed
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quality.completeness import Completeness, phase_completeness, pilot_intervals, stream_completeness
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import period
from techport_pilots.time import date_of, local, micros_of
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore

ENOUGH = 0.75  # of a phase's expected readings, where its KPIs ask for no other share


class Item(msgspec.Struct, frozen=True):
    """A line of the checklist. `blocks`: the pilot cannot be closed like this."""

    good: bool
    text: Text
    blocks: bool = False
    about: Literal["look", "happens"] = "look"  # at what is there, or at what closing will do


def checklist(registry: Registry, store: ReadingStore, pilot: PilotDefinition, at: Micros) -> list[Item]:
    """What to look at before closing, what is in order and what is not; then what closing does. Raises what the two
    raise."""
    readings = stream_completeness(store, pilot_intervals(pilot), *period(store, pilot, at)) if pilot.devices else {}
    return [
        *_state(registry, pilot),
        *_readings(readings),
        *_phases(store, pilot, at),
        *_quarantine(registry, pilot),
        *_papers(pilot),
        *_borrowed(registry, pilot),
        *_happens(registry, pilot, sum(one.readings for one in readings.values())),
        _retention(registry, pilot, at),
    ]


def _state(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    state = registry.state(pilot.id)
    if state in ("ended", "closed"):
        return [Item(True, Text(nb="Piloten er avsluttet.", en="The pilot has ended."))]
    return [
        Item(
            False,
            Text(
                nb=f"Piloten er ikke avsluttet. Avslutt den først (techport pilot end {pilot.id}).",
                en=f"The pilot has not ended. End it first (techport pilot end {pilot.id}).",
            ),
            blocks=True,
        )
    ]


def _of(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _count(n: int) -> Text:
    """A number as people write it."""
    return Text(nb=f"{n:,}".replace(",", "\u00a0"), en=f"{n:,}")


def _readings(found: dict[Stream, Completeness]) -> list[Item]:
    rows = sum(one.readings for one in found.values())
    silent = sorted({s.device for s in found} - {s.device for s, one in found.items() if one.readings})
    names = ", ".join(silent[:8]) + (" …" if len(silent) > 8 else "")
    n = _count(rows)
    items = [Item(rows > 0, Text(nb=f"{n.nb} målinger i perioden.", en=f"{n.en} readings in the period."))]
    if silent:
        items.append(Item(False, Text(nb=f"Uten en eneste måling: {names}.", en=f"Without a single reading: {names}.")))
    return items


def _phases(store: ReadingStore, pilot: PilotDefinition, at: Micros) -> list[Item]:
    items = []
    late = [phase for phase in pilot.phases if micros_of(phase.end, pilot.timezone) > at]
    if late:
        names = phase_titles(late)
        text = Text(nb=f"Faser som ikke er over: {names.nb}.", en=f"Phases that are not over: {names.en}.")
        items.append(Item(False, text))
    wanted = max((kpi.minimum_completeness for kpi in pilot.kpis), default=ENOUGH)
    complete = phase_completeness(store, pilot, at)
    for phase in pilot.phases:
        share = complete[phase.name].share if phase.name in complete else None
        if share is not None:
            name, percent = phase_titles([phase]), int(100 * share)  # rounded down: 100 % is whole
            text = Text(nb=f"«{name.nb}» er {percent} % komplett.", en=f"“{name.en}” is {percent}% complete.")
            items.append(Item(share >= wanted, text))
    return items


def _quarantine(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    values = sum(count.values for count in Quarantine(registry.database).counts(QuarantineFilter(pilot=pilot.id)))
    if not values:
        return [Item(True, Text(nb="Ingenting er satt til side.", en="Nothing was set aside."))]
    return [
        Item(
            False,
            Text(
                nb=f"{_of(values, 'verdi', 'verdier')} er satt til side. Etter lukking kan det ikke legges inn igjen.",
                en=f"{_of(values, 'value was', 'values were')} set aside. After closing that cannot be brought back.",
            ),
        )
    ]


def _papers(pilot: PilotDefinition) -> list[Item]:
    named = bool(pilot.organisations) and pilot.contact is not None
    licence = bool(pilot.licence.strip())
    items = [
        Item(
            named,
            Text(nb="Eier og kontakt er oppgitt.", en="Owner and contact are named.")
            if named
            else Text(
                nb="Eier eller kontakt mangler i definisjonen.", en="The definition lacks an owner or a contact."
            ),
        ),
        Item(
            licence,
            Text(nb=f"Lisensen er {pilot.licence}.", en=f"The licence is {pilot.licence}.")
            if licence
            else Text(nb="Lisensen mangler i definisjonen.", en="The definition lacks a licence."),
        ),
    ]
    if pilot.personal_data:
        items.append(
            Item(
                False,
                Text(
                    nb="Dataene kan handle om personer. Pakken inneholder dem: tenk over hvem som får den.",
                    en="The data may be about persons. The package holds it: mind who gets it.",
                ),
            )
        )
    return items


def _borrowed(registry: Registry, pilot: PilotDefinition) -> list[Item]:
    owners = sorted({stream.pilot for stream in borrowed(pilot)})
    classes = {one.id: one.data_class for one in registry.pilots()}
    shut = [owner for owner in owners if classes.get(owner, "internal") != "open"]
    if not owners:
        return []
    if shut:
        names = ", ".join(shut)
        return [
            Item(
                False,
                Text(
                    nb=f"KPI-er bygger på data fra {names}, som ikke er åpne: de kan ikke følge med i pakken.",
                    en=f"KPIs rest on data of {names}, which are not open: they cannot go into the package.",
                ),
                blocks=True,
            )
        ]
    names = ", ".join(owners)
    return [Item(True, Text(nb=f"Pakken tar med data fra {names}.", en=f"The package takes data of {names} along."))]


def _happens(registry: Registry, pilot: PilotDefinition, rows: int) -> list[Item]:
    held = len(Credentials(registry.database).all(pilot.id))
    texts = [
        Text(
            nb=f"Tilgangen til {_of(held, 'enhet', 'enheter')} trekkes tilbake.",
            en=f"The credentials of {_of(held, 'device', 'devices')} are taken back.",
        ),
        Text(
            nb="Meldinger som kommer etterpå, blir satt til side og ikke lagret.",
            en="Messages that come afterwards are set aside, not stored.",
        ),
        Text(
            nb=f"{_count(rows).nb} målinger, definisjonen, hendelsene og utelatte tidsrom fryses.",
            en=f"{_count(rows).en} readings, the definition, its events and what was left out are frozen.",
        ),
        Text(
            nb="Rapporten skrives på norsk og engelsk, og alt pakkes i én fil som kan leveres videre.",
            en="The report is written in Norwegian and English, and everything packed into one file to hand over.",
        ),
    ]
    return [Item(True, text, about="happens") for text in texts]


def _retention(registry: Registry, pilot: PilotDefinition, at: Micros) -> Item:
    due = retention.due_at(registry, pilot) or retention.due_after(pilot, at)
    if due is None:
        text = Text(nb="Dataene beholdes her uten frist.", en="The data is kept here without a time limit.")
        if pilot.personal_data:
            text = Text(
                nb="Dataene kan handle om personer, og det er ingen slettefrist: fyll ut retention.",
                en="The data may be about persons, and there is no date of erasure: fill in retention.",
            )
        return Item(not pilot.personal_data, text, blocks=pilot.personal_data, about="happens")
    day = date_of(int(local(np.array([due], np.int64), pilot.timezone).day[0]))
    text = Text(nb=f"Dataene slettes her {day:%d.%m.%Y}.", en=f"The data here will be erased on {day}.")
    return Item(True, text, about="happens")
