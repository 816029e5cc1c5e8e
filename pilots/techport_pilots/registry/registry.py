"""The registry: pilots with every version of their definition, their devices and streams, and what was seen besides."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from techport_pilots.definition.lending import borrowed, check_borrowed, lent
from techport_pilots.definition.neighbours import MaySee, check_neighbours, nobody
from techport_pilots.errors import DefinitionError, UnknownPilot, WrongState
from techport_pilots.i18n import Message
from techport_pilots.model import DeviceDefinition, PilotDefinition, Position, StreamDefinition, Text
from techport_pilots.promises import Promise, earlier_of
from techport_pilots.quantities import Chart, Kind, Vocabulary, vocabulary_of
from techport_pilots.registry import events, flag_requests, intervals, lifecycle, registration
from techport_pilots.registry.database import TIMEOUT_S, Database, clean_text, name
from techport_pilots.registry.deployments import deployments, elsewhere
from techport_pilots.registry.intervals import LearnedInterval
from techport_pilots.registry.lifecycle import State
from techport_pilots.registry.versioning import bump, lock
from techport_pilots.registry.view import IngestView, Origin
from techport_pilots.state_words import YES_NO, title_of
from techport_pilots.time import interval_micros, micros_of
from techport_storage.clock import now
from techport_storage.model import Micros, Stream

__all__ = ["DeviceInfo", "PilotVersion", "Registry", "StreamInfo", "UnknownPilot"]

_NOW_AT = "SELECT version FROM registry_version"
_NEWEST = (
    "SELECT pilot, version, definition FROM pilot_versions AS p"
    " WHERE version = (SELECT max(version) FROM pilot_versions WHERE pilot = p.pilot)"
)
_CURRENT = f"{_NEWEST} ORDER BY pilot"
_CURRENT_OF = f"{_NEWEST} AND pilot = :pilot"
_ALL_OF = "SELECT pilot, version, definition FROM pilot_versions WHERE pilot = :pilot"
_ADD_VERSION = (
    "INSERT INTO pilot_versions (pilot, version, definition, source, who, at, why)"
    " VALUES (:pilot, :version, :definition, :source, :who, :at, :why)"
)
_HISTORY = "SELECT pilot, version, who, at, why FROM pilot_versions WHERE pilot = :pilot ORDER BY version DESC"
_SOURCE = "SELECT source FROM pilot_versions WHERE pilot = :pilot AND version = :version"
_NOW_SAID = "DELETE FROM assumed_open WHERE pilot = :pilot"
_SEEN = "SELECT pilot, device, quantity FROM seen_streams ORDER BY pilot, device, quantity"
_NOTE = (
    "INSERT INTO seen_streams (pilot, device, quantity, first_seen) VALUES (:pilot, :device, :quantity, :now)"
    " ON CONFLICT DO NOTHING"
)
_NOTE_UNIT = (
    "INSERT INTO stream_units (pilot, device, quantity, unit) VALUES (:pilot, :device, :quantity, :unit)"
    " ON CONFLICT DO NOTHING"
)
_FORGET_UNIT = "DELETE FROM stream_units WHERE pilot = :pilot AND device = :device AND quantity = :quantity"
_UNITS = "SELECT pilot, device, quantity, unit FROM stream_units"
_FORGET = "DELETE FROM seen_streams WHERE pilot = :pilot AND device = :device AND quantity = :quantity"
_ORIGINS = "SELECT pilot, device, key, origin FROM origins"
_NOTE_ORIGIN = (
    "INSERT INTO origins (pilot, device, key, origin, first_seen) VALUES (:pilot, :device, :key, :origin, :now)"
    " ON CONFLICT DO NOTHING"
)
_FORGET_ORIGIN = "DELETE FROM origins WHERE pilot = :pilot AND device = :device AND key = :quantity"


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stream with all that a page needs to show it."""

    stream: Stream
    title: Text
    described: bool  # the pilot's definition names it; otherwise it was only seen
    unit: str | None = None  # UCUM; None when nobody has said
    unit_label: str = ""  # as people read it
    kind: Kind = "level"
    interval_us: Micros | None = None  # expected time between readings, as they are handed on
    earlier: tuple[Promise, ...] = ()  # the same before it was changed, the oldest first
    arrives_us: Micros | None = None  # the same as they arrive, where they are handed on as sums (counts of people)
    learned_interval_us: Micros | None = None  # the same as messages show it, where nobody has said it
    range: tuple[float, float] | None = None
    decimals: int = 2
    chart: Chart = "line"
    group: str = "own"  # domain and colour group of the quantity
    states: tuple[Text, ...] = ()  # of a state: what people read for 0, 1 and so on

    @property
    def words(self) -> tuple[Text, ...]:
        """What people read for the numbers of a state, from 0; none for other quantities."""
        return (self.states or YES_NO) if self.kind == "state" else ()

    def word(self, value: float) -> Text | None:
        """What people read for a state's number; None for other quantities, and for a number that is no state."""
        return title_of(value, self.states) if self.kind == "state" else None


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a pilot; described by its definition, or only seen."""

    pilot: str
    device: str
    title: Text
    described: bool
    kind: str | None = None
    position: Position | None = None
    group: str | None = None
    tags: dict[str, str] = {}
    retired: Micros | None = None  # from when on nothing is expected of it


class PilotVersion(msgspec.Struct, frozen=True):
    """One state of a pilot's definition: who brought it in, when, and why."""

    pilot: str
    version: int
    who: str
    at: Micros
    why: str = ""


class _State(msgspec.Struct, frozen=True):
    """What the registry held at a version of it."""

    version: int
    pilots: dict[str, PilotDefinition]
    seen: list[Stream]
    snapshot: IngestView
    states: dict[str, State]  # of pilots that are no drafts any more
    intervals: dict[Stream, Micros] = {}  # that were learned
    units: dict[Stream, str] = {}  # that messages state of streams that nobody described


class Registry:
    """Safe to use from several threads, and by several processes on one database.

    Every method may raise RegistryUnavailable. Reading keeps the last state in memory and asks the database only for
    its version number.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._state = _State(-1, {}, [], IngestView.of(-1, [], []), {})
        self._loading = threading.Lock()

    @classmethod
    def open(cls, url: str, timeout_s: float = TIMEOUT_S) -> Registry:
        """Open `sqlite:///path` or `postgresql://...` and bring its tables up to date. As Database.open."""
        return cls(Database.open(url, timeout_s))

    def close(self) -> None:
        self.database.close()

    def import_pilot(
        self,
        definition: PilotDefinition,
        source_text: str,
        who: str,
        why: str = "",
        *,
        edited: bool = False,
        may_see: MaySee = nobody,
        archived: registration.Past | None = None,
        replaces: int | None = None,
    ) -> int:
        """Make this the pilot's definition; returns its version, from 1. The same content again changes nothing.

        `edited` says that it is the present one with something changed by the platform, not a file in which somebody
        has written who may read the data. `archived` is what a package tells of the time before it, where
        the pilot is not here yet; it comes from a platform where other pilots may have lent it what none here does.
        `replaces` is the version that the author has seen, 0 for a new pilot: raises WrongState where there is another.
        Raises WrongState for another content when the pilot is closed, and DefinitionError where it would take messages
        of another pilot's devices, which is named where the author `may_see` it, or use streams that no pilot lends it.
        Raises WrongState also for a change of the plan without a reason, once the pilot was started or its intervention
        has readings.
        """
        content = msgspec.json.encode(definition).decode()
        with self.database.writing() as transaction:
            lock(transaction)
            last = transaction.execute(_CURRENT_OF, {"pilot": definition.id}).first()
            if replaces is not None and replaces != (0 if last is None else int(last.version)):
                raise WrongState(
                    Message(
                        "lifecycle.changed-meanwhile" if replaces else "lifecycle.id-taken", {"pilot": definition.id}
                    )
                )
            if not edited and transaction.execute(_NOW_SAID, {"pilot": definition.id}).rowcount:
                bump(transaction)
            before = None if last is None else msgspec.json.decode(last.definition, type=PilotDefinition)
            if last is not None and before is not None and _written_anew(before) == _written_anew(definition):
                return int(last.version)
            lifecycle.refuse_if_closed(transaction, definition.id)
            lifecycle.refuse_incomplete(transaction, definition)
            if definition.sources or borrowed(definition):
                rows = list(transaction.execute(_CURRENT))
                pilots = {row.pilot: msgspec.json.decode(row.definition, type=PilotDefinition) for row in rows}
                states = lifecycle.states(transaction)
                others = [other for other in pilots.values() if states.get(other.id) != "closed"]
                misfits = check_neighbours(definition, before, others, may_see)
                misfits += [] if archived is not None else check_borrowed(definition, before, pilots)
                if misfits:
                    raise DefinitionError([wrong.finding(definition.id) for wrong in misfits])
            if before is not None and not edited and not why.strip():
                started = lifecycle.states(transaction).get(definition.id, "draft") != "draft"
                if registration.needs_reason(transaction, before, definition, started):
                    raise WrongState(Message("lifecycle.why-plan", {"pilot": definition.id}))
            if before is not None:
                flag_requests.ask_for_change(transaction, before, definition)
            version = 1 if last is None else int(last.version) + 1
            if archived is not None and last is None:
                registration.restore(transaction, definition.id, archived)
                version += len(archived.versions)
            row = {"pilot": definition.id, "version": version, "definition": content, "source": source_text}
            transaction.execute(_ADD_VERSION, {**row, "who": who, "at": now(), "why": why})
            bump(transaction)
        return version

    def note_streams(self, streams: Iterable[Stream]) -> None:
        """Remember streams that sent readings without being described. Known ones cost nothing but the asking."""
        fresh = {Stream(*map(name, stream)) for stream in streams} - set(self._load().seen)
        self._add_new("seen_streams", _NOTE, [{**stream._asdict(), "now": now()} for stream in sorted(fresh)])

    def note_units(self, units: Mapping[Stream, str]) -> None:
        """Remember units that messages state of streams that nobody described. The first one stays."""
        rows = [
            {**Stream(*map(name, stream))._asdict(), "unit": clean_text(unit)} for stream, unit in sorted(units.items())
        ]
        self._add_new("stream_units", _NOTE_UNIT, rows)

    def note_origins(self, origins: Iterable[Origin]) -> None:
        """Remember where values come from. What is known already stays: the first who says it is believed."""
        rows = [{**origin._asdict(), "now": now()} for origin in sorted(Origin(*map(name, each)) for each in origins)]
        self._add_new("origins", _NOTE_ORIGIN, rows)

    def _add_new(self, table: str, insert: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Add the rows that are not there yet, and step the version where there was one."""
        if not rows:
            return
        count = f"SELECT count(*) FROM {table}"  # noqa: S608
        with self.database.writing() as transaction:
            lock(transaction)
            before = transaction.execute(count).scalar_one()
            transaction.execute(insert, rows)
            if transaction.execute(count).scalar_one() != before:
                bump(transaction)

    def note_intervals(self, learned: Iterable[LearnedInterval]) -> None:
        """Remember how often streams come, as their messages show."""
        with self.database.writing() as transaction:
            lock(transaction)
            if intervals.note(transaction, learned):
                bump(transaction)

    def forget_streams(self, pilot: str, device: str, quantities: Iterable[str] | None = None) -> list[Stream]:
        """Take streams that nobody described off the registry, which makes room for others.

        Parameters
        ----------
        pilot, device : str
            Whose streams.
        quantities : iterable of str, optional
            Which ones; all that are not described unless told. Others are left alone.

        Returns
        -------
        list of Stream
            Those that were there. Their readings stay in the store; a name that is sent again is a stream again.

        Raises
        ------
        UnknownPilot, RegistryUnavailable
        """
        described = {info.stream for info in self.streams(pilot, device) if info.described}
        names = None if quantities is None else set(quantities)
        streams = [
            stream
            for stream in self._load().seen
            if stream[:2] == (pilot, device) and stream not in described and (names is None or stream.quantity in names)
        ]
        if streams:
            with self.database.writing() as transaction:
                lock(transaction)
                transaction.execute(_FORGET, [stream._asdict() for stream in streams])
                transaction.execute(_FORGET_ORIGIN, [stream._asdict() for stream in streams])
                transaction.execute(_FORGET_UNIT, [stream._asdict() for stream in streams])
                bump(transaction)
        return streams

    def note_move(self, pilot: str, device: str, time: Micros, position: Position) -> bool:
        """Put on the time line that a device said itself that it is elsewhere since then; whether that was news."""
        state = self._load()
        view = state.snapshot.pilot(pilot)
        described = view.devices.get(device) if view is not None else None
        if view is None or described is None or not elsewhere(described.deployment, time, position, view.moves):
            return False
        try:
            events.add_event(
                self.database, state.pilots[pilot], events.said_by_device(device, time, position), "ingest"
            )
        except (WrongState, DefinitionError):  # closed meanwhile, or at a time that no pilot can have
            return False
        return True

    def version(self) -> int:
        """A number that grows with every change of the registry."""
        with self.database.reading() as transaction:
            return int(transaction.execute(_NOW_AT).scalar_one())

    def pilots(self) -> list[PilotDefinition]:
        """The current definition of every pilot, by id."""
        return list(self._load().pilots.values())

    def pilot(self, pilot: str) -> PilotDefinition:
        """The current definition. Raises UnknownPilot, which names ids that look like this one."""
        pilots = self._load().pilots
        if pilot not in pilots:
            raise UnknownPilot(pilot, pilots)
        return pilots[pilot]

    def state(self, pilot: str) -> State:
        """Where the pilot is in its life: draft, running, ended or closed. Raises UnknownPilot."""
        self.pilot(pilot)
        return self._load().states.get(pilot, "draft")

    def history(self, pilot: str) -> list[PilotVersion]:
        """Every version of the pilot's definition, newest first. Raises UnknownPilot."""
        self.pilot(pilot)
        with self.database.reading() as transaction:
            return [PilotVersion(*row) for row in transaction.execute(_HISTORY, {"pilot": pilot})]

    def written(self, pilot: str, version: int | None = None) -> tuple[int, PilotDefinition]:
        """A version of the definition as somebody wrote it, the newest unless told: `pilot` adds the events and
        exclusions of the time line to that. With its number. Raises UnknownPilot, also where there is no such version.
        """
        statement = _CURRENT_OF if version is None else f"{_ALL_OF} AND version = :version"
        row = {"pilot": pilot} if version is None else {"pilot": pilot, "version": version}
        with self.database.reading() as transaction:
            version_row = transaction.execute(statement, row).first()
        if version_row is None:
            raise UnknownPilot(pilot, self._load().pilots)
        return int(version_row.version), msgspec.json.decode(version_row.definition, type=PilotDefinition)

    def lent(self, pilot: PilotDefinition) -> frozenset[Stream]:
        """Streams of other pilots that this one's KPIs name and may use."""
        return lent(pilot, self._load().pilots) if borrowed(pilot) else frozenset()

    def assumed_open(self) -> set[str]:
        """Pilots that are open by the default of earlier versions, which nobody has written into their definition."""
        with self.database.reading() as transaction:
            return {row.pilot for row in transaction.execute("SELECT pilot FROM assumed_open")}

    def source(self, pilot: str, version: int) -> str | None:
        """The file of that version as it was written, or None when there is no such version."""
        with self.database.reading() as transaction:
            return transaction.execute(_SOURCE, {"pilot": pilot, "version": version}).scalar()

    def snapshot(self) -> IngestView:
        """What ingest needs to know, as look-ups in memory. Take a new one when version() has grown."""
        return self._load().snapshot

    def devices(self, pilot: str | None = None) -> list[DeviceInfo]:
        """Devices described and seen, by pilot and id. Raises UnknownPilot."""
        state = self._of(pilot)
        devices = {(p.id, d.id): _described_device(p, d) for p in state.pilots.values() for d in p.devices}
        for seen in state.seen:
            plain = DeviceInfo(pilot=seen.pilot, device=seen.device, title=Text(en=seen.device), described=False)
            devices.setdefault((seen.pilot, seen.device), plain)
        return [devices[key] for key in sorted(devices)]

    def streams(self, pilot: str | None = None, device: str | None = None) -> list[StreamInfo]:
        """Streams described and seen, by pilot, device and quantity. Raises UnknownPilot."""
        state = self._of(pilot)
        words = {p.id: vocabulary_of(p) for p in state.pilots.values()}
        streams = {
            info.stream: info
            for p in state.pilots.values()
            for d in p.devices
            for info in (_described_stream(p, d, s, words[p.id]) for s in d.streams)
        }
        for seen in state.seen:
            if seen not in streams:
                streams[seen] = _stream_info(seen, words[seen.pilot], described=False, unit=state.units.get(seen))
        for stream, interval in state.intervals.items():
            if stream in streams and streams[stream].interval_us is None:
                streams[stream] = msgspec.structs.replace(streams[stream], learned_interval_us=interval)
        return [streams[stream] for stream in sorted(streams) if device is None or stream.device == device]

    def _of(self, pilot: str | None) -> _State:
        """The state, narrowed to one pilot where one is named."""
        state = self._load()
        if pilot is None:
            return state
        only = {pilot: self.pilot(pilot)}
        return msgspec.structs.replace(state, pilots=only, seen=[s for s in state.seen if s.pilot == pilot])

    def _load(self) -> _State:
        with self.database.reading() as transaction:
            if int(transaction.execute(_NOW_AT).scalar_one()) == self._state.version:
                return self._state
        with self._loading, self.database.reading() as transaction:
            version = int(transaction.execute(_NOW_AT).scalar_one())
            if version != self._state.version:
                rows = transaction.execute(_CURRENT)
                decoded = (msgspec.json.decode(row.definition, type=PilotDefinition) for row in rows)
                pilots = {pilot.id: pilot for pilot in events.with_added(transaction, decoded)}
                states = lifecycle.states(transaction)
                units = {Stream(*row[:3]): row[3] for row in transaction.execute(_UNITS)}
                seen = [Stream(*row) for row in transaction.execute(_SEEN)]
                seen = [stream for stream in seen if stream.pilot in pilots]
                origins = [Origin(*row) for row in transaction.execute(_ORIGINS)]
                closed = {pilot for pilot, state in states.items() if state == "closed"}
                drafts = {p.id for p in pilots.values() if not lifecycle.collects(p, states.get(p.id, "draft"))}
                snapshot = IngestView.of(version, pilots.values(), seen, closed, origins, drafts, units)
                self._state = _State(version, pilots, seen, snapshot, states, intervals.learned(transaction), units)
            return self._state


def _written_anew(definition: PilotDefinition) -> bytes:
    """The definition as it would be read and written today: one of an earlier version lacks keys that came since."""
    content = msgspec.json.encode(definition)
    return msgspec.json.encode(msgspec.json.decode(content, type=PilotDefinition))


def _described_device(pilot: PilotDefinition, device: DeviceDefinition) -> DeviceInfo:
    places = [deployment.position for deployment in deployments(pilot, device)]
    position = next((place for place in reversed(places) if place is not None), None)  # the last that is known
    return DeviceInfo(
        pilot=pilot.id,
        device=device.id,
        title=device.title or Text(en=device.id),
        described=True,
        kind=device.kind,
        position=position,
        group=device.group,
        tags=device.tags,
        retired=None if device.retired is None else micros_of(device.retired, pilot.timezone),
    )


def _described_stream(
    pilot: PilotDefinition, device: DeviceDefinition, stream: StreamDefinition, words: Vocabulary
) -> StreamInfo:
    info = _stream_info(Stream(pilot.id, device.id, stream.quantity), words, described=True)
    interval = stream.interval or device.interval
    return msgspec.structs.replace(
        info,
        title=stream.title or info.title,
        interval_us=interval_micros(interval) if interval else None,
        earlier=earlier_of(pilot, device) if interval else (),
        range=stream.range or info.range,
    )


def _stream_info(stream: Stream, words: Vocabulary, described: bool, unit: str | None = None) -> StreamInfo:
    quantity = words.lookup(stream.quantity)
    if quantity is None:
        label = "" if unit is None else words.label(unit)
        return StreamInfo(
            stream=stream, title=Text(en=stream.quantity), described=described, unit=unit, unit_label=label
        )
    channel = stream.quantity.partition(".")[2]
    title = quantity.title
    if channel:
        title = Text(nb=f"{title.nb} ({channel})" if title.nb else "", en=f"{title.en} ({channel})" if title.en else "")
    return StreamInfo(
        stream=stream,
        title=title,
        described=described,
        unit=quantity.unit,
        unit_label=quantity.unit_label,
        kind=quantity.kind,
        range=quantity.range,
        decimals=quantity.decimals,
        chart=quantity.chart,
        group=quantity.group,
        states=(quantity.states or YES_NO) if quantity.kind == "state" else (),
    )
